"""What the author of one model writes about it decides nothing about the models and rules of others."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from support import dbt_projects
from support.shop import DOUBLED, Shop

from dpe_cli.errors import BuildError, ProjectError
from dpe_cli.pipeline import destinations, validate
from dpe_cli.project.dbt_runner import run_dbt

# The author's model; a name for its test follows.
MINE = {
    "models/finance/mine.sql": "{{ config(contract={'enforced': false}) }} select 1 as order_id",
    "models/finance/_mine.yml": """
        models:
          - name: mine
            config: {meta: {rls: {private: true}}}
            columns:
              - name: order_id
                data_tests:
                  - relationships: {name: NAME, arguments: {to: ref('fct_orders'), field: order_id}}
        """,
}
# Takes the file of somebody else's model, which no other model reads.
TAKEN = {
    "models/finance/fct_leaf.sql": "{{ config(contract={'enforced': false}) }} select order_id, shop from {{ ref('stg_shop__orders') }}",
    "models/finance/_leaf.yml": """
        models:
          - name: fct_leaf
            config: {meta: {rls: {tenant_column: shop}}}
            columns: [{name: order_id, data_tests: [unique]}]
        """,
}
TAKING = {
    "models/finance/_mine.yml": """
        models:
          - name: mine
            config: {meta: {rls: {shared: true}}}
            versions: [{v: 1, defined_in: fct_leaf, config: {alias: fct_leaf}}]
        """,
}


def _mine(name: str) -> dict[str, str]:
    return {path: text.replace("NAME", json.dumps(name)) for path, text in MINE.items()}


@pytest.mark.parametrize("name", ["resource_type:test", "orders_are_*"])
def test_a_test_that_is_named_like_a_selector_leaves_out_no_other(shop: Shop, name: str) -> None:
    """It cannot run, because its model was never published; the rules of the selected model are checked all the same."""
    shop.write(_mine(name) | DOUBLED)

    build = shop.run("fct_orders").build

    assert {"orders_are_unique": "fail", "orders_are_not_cheap": "warn"} == {
        result.name: result.status for result in build.results if result.resource_type == "test"
    }
    assert [1, 2, 3] == shop.orders()


def test_a_spec_is_validated_by_its_own_tests(shop: Shop) -> None:
    """Not by those that a test's name would select."""
    shop.write(_mine("resource_type:test"))
    models = shop.directory / "models/finance/_finance__models.yml"
    models.write_text(models.read_text().replace("name: orders_are_unique", "name: 'test_name:not_null'"))

    results = validate.validate(shop.project, shop.server, "SHOP-1", dbt_projects.Silence()).results

    assert {"test_name:not_null": "pass", "orders_are_not_cheap": "warn"} == {result.name: result.status for result in results}


def test_a_version_takes_no_file_of_another_model(shop: Shop) -> None:
    """dbt would drop that model's declaration and tests with a warning, and show its rows to the readers of this one."""
    shop.write(TAKEN)
    assert shop.run().holds
    shop.write(TAKING)
    # As in a fresh checkout.
    for directory in (".dpe/parsed", "target"):
        shutil.rmtree(shop.directory / directory)

    with pytest.raises(
        ProjectError, match=r"_leaf.yml, line 2: the file of the model fct_leaf is taken by mine\.v1 \(defined_in\), so .*; give"
    ):
        shop.run()
    with pytest.raises(BuildError, match=r"mine\.v1 \(models/finance/fct_leaf\.sql\): the file may be another model's"):
        run_dbt(shop.project, shop.server, ["build"])


# Models of others without an entry in YAML: their folder declares who sees them. dbt would take their files for versions of `orders`.
UNDESCRIBED = {
    "models/finance/orders.sql": "{{ config(contract={'enforced': false}) }} select 1 as order_id",
    "models/finance/_orders.yml": "models: [{name: orders, config: {meta: {rls: {shared: true}}}}]",
    "models/finance/of_shops/orders_valid.sql": "select order_id, shop from {{ ref('stg_shop__orders') }}",
    "models/finance/of_shops/orders_v2.sql": "select order_id, shop from {{ ref('stg_shop__orders') }}",
}
VERSIONS = """
    models:
      - name: orders
        config: {meta: {rls: {shared: true}}}
        versions: [{v: 1, defined_in: orders, config: {alias: orders}}, {v: NAME, config: {alias: orders_vNAME}}]
    """


def test_a_version_takes_no_file_that_its_name_leads_to(shop: Shop) -> None:
    """Neither by a name in place of a number, nor by a number if the file was published as a model of its own."""
    settings = shop.directory / "dbt_project.yml"
    folder = "of_shops: {+meta: {rls: {tenant_column: shop}}, +contract: {enforced: false}}"
    settings.write_text(re.sub("finance: {(.*)}\n", rf"finance: {{\1, {folder}}}\n", settings.read_text(), count=1))
    shop.write(UNDESCRIBED)
    assert shop.run().holds

    for version, refusal in {
        "alid": r"orders\.valid \(models/finance/of_shops/orders_valid\.sql\): the file may be another model's, .*; give the version a number",
        "2": r"orders\.v2 \(models/finance/of_shops/orders_v2\.sql\): the file was that of the model orders_v2, .* finance\.orders_v2; .* drop",
    }.items():
        shop.write({"models/finance/_orders.yml": VERSIONS.replace("NAME", version)})
        with pytest.raises(ProjectError, match=refusal):
            shop.run("orders")
        with pytest.raises(BuildError, match=refusal):
            run_dbt(shop.project, shop.server, ["build"])
    with shop.server.connect("admin", autocommit=True) as connection:
        connection.execute("drop table finance.orders_v2")
    assert [] == destinations.faults(shop.project, shop.server)


@pytest.mark.parametrize("file", ["mine", "mine_v1"])
def test_a_version_may_have_a_file_of_its_own_name(shop: Shop, file: str) -> None:
    """With or without its number, as dbt looks for it."""
    defined_in = ", defined_in: mine" if file == "mine" else ""
    shop.write(
        {
            f"models/finance/{file}.sql": "{{ config(contract={'enforced': false}) }} select 1 as order_id",
            "models/finance/_mine.yml": f"models: [{{name: mine, config: {{meta: {{rls: {{private: true}}}}}}, versions: [{{v: 1{defined_in}}}]}}]",
        }
    )

    assert shop.run("mine").build.not_published is None


def test_a_copy_in_a_schema_of_failures_is_not_published(shop: Shop) -> None:
    """Which a test's configuration names: a copy with a policy for all is judged there as anywhere else."""
    copy = (
        "create schema if not exists evil; create table evil.copy as select * from finance.fct_orders;"
        " alter table evil.copy enable row level security; create policy open on evil.copy using (true);"
        " grant usage on schema evil to dpe_reader; grant select on evil.copy to dpe_reader"
    )
    test = "unique: {config: {schema: evil}}"
    shop.write(
        {
            "models/finance/mine.sql": f"{{{{ config(contract={{'enforced': false}}, post_hook=\"{copy}\") }}}} select 1 as order_id",
            "models/finance/_mine.yml": f"""
                models:
                  - name: mine
                    config: {{meta: {{rls: {{private: true}}}}}}
                    columns: [{{name: order_id, data_tests: [{test}]}}]
                """,
        }
    )

    refused = shop.run("mine").build.not_published

    assert refused is not None
    assert "evil.copy" in refused
