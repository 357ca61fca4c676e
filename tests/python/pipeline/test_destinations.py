"""A model that dpe could not publish is refused before the work, with its file."""

from __future__ import annotations

import re

import pytest
from support.shop import Shop

from dpe_cli.errors import BuildError, ProjectError
from dpe_cli.pipeline import destinations
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project

SELECT = "select order_id, shop, amount from {{ ref('stg_shop__orders') }}"
SHARED = "{'rls': {'shared': true}}"
NOT_FOR_MODELS = "the schema {} is not for models; set another one"
# 60 bytes in 30 characters.
LONG = "ä" * 30
# The schema and meta of a model, another part of its configuration, and what is wrong.
MISPLACED = {
    **{
        f"in_{schema}": (schema, SHARED, "", NOT_FOR_MODELS.format(schema))
        for schema in ("dpe", "dpe_locks", "public", "pg_catalog", "finance__next", "finance__previous", "finance__old_1")
    },
    "in_staging": (
        "raw",
        SHARED,
        "",
        "meta.rls opens it to readers, who cannot use the schema raw, because sources are loaded there; declare {private: true}",
    ),
    "undeclared": (
        "finance",
        "{}",
        "",
        "has to declare who may see it; write meta.rls as {tenant_column: …}, {shared: true}, {private: true}",
    ),
    "in_a_long_schema": (LONG, SHARED, "", f"the name of its schema, {LONG}, is too long for {LONG}__previous; shorten it"),
    "long": (
        "finance",
        SHARED,
        f"alias='{LONG}{LONG}'",
        f"the name {LONG}{LONG} has 120 bytes, but PostgreSQL keeps 63; set a shorter alias",
    ),
    **{
        f"named{ending}": (
            "finance",
            SHARED,
            "",
            f"the name named{ending} ends in {ending}, like what {owner} creates for another model; set another alias",
        )
        for ending, owner in {"__dbt_backup": "dbt", "__dbt_tmp": "dbt", "__masked": "dpe", "__quarantine": "dpe"}.items()
    },
}


# Where a test would store its failures; the last one stores none, and stays where it is.
MISPLACED_TESTS = {
    f"tests/singular/{name}.sql": f"{{{{ config({config}) }}}} select * from {{{{ ref('fct_orders') }}}} where false"
    for name, config in {
        "stored_in_marts": "schema='finance', store_failures=true",
        "stored_in_marts_as_well": "schema='finance', store_failures_as='view'",
        "stored_in_staging": "schema='raw', store_failures_as='table'",
        "stored_in_public": "schema='public', store_failures=true",
        "stored_nowhere": "schema='finance'",
    }.items()
}


def _model(schema: str, meta: str, more: str = "") -> str:
    return f"{{{{ config(schema='{schema}', meta={meta}, contract={{'enforced': false}}, {more}) }}}} {SELECT}"


def test_a_model_that_cannot_be_published_is_refused_before_the_work(new_shop: Shop) -> None:
    """Each with what is wrong: reserved schemas, those that readers may not use, names that are too long in bytes, or are for dbt and dpe."""
    new_shop.write({f"models/finance/{name}.sql": _model(schema, meta, more) for name, (schema, meta, more, _) in MISPLACED.items()})
    new_shop.write(MISPLACED_TESTS)

    with pytest.raises(ProjectError) as refused:
        new_shop.run()

    for name, (*_, fault) in MISPLACED.items():
        assert f"{name} (models/finance/{name}.sql): {fault}" in str(refused.value)
    assert len(MISPLACED) == str(refused.value).count("(models/")
    for fault in (
        r"stored_in_marts \(tests/singular/stored_in_marts.sql\): would store .* in which \w+ is \(and so would 1 other test\); set another",
        r"stored_in_staging \(tests/singular/stored_in_staging.sql\): would store its failures in the schema raw, in which \w+ is; set",
        r"stored_in_public \(tests/singular/stored_in_public.sql\): would store its failures in the schema public, which is not for tests; set",
    ):
        assert re.search(fault, str(refused.value)), fault
    assert 3 == str(refused.value).count("(tests/")
    with new_shop.server.connect("admin") as connection:
        assert [(0,)] == connection.execute("select count(*) from dpe.extracts").fetchall()


def test_a_schema_of_somebody_else_is_refused_before_the_work(new_shop: Shop) -> None:
    """The transformer may not create relations there, which it would notice only when it publishes."""
    with new_shop.server.connect("admin", autocommit=True) as connection:
        connection.execute("create schema closed")
    new_shop.write({"models/finance/fct_closed.sql": _model("closed", SHARED)})

    with pytest.raises(
        ProjectError, match=r"fct_closed \(models/finance/fct_closed.sql\): dpe_transformer may not create relations in .* closed"
    ):
        new_shop.run()


POINTED = {
    "models/finance/pointed_v1.sql": _model("finance", SHARED),
    "models/finance/pointed_v2.sql": _model("finance", SHARED),
    "models/finance/_pointed.yml": """
        models:
          - name: pointed
            config: {latest_version_pointer: {enabled: true, alias: fct_orders}}
            versions: [{v: 1}, {v: 2}]
        """,
}


def test_a_pointer_to_the_latest_version_is_refused(new_shop: Shop) -> None:
    """From dbt 1.12 on, it is a view of no model, which replaces any relation that has its name."""
    new_shop.write(POINTED)
    refusal = (
        r"pointed\.v2 \(models/finance/pointed_v2\.sql\): latest_version_pointer has dbt create a view .*; .* config: {alias: pointed}"
    )

    [fault] = destinations.faults(new_shop.project, None)
    assert re.match(refusal, fault)
    with pytest.raises(BuildError, match=refusal):
        run_dbt(new_shop.project, new_shop.server, ["run", "--select", "pointed"])

    described = new_shop.directory / "models/finance/_pointed.yml"
    described.write_text(described.read_text().replace("enabled: true", "enabled: false"))
    settings = new_shop.directory / "dbt_project.yml"
    settings.write_text(settings.read_text().replace("flags:\n", "flags:\n  latest_version_pointer_enabled_by_default: true\n"))
    assert [] == destinations.faults(new_shop.project, None)
    described.write_text(described.read_text().replace("{enabled: false, alias: fct_orders}", "{alias: fct_orders}"))
    [fault] = destinations.faults(new_shop.project, None)
    assert fault.startswith("pointed.v2 (models/finance/pointed_v2.sql): latest_version_pointer has dbt create a view"), fault


def test_a_name_that_postgresql_would_fold_is_refused(new_shop: Shop) -> None:
    """The checks would look for another relation than the one that dbt builds."""
    settings = new_shop.directory / "dbt_project.yml"
    settings.write_text(settings.read_text() + "\nquoting: {database: false, schema: false, identifier: false}\n")
    new_shop.write({"models/finance/unquoted.sql": _model("Finance", SHARED, "alias='Unquoted'")})

    [fault] = destinations.faults(Project(new_shop.directory), None)

    assert fault.startswith("unquoted (models/finance/unquoted.sql): PostgreSQL would store Finance.Unquoted as finance.unquoted, because")
