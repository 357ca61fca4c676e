"""Readers see the last version that passed its rules, until the next one passes, and then all of that at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from support.dbt_projects import REPOSITORY, Silence
from support.shop import Shop

from dpe_cli.errors import PublishError, UsageError
from dpe_cli.ingest import loads
from dpe_cli.pipeline import protection, publish, run
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.publishing import diff, publication, swap
from dpe_cli.server.connection import Connection
from dpe_cli.server.contexts import system_context
from dpe_cli.server.relations import Relation
from dpe_cli.server.server import Server

WEDNESDAY = {"data/orders/wednesday.csv": "order_id,shop,amount\n4,HA,40\n"}
# Order 3 was already delivered on Tuesday.
DOUBLED = {"data/orders/wednesday.csv": "order_id,shop,amount\n3,HA,31\n4,HA,40\n"}
FCT_ORDERS = "{{{{ config(post_hook={hooks}) }}}} select order_id, shop, amount from {{{{ ref('stg_shop__orders') }}}}"
SHOPS_ARE_KNOWN = {
    "tests/singular/shops_are_known.sql": "select * from {{ ref('fct_orders') }} where shop not in (select shop from {{ ref('dim_shops') }})"
}
PUBLISHED = {"staging.stg_shop__orders", "marts.fct_orders", "marts.dim_shops"}


def _rows(server: Server, query: str) -> list[Any]:
    with server.connect("transformer") as connection, system_context(connection, actor="test"):
        return [row if len(row) > 1 else row[0] for row in connection.execute(query.encode()).fetchall()]


def _orders(shop: Shop, relation: str = "marts.fct_orders") -> list[int]:
    return _rows(shop.server, f"select order_id from {relation} order by 1")


def _relations(server: Server, schema: str) -> set[str]:
    with server.connect("admin") as connection:
        return {
            str(name)
            for (name,) in connection.execute(
                "select nspname || '.' || relname from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid "
                "where nspname like %s and relkind in ('r', 'v', 'p') and relname !~ '__[0-9]+_[0-9]+$'",
                [schema],
            )
        }


def _run(shop: Shop, *select: str, **options: Any) -> RunSummary:
    return run.run(shop.project, shop.server, select, (), Silence(), RunOptions(documents=False, **options))


def _undo(shop: Shop) -> list[str]:
    with publication.connected(shop.server) as connection:
        return sorted(str(one) for one in publication.undo(connection, shop.project.published_schemas).restored)


def test_a_run_publishes_what_it_built(first_run: tuple[Shop, RunSummary]) -> None:
    """All of it, and leaves nothing in the shadow schemas."""
    shop, summary = first_run

    assert summary.build.publication is not None
    assert ("published", PUBLISHED) == (summary.build.publication.status, {str(one) for one in summary.build.publication.relations})
    assert set() == _relations(shop.server, "%\\_\\_next")
    assert set() == _relations(shop.server, "%\\_\\_previous")


def test_what_fails_a_rule_is_not_published(shop: Shop) -> None:
    """Neither the relation nor anything else that was built with it; the rule is named."""
    shop.write({**DOUBLED, "data/shops.csv": "shop,name\nHA,Hats and caps\n"})

    summary = _run(shop)

    assert summary.build.publication is not None
    assert ("refused", "rule SHOP-1-01 failed (orders_are_unique: 1 failing)") == (
        summary.build.publication.status,
        summary.build.not_published,
    )
    assert [1, 2, 3] == _orders(shop)
    assert ["Hats", "Umbrellas"] == _rows(shop.server, "select name from marts.dim_shops order by 1")
    assert [1, 2, 3, 3, 4] == _orders(shop, "marts__next.fct_orders")
    with publication.connected(shop.server) as connection, pytest.raises(PublishError, match="is refused .rule SHOP-1-01 failed"):
        publication.publish(connection, summary.build.publication, shop.project.published_schemas)


def test_what_leaves_rows_elsewhere_is_not_published(shop: Shop, reader: Callable[..., str]) -> None:
    """A hook that copies rows to another schema and grants them: the copy is named, with the statement that closes it."""
    stranger = reader(shop.server)
    hooks = (
        "create schema if not exists copies",
        "create table copies.orders as select * from {{ this }}",
        f"grant usage on schema copies to {stranger}; grant select on copies.orders to {stranger}",
    )
    shop.write({**WEDNESDAY, "models/marts/fct_orders.sql": FCT_ORDERS.format(hooks=list(hooks))})

    summary = _run(shop)

    assert summary.build.publication is not None
    assert "refused" == summary.build.publication.status
    assert (
        f"copies.orders: belongs to dpe_transformer, but is open to {stranger}; "
        f"revoke all on copies.orders from {stranger}; publish rows for readers with a model" == summary.build.not_published
    )
    assert [1, 2, 3] == _orders(shop)


def test_the_next_run_that_passes_is_published(shop: Shop) -> None:
    """What a refused build left does not interfere."""
    shop.write(DOUBLED)
    _run(shop)
    shop.write({"data/orders/wednesday.csv": "order_id,shop,amount\n4,HA,40\n"})
    [extract_id] = _rows(shop.server, "select max(extract_id) from dpe.extracts")
    loads.undo(shop.server, shop.project.sources, extract_id)

    assert _run(shop).holds
    assert [1, 2, 3, 4] == _orders(shop)


def test_a_version_that_lost_too_many_rows_is_not_published(shop: Shop) -> None:
    """Compared with what readers see."""
    name = "row_count_against_published"
    generic = f"tests/generic/{name}.sql"
    _change_columns(
        shop,
        "      - {name: amount, data_type: integer}",
        "      - {name: amount, data_type: integer}\n    data_tests:\n"
        f"      - {name}: {{name: few_go, arguments: {{max_decrease: 0.5}}}}",
    )
    lost = "select order_id, shop, amount from {{ ref('stg_shop__orders') }} where order_id <= "
    shop.write({generic: (REPOSITORY / generic).read_text(), "models/marts/fct_orders.sql": f"{lost} 2"})
    assert _run(shop).build.not_published is None
    shop.write({"models/marts/fct_orders.sql": f"{lost} 0"})

    assert "test few_go failed" == _run(shop).build.not_published
    assert [1, 2] == _orders(shop)


@pytest.mark.parametrize("suffix", ["__next", "__previous"])
def test_no_reader_reaches_what_is_not_published(shop: Shop, suffix: str) -> None:
    """It also has its policies, in case the schema is ever opened."""
    shop.write(WEDNESDAY)
    _run(shop, publishes=suffix == "__previous")

    with shop.server.connect("admin") as connection:
        connection.execute("set local role dpe_reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"permission denied for schema marts{suffix}"):
            connection.execute(f"select from marts{suffix}.fct_orders".encode())
    with shop.server.connect("admin") as connection:
        rows = connection.execute(
            "select relrowsecurity and relforcerowsecurity, (select count(*) from pg_policy where polrelid = pg_class.oid) "
            "from pg_class where oid = %s::regclass",
            [f"marts{suffix}.fct_orders"],
        ).fetchall()
    assert [(True, 3)] == rows


def test_a_part_is_tested_against_the_rest_as_it_is_published(shop: Shop) -> None:
    """What is not selected is not built, and not read from the shadow schemas."""
    shop.write({**WEDNESDAY, **SHOPS_ARE_KNOWN})

    summary = _run(shop, "fct_orders")

    assert {"fct_orders", "stg_shop__orders"} == {result.name for result in summary.build.results if result.resource_type == "model"}
    assert "pass" == next(result.status for result in summary.build.results if result.name == "shops_are_known")
    assert [1, 2, 3, 4] == _orders(shop)


def test_a_part_can_be_the_first_to_be_published(new_shop: Shop) -> None:
    """A test that reads relations which are neither built nor published cannot run yet, which is reported."""
    new_shop.write(SHOPS_ARE_KNOWN)
    progress = Silence()

    summary = run.run(new_shop.project, new_shop.server, ("fct_orders",), (), progress, RunOptions(documents=False))

    assert summary.build.not_published is None
    assert ["Skipped, because they read models that have never been published: shops_are_known"] == progress.messages
    assert [1, 2, 3] == _orders(new_shop)


def test_undoing_restores_the_previous_version(shop: Shop) -> None:
    """All of it; a relation that was new is removed, and a second time there is nothing to undo."""
    shop.write({**WEDNESDAY, "models/intermediate/int_big_orders.sql": "select * from {{ ref('stg_shop__orders') }} where amount > 25"})
    _run(shop)
    assert "intermediate.int_big_orders" in _relations(shop.server, "intermediate")

    assert sorted(PUBLISHED) == _undo(shop)

    assert [1, 2, 3] == _orders(shop)
    assert set() == _relations(shop.server, "intermediate")
    with pytest.raises(PublishError, match="has already been undone; there is nothing to undo"):
        _undo(shop)
    _run(shop)
    assert [1, 2, 3, 4] == _orders(shop)


def test_what_was_rebuilt_since_is_not_undone(shop: Shop) -> None:
    """Plain dbt builds in place: restoring the previous version would lose its work."""
    shop.write(WEDNESDAY)
    _run(shop)
    run_dbt(shop.project, shop.server, ["run", "--select", "fct_orders"])

    with pytest.raises(PublishError, match=r"marts.fct_orders: was rebuilt since; run `dpe run`"):
        _undo(shop)
    assert [1, 2, 3, 4] == _orders(shop)


def _change_columns(shop: Shop, before: str, after: str) -> None:
    """Change the contract of fct_orders."""
    models = shop.directory / "models" / "marts" / "_marts__models.yml"
    text = models.read_text()
    assert before in text
    models.write_text(text.replace(before, after))


KEPT = {
    "models/marts/fct_added.sql": """
        {{ config(
            materialized='incremental',
            unique_key='order_id',
            meta={'rls': {'tenant_column': 'shop'}},
            contract={'enforced': false},
            indexes=[{'columns': ['amount']}]
        ) }}
        select order_id, shop, amount, 'run {{ var("number", 1) }}' as added_by from {{ ref('stg_shop__orders') }}
        {% if is_incremental() %} where order_id > (select max(order_id) from {{ this }}) {% endif %}
        """,
    # The second run adds its tenant column.
    "models/marts/fct_widened.sql": """
        {{ config(
            materialized='incremental',
            on_schema_change='append_new_columns',
            meta={'rls': {'tenant_column': 'owned_by' if var('number', 1) == 2 else 'shop'}},
            contract={'enforced': false}
        ) }}
        select order_id, shop {{ ', shop as owned_by' if var('number', 1) == 2 }}
        from {{ ref('stg_shop__orders') }}
        where {{ var('number', 1) == 2 }}
        """,
    "seeds/colours.csv": "colour\nred\n",
    "snapshots/shops_over_time.yml": """
        snapshots:
          - name: shops_over_time
            relation: source('shop', 'shops')
            config: {unique_key: shop, strategy: check, check_cols: [name]}
        """,
}


def test_what_grows_from_run_to_run_keeps_growing(shop: Shop) -> None:
    """Incremental models, snapshots and seeds are built in the shadow schemas, on the published rows."""
    shop.write(KEPT)
    assert _run(shop).holds
    shop.write({**WEDNESDAY, "data/shops.csv": "shop,name\nHA,Hats and caps\nUA,Umbrellas\n", "seeds/colours.csv": "colour\nred\nblue\n"})

    summary = run.run(
        type(shop.project)(shop.directory, variables="{number: 2}"), shop.server, (), (), Silence(), RunOptions(documents=False)
    )

    assert summary.holds
    assert [(1, "run 1"), (2, "run 1"), (3, "run 1"), (4, "run 2")] == _rows(
        shop.server, "select order_id, added_by from marts.fct_added order by 1"
    )
    assert [("Hats", False), ("Hats and caps", True), ("Umbrellas", True)] == _rows(
        shop.server, "select name, dbt_valid_to is null from intermediate.shops_over_time order by 1"
    )
    assert ["blue", "red"] == _rows(shop.server, "select colour from intermediate.colours order by 1")
    # The index that dbt created, and the one that the policies need.
    assert [2] == _rows(shop.server, "select count(*) from pg_index where indrelid = 'marts.fct_added'::regclass")
    assert [3] == _rows(shop.server, "select count(*) from pg_policy where polrelid = 'marts.fct_added'::regclass")
    assert [3] == _rows(shop.server, "select count(*) from marts__previous.fct_added")
    assert ["UA"] == _rows(shop.server, "select distinct owned_by from marts.fct_widened where owned_by = 'UA'")


REFERRING = {
    "models/marts/fct_referring.sql": """
        {{ config(materialized='incremental', on_schema_change='append_new_columns') }}
        select order_id, shop from {{ ref('stg_shop__orders') }}
        {% if is_incremental() %} where order_id > (select max(order_id) from {{ this }}) {% endif %}
        """,
    "models/marts/_referring.yml": """
        models:
          - name: fct_referring
            config:
              meta: {rls: {tenant_column: shop}}
            constraints: [{type: foreign_key, columns: [shop], to: ref('dim_of_shops'), to_columns: [shop]}]
            columns: [{name: order_id, data_type: integer}, {name: shop, data_type: text}]
          - name: dim_of_shops
            config: {meta: {rls: {shared: true}}}
            constraints: [{type: primary_key, columns: [shop]}]
            columns: [{name: shop, data_type: text}]
        """,
    "models/marts/dim_of_shops.sql": "select shop from {{ source('shop', 'shops') }}",
}
FOREIGN_KEYS = "select confrelid::regclass::text from pg_constraint where contype = 'f' and conrelid = 'marts.fct_referring'::regclass"


def test_foreign_keys_refer_to_what_is_published(shop: Shop) -> None:
    """Also from the copy of an incremental model; and from a part of the project to the published rest."""
    shop.write(REFERRING)
    for select, exclude in (((), ()), ((), ()), (("fct_referring",), ("dim_of_shops",))):
        summary = run.run(shop.project, shop.server, select, exclude, Silence(), RunOptions(documents=False))

        assert summary.build.not_published is None
        assert ["marts.dim_of_shops"] == _rows(shop.server, FOREIGN_KEYS)


def test_a_full_refresh_starts_from_scratch(shop: Shop) -> None:
    """Without the published rows."""
    shop.write(KEPT)
    _run(shop)

    run.run(
        type(shop.project)(shop.directory, variables="{number: 2}"),
        shop.server,
        ("fct_added",),
        (),
        Silence(),
        RunOptions(full_refresh=True, documents=False),
    )

    assert ["run 2"] == _rows(shop.server, "select distinct added_by from marts.fct_added")


def test_an_unpublished_build_waits(shop: Shop) -> None:
    """And can be published later."""
    shop.write(WEDNESDAY)

    summary = _run(shop, publishes=False)

    assert summary.build.publication is not None
    assert ("built", True, [1, 2, 3]) == (summary.build.publication.status, summary.holds, _orders(shop))
    with publication.connected(shop.server) as connection:
        made = publication.publish(connection, summary.build.publication, shop.project.published_schemas).publication
    assert ("published", [1, 2, 3, 4]) == (made.status, _orders(shop))


def test_a_diff_shows_what_would_change(shop: Shop) -> None:
    """By key and by columns; an unchanged relation is not shown."""
    _change_columns(
        shop, "- {name: amount, data_type: integer}", "- {name: amount, data_type: bigint}\n      - {name: note, data_type: text}"
    )
    shop.write(
        {
            **WEDNESDAY,
            "models/marts/fct_orders.sql": (
                "select order_id, case order_id when 1 then 'HA' else shop end as shop, amount::bigint, 'x' as note "
                "from {{ ref('stg_shop__orders') }} where order_id <> 2"
            ),
            "models/intermediate/int_new.sql": "select 1 as one",
        }
    )
    _run(shop, publishes=False)

    _, found = diff.compare(shop.server, shop.project, [])

    by_name = {one.relation: one for one in found}
    changed = by_name["marts.fct_orders"]
    assert (("order_id",), 3, 3, 1, 1, 1) == (
        changed.key,
        changed.rows_before,
        changed.rows_after,
        changed.added,
        changed.removed,
        changed.changed,
    )
    assert (("note",), (), ("amount: integer → bigint",)) == (changed.columns_added, changed.columns_removed, changed.columns_changed)
    assert by_name["marts.dim_shops"].is_none
    assert (None, 1, 1) == (
        by_name["intermediate.int_new"].rows_before,
        by_name["intermediate.int_new"].rows_after,
        by_name["intermediate.int_new"].added,
    )
    with pytest.raises(UsageError, match=r"fct_order: is not part of the newest build; did you mean fct_orders\?"):
        diff.compare(shop.server, shop.project, ["fct_order"])


def test_nothing_to_compare_is_reported(shop: Shop) -> None:
    """With the command that builds something."""
    with pytest.raises(PublishError, match="no build is waiting to be published .*; run `dpe run --no-publish`"):
        diff.compare(shop.server, shop.project, [])


def test_a_failure_in_the_middle_changes_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What had been swapped before it is rolled back."""
    shop.write(WEDNESDAY)
    summary = _run(shop, publishes=False)
    move = swap._move
    moved: list[Relation] = []

    def stop_at_the_fifth(connection: Connection, relation: Relation, source: str, target: str) -> None:
        moved.append(relation)
        if len(moved) == 5:
            with shop.server.connect("admin") as admin:
                admin.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
        move(connection, relation, source, target)

    assert summary.build.publication is not None
    monkeypatch.setattr(swap, "_move", stop_at_the_fifth)
    with publication.connected(shop.server) as connection, pytest.raises(psycopg.OperationalError):
        publication.publish(connection, summary.build.publication, shop.project.published_schemas)

    assert [1, 2, 3] == _orders(shop)
    assert PUBLISHED == _relations(shop.server, "marts") | {"staging.stg_shop__orders"} & _relations(shop.server, "staging")
    monkeypatch.undo()
    with publication.connected(shop.server) as connection:
        publication.publish(connection, summary.build.publication, shop.project.published_schemas)
    assert [1, 2, 3, 4] == _orders(shop)


# What authors can write into a model to contradict its YAML, with dpe's own macros and functions.
FORGED = {
    "private_orders": """
        {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}, materialized='incremental',
            post_hook="{{ protect_table(this, {'shared': true}, model.unique_id) }}") }}
        select * from {{ ref('stg_shop__orders') }}
        """,
    "masked_orders": """
        {{ config(meta={'rls': {'tenant_column': 'shop'}, 'masked': ['amount']}, contract={'enforced': false}, materialized='incremental',
            post_hook="grant select on {{ this }} to dpe_masked_reader;"
            ~ "{{ remember_protection(this, model.unique_id, 'tenant_column shop') }}") }}
        select * from {{ ref('stg_shop__orders') }}
        """,
    "granted_orders": """
        {{ config(meta={'rls': {'tenant_column': 'shop'}}, contract={'enforced': false}, materialized='incremental',
            post_hook="grant truncate on {{ this }} to dpe_auditor; grant insert (shop) on {{ this }} to dpe_reader;"
            ~ "{{ remember_protection(this, model.unique_id, 'tenant_column shop') }}") }}
        select * from {{ ref('stg_shop__orders') }}
        """,
    # Queries one of PostgreSQL's own tables, with the same result for every reader.
    "answered_orders": """
        {{ config(meta={'rls': {'access': {'model': 'managers', 'column': 'shop', 'role_column': 'manager'}}}, contract={'enforced': false},
            materialized='incremental', post_hook="alter policy dpe_reader on {{ this }} using"
            ~ " ('true'::text = any ((select dpe.granted_keys('pg_catalog.pg_roles', 'rolinherit', 'rolname'))::text[]));"
            ~ "{{ remember_protection(this, model.unique_id, 'access') }}") }}
        select * from {{ ref('stg_shop__orders') }}
        """,
    # A type whose author defines equality.
    "tagged_orders": """
        {{ config(meta={'rls': {'tenant_column': 'shop'}}, contract={'enforced': false}, materialized='incremental',
            post_hook="do $x$ begin create type intermediate.tag as enum ('UA', 'HA');"
            ~ "create function intermediate.tag_text(intermediate.tag) returns text language sql as $$ select 'UA' $$;"
            ~ "create cast (intermediate.tag as text) with function intermediate.tag_text(intermediate.tag); end $x$;"
            ~ "drop policy dpe_system on {{ this }}; drop policy dpe_admin on {{ this }}; drop policy dpe_reader on {{ this }};"
            ~ "alter table {{ this }} alter column shop type intermediate.tag using shop::intermediate.tag;"
            ~ "create policy dpe_reader on {{ this }} for select to dpe_reader"
            ~ " using (shop::text = any ((select dpe.visible_tenants())::text[]));"
            ~ "{{ remember_protection(this, model.unique_id, 'tenant_column shop') }}") }}
        select * from {{ ref('stg_shop__orders') }}
        """,
    "managers": """
        {{ config(meta={'rls': {'role_column': 'manager'}}, contract={'enforced': false}) }}
        select 'UA'::text as shop, 'nobody'::text as manager
        """,
    # By another author, who substitutes another table for the one that it names.
    "looked_up_orders": """
        {{ config(meta={'rls': {'access': {'model': 'managers', 'column': 'shop', 'role_column': 'manager'}}}, contract={'enforced': false}) }}
        -- depends_on: {{ ref('changing_orders') }}
        select * from {{ ref('stg_shop__orders') }}
        """,
    "changing_orders": """
        -- depends_on: {{ ref('stg_shop__orders') }}
        {% if execute %}
            {% do builtins.ref.manifest.nodes['model.dpe.changed_orders'].config.meta.update({'rls': {'shared': true}}) %}
            {% do graph.nodes['model.dpe.managers'].update({'alias': 'private_orders'}) %}
        {% endif %}
        {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}) }}
        select 1 as one
        """,
    "changed_orders": """
        {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}) }}
        -- depends_on: {{ ref('changing_orders') }}
        select * from {{ ref('stg_shop__orders') }}
        """,
}


def test_what_is_not_protected_as_declared_is_not_published(new_shop: Shop) -> None:
    """Not even if a model's hooks or Jinja make PostgreSQL, the ledger or dbt believe in another declaration."""
    new_shop.write({f"models/marts/{name}.sql": text for name, text in FORGED.items()})

    summary = new_shop.run()

    assert summary.build.not_published is not None
    for fault in (
        "marts__next.private_orders: has the policy dpe_reader, which its declaration, private, does not call for",
        "marts__next.masked_orders: shows masked readers the column amount, which meta.masked hides",
        "marts__next.granted_orders: is granted to dpe_auditor, which neither meta.rls nor grants names",
        "marts__next.granted_orders: grants insert (shop) to dpe_reader, which may only read",
        "marts__next.changed_orders: has the policy dpe_reader, which its declaration, private, does not call for",
        "marts__next.answered_orders: has the policy dpe_reader, ('true'::text = ANY (",
        "marts__next.looked_up_orders: has the policy dpe_reader, (shop = ANY (",
        "marts__next.tagged_orders: compares the column shop, which is intermediate.tag; cast it to text",
    ):
        assert fault in summary.build.not_published


# What a model can do to published relations that are not built with it: declare something else, and show another table's rows in one.
ELSEWHERE = {
    "models/marts/forging.sql": """
        {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}, post_hook=[
            "{{ protect_table(api.Relation.create(schema='marts', identifier='fct_orders', type='table'), {'shared': true},"
            ~ " 'model.dpe.fct_orders') }}",
            "create table intermediate.part () inherits (marts.dim_shops)"
        ]) }}
        select 1 as one
        """
}


def test_what_is_published_is_compared_with_the_files(shop: Shop) -> None:
    """By each check, also relations that the run did not build: other models' hooks can change what PostgreSQL says was declared."""
    shop.write(ELSEWHERE)

    summary = _run(shop, "forging")

    assert summary.validation is not None
    [check] = [one for one in summary.validation.checks if one.name == "row-level security"]
    for fault in (
        "marts.fct_orders: has the policy dpe_reader, true, which does not match its declaration, tenant_column shop; check what hooks",
        "marts.dim_shops: has the child intermediate.part, whose rows appear in it",
    ):
        assert any(found.startswith(fault) for found in check.faults)
    assert {("RLS046", "marts.dim_shops"), ("RLS071", "marts.fct_orders"), ("RLS071", "marts.dim_shops")} == {
        (one.check_id, one.subject) for one in protection.check_rls(shop.project, shop.server) if one.severity == "error"
    }


# A rule of fct_orders keeps cheap orders out; another model's Jinja removes it from dbt's graph while fct_orders is built.
TAMPERING = {
    "models/marts/_rule.yml": """
        models:
          - name: fct_cheap
            config: {meta: {rls: {tenant_column: shop}}, contract: {enforced: false}}
            columns:
              - name: amount
                data_tests:
                  - accepted_values:
                      name: amounts_are_known
                      arguments: {values: [10, 20], quote: false}
                      config: {severity: warn, meta: {rule: SHOP-1-02, on_failure: quarantine, quarantine: {max_rows: 9}}}
          - name: fct_small
            config: {meta: {rls: {tenant_column: shop}}}
            columns:
              - {name: shop, data_type: text}
              - {name: amount, data_type: integer, constraints: [{type: check, expression: "amount < 99"}]}
        unit_tests:
          - name: amounts_stay_the_same
            model: fct_small
            given: [{input: ref('stg_shop__orders'), rows: [{shop: UA, amount: 1}]}]
            expect: {rows: [{shop: UA, amount: 1}]}
          - name: shops_stay_the_same
            model: fct_small
            given: [{input: ref('stg_shop__orders'), format: csv, rows: "shop,amount\\nUA,1"}]
            expect: {rows: [{shop: UA}]}
        """,
    "models/marts/fct_small.sql": "-- depends_on: {{ ref('dim_before') }}\nselect shop, amount from {{ ref('stg_shop__orders') }}",
    "models/marts/fct_cheap.sql": "-- depends_on: {{ ref('dim_before') }}\nselect order_id, shop, amount from {{ ref('stg_shop__orders') }}",
    "models/marts/dim_before.sql": """
        {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}) }}
        {% if execute %}{% for node in graph.nodes.values() if node.name == 'amounts_are_known' %}
            {% do node.config.meta.pop('on_failure') %}
        {% endfor %}
        {% set manifest = builtins.ref.manifest %}
        {% do manifest.nodes['model.dpe.fct_small'].columns.amount.constraints.clear() %}
        {% do manifest.unit_tests['unit_test.dpe.fct_small.amounts_stay_the_same'].expect.rows[0].update({'amount': 2}) %}
        {% do manifest.get_macros_by_name()['quoted'].append(manifest.macros['macro.dpe.quoted']) %}
        {% do manifest.ref_lookup.storage.update({'dim_gone': {'dpe': 'model.dpe.dim_shops'}}) %}
        {% do selected_resources.append('model.dpe.dim_gone') %}
        {% do builtins.ref.config.vars.vars.update({'dpe_keep_rows': 0}) %}
        {% do builtins.ref.config.quoting.pop('database') %}
        {% endif %}
        select 1 as one
        """,
    "models/marts/dim_hiding.sql": """
        -- depends_on: {{ ref('fct_cheap') }}
        {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}) }}
        {% if execute %}{% for node in graph.nodes.values() if node.name == 'amounts_are_known' %}
            {% do node.config.meta.update({'on_failure': 'quarantine'}) %}
        {% endfor %}{% endif %}
        select 1 as one
        """,
}


def test_what_dbt_ran_otherwise_than_it_was_read_is_not_published(shop: Shop) -> None:
    """
    Jinja that changes other nodes, or dbt's own variables, is found, and what it changed is named.

    Even if it changes it back afterwards, as it does with another model's rule.
    """
    shop.write(TAMPERING)

    summary = _run(shop, "dim_hiding", "fct_small")

    assert summary.build.not_published is not None
    assert (
        "selected_resources: was changed in dbt while the project was built; check for Jinja that changes nodes, macros or dbt's own variables"
        in summary.build.not_published
    )
    changed = re.findall(r"(?:^|; )([^;]+): was changed in dbt", summary.build.not_published)
    assert re.fullmatch(r"test\.dpe\.amounts_are_known\.\w+", changed.pop(changed.index("selected_resources") + 1))
    assert changed == [
        "dbt's configuration",
        "macros",
        "model.dpe.fct_small",
        "selected_resources",
        "unit_test.dpe.fct_small.amounts_stay_the_same",
        "vars",
        "what ref() finds",
    ]


# What a hook of fct_orders creates next to dim_shops, whose declaration it would borrow, with dpe's policies and comments.
STRAYS = [("marts", "dim_shops__masked"), ("marts", "dim_shops__quarantine"), ("marts__next", "dim_shops__quarantine")]
MAKE_STRAY = (
    "create table {schema}.{name} as select 1 as one, now() as _quarantined_at; "
    "{{{{ protect_table(api.Relation.create(schema='{schema}', identifier='{name}', type='table'), {{'shared': true}}, 'model.dpe.fct_orders') }}}}"
)


def test_a_relation_without_a_model_is_not_published(shop: Shop) -> None:
    """Whatever its policies and comments say: the project does not declare it. `dpe rls check` finds it as well."""
    hooks = [MAKE_STRAY.format(schema=schema, name=name) for schema, name in STRAYS]
    shop.write({**WEDNESDAY, "models/marts/fct_orders.sql": FCT_ORDERS.format(hooks=hooks)})

    summary = _run(shop)

    assert summary.build.not_published is not None
    assert summary.build.publication is not None
    for schema, name in STRAYS:
        assert f"{schema}.{name}: may be read by dpe_masked_reader, dpe_reader, but dim_shops " in summary.build.not_published
    assert PUBLISHED == {str(one) for one in summary.build.publication.relations}
    assert [1, 2, 3] == _orders(shop)
    assert [("RLS070", "marts.dim_shops__masked"), ("RLS070", "marts.dim_shops__quarantine")] == [
        (one.check_id, one.subject) for one in protection.check_rls(shop.project, shop.server)
    ]
    assert summary.validation is not None
    assert any("marts.dim_shops__masked" in fault for check in summary.validation.checks for fault in check.faults)


OPEN = "create policy dpe_open on {} for select to dpe_reader using (true)"
# A view that opens another relation of the same build when dpe's own session counts it.
OPENING = {
    "models/marts/private_orders.sql": (
        "{{ config(meta={'rls': {'private': true}}, contract={'enforced': false}) }} select * from {{ ref('stg_shop__orders') }}"
    ),
    "models/marts/counted_orders.sql": """
        -- depends_on: {{ ref('private_orders') }}
        {{ config(
            materialized='view',
            contract={'enforced': false},
            meta={'rls': {'private': true}, 'reconcile': {'from': 'stg_shop__orders'}},
            pre_hook="
                create schema if not exists code;
                create or replace function code.open() returns boolean language plpgsql as $f$
                begin
                    if (select setting from pg_settings where name = 'application_name') like 'dpe%' then
                        execute '__OPEN__';
                    end if;
                    return true;
                exception when duplicate_object or undefined_table then
                    return true;
                end $f$;"
        ) }}
        select * from {{ ref('stg_shop__orders') }} where code.open()
        """.replace("__OPEN__", OPEN.format("marts__next.private_orders")),
}


def test_what_counting_a_model_changes_is_judged(new_shop: Shop) -> None:
    """The models' code runs before the protection is checked, and none runs between the check and the publication."""
    new_shop.write(OPENING)

    summary = new_shop.run()

    assert summary.build.not_published is not None
    assert "marts__next.private_orders: shows all rows to dpe_reader through the policy dpe_open" in summary.build.not_published


def _as_an_author(shop: Shop, *statements: str) -> None:
    """Do what a model's hook or Jinja can do."""
    with shop.server.connect("transformer") as connection, system_context(connection, actor="dbt"):
        for statement in statements:
            connection.execute(statement.encode())


def test_what_changes_after_the_check_is_not_published(shop: Shop) -> None:
    """The transaction that swaps relations compares their protection with what was judged."""
    shop.write(WEDNESDAY)
    summary = _run(shop, publishes=False)
    assert summary.build.publication is not None
    with publication.connected(shop.server) as connection:
        judged = publication.protection(connection, summary.build.publication.relations)
        connection.rollback()
        _as_an_author(shop, "grant insert on marts__next.fct_orders to dpe_reader")

        with pytest.raises(PublishError, match="marts.fct_orders: its protection was changed after it was checked; run `dpe run`"):
            publication.publish(connection, summary.build.publication, shop.project.published_schemas, judged=judged)

    assert [1, 2, 3] == _orders(shop)


def test_what_waits_and_what_is_restored_is_judged_again(shop: Shop) -> None:
    """Since it was built or replaced, hooks and Jinja of models may have opened it or substituted something else."""

    def undo() -> None:
        publish.undo(shop.project, shop.server, ends_sessions=False, progress=Silence())

    shop.write(WEDNESDAY)
    _run(shop, publishes=False)
    _as_an_author(shop, OPEN.format("marts__next.fct_orders"))
    with pytest.raises(
        PublishError,
        match=r"publication 2: was not published \(marts__next.fct_orders: shows all rows to dpe_reader through the policy dpe_open",
    ):
        publish.publish(shop.project, shop.server, ends_sessions=False, progress=Silence())
    _as_an_author(shop, "drop policy dpe_open on marts__next.fct_orders")
    publish.publish(shop.project, shop.server, ends_sessions=False, progress=Silence())
    assert [1, 2, 3, 4] == _orders(shop)

    _as_an_author(shop, OPEN.format("marts__previous.fct_orders"))
    with pytest.raises(
        PublishError, match=r"was not undone, .* \(marts__previous.fct_orders: shows all rows to dpe_reader through the policy dpe_open"
    ):
        undo()
    _as_an_author(
        shop,
        "alter table marts__previous.fct_orders rename to replaced_orders",
        "create table marts__previous.fct_orders (like marts.fct_orders including all)",
    )
    with publication.connected(shop.server) as connection, pytest.raises(PublishError, match="marts__previous.fct_orders: was rebuilt"):
        publication.undo(connection, shop.project.published_schemas)
    _as_an_author(
        shop,
        "drop table marts__previous.fct_orders",
        "alter table marts__previous.replaced_orders rename to fct_orders",
        "drop policy dpe_open on marts__previous.fct_orders",
    )
    _change_columns(shop, "{tenant_column: shop}", "{private: true}")
    with pytest.raises(PublishError, match=r"marts__previous.fct_orders: has the policy .* which does not match its declaration, private"):
        undo()
    _change_columns(shop, "{private: true}", "{tenant_column: shop}")
    undo()
    assert [1, 2, 3] == _orders(shop)


REWRITING = (
    "update dpe.publications set status = 'built', refused_because = null",
    "update dpe.publications set status = 'published', published_at = now(), replaced = '[]', refused_because = null",
    "insert into dpe.publications (status, selection, relations) select 'built', '', relations from dpe.publications",
    """
    insert into dpe.publications (publication_id, status, selection, relations) overriding system value
    select 1000, 'built', '', '[]' from dpe.publications
    """,
    "update dpe.publications set relations = '[]'",
    "delete from dpe.publications",
)


def test_what_was_refused_stays_refused(shop: Shop) -> None:
    """Hooks and Jinja act as the role that publishes, but cannot change that."""
    shop.write(DOUBLED)
    assert _run(shop).build.not_published is not None

    for statement in REWRITING:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            _as_an_author(shop, f"{statement} where status = 'refused'")
    with pytest.raises(PublishError, match="is refused .rule SHOP-1-01 failed"):
        publish.publish(shop.project, shop.server, ends_sessions=False, progress=Silence())


TOUCHY = {
    "models/marts/touchy_orders.sql": """
        {{ config(
            materialized='view',
            contract={'enforced': false},
            meta={'rls': {'tenant_column': 'shop'}},
            pre_hook="
                create schema if not exists code;
                create or replace function code.no() returns boolean language plpgsql as $f$
                begin
                    if current_user in ('dpe_reader', 'dpe_tenant') then
                        raise exception 'not for readers';
                    end if;
                    return true;
                end $f$;
                grant usage on schema code to dpe_reader; grant execute on function code.no() to dpe_reader"
        ) }}
        {% if flags.WHICH == 'generate' %}{{ exceptions.raise_compiler_error('not to be documented') }}{% endif %}
        select * from {{ ref('fct_orders') }} where code.no()
        """
}


def test_a_relation_that_raises_is_a_fault_of_its_own(shop: Shop) -> None:
    """So is a docs site that cannot be built: everything else is checked and measured, and the run fails."""
    shop.write(TOUCHY)

    summary = shop.run(documents=True)

    assert summary.not_documented is not None
    assert "not to be documented" in summary.not_documented
    assert summary.validation is not None
    visibility_check = next(check for check in summary.validation.checks if check.name == "who sees what")
    assert {f"marts.touchy_orders: {who} cannot read it (not for readers); correct the model" for who in ("UA", "HA")} == set(
        visibility_check.faults
    )
    assert not summary.holds
    cells = protection.measure_rls(shop.project, shop.server, ["marts.*"], (), Silence())
    assert {"marts.touchy_orders: a tenant (UA) cannot read it (not for readers)"} < {fault for cell in cells for fault in cell.faults}
    assert {"marts.touchy_orders"} == {cell.relation for cell in cells if cell.faults}


@pytest.mark.parametrize("declared", [("{tenant_column: shop}", "{private: true}"), ("{shared: true}", "{tenant_column: shop}")])
def test_an_earlier_version_is_measured_by_its_own_declaration(shop: Shop, declared: tuple[str, str]) -> None:
    """What is right for the present version would be a fault of the previous one."""
    _change_columns(shop, *declared)
    assert _run(shop).build.not_published is None

    cells = protection.measure_rls(shop.project, shop.server, ["marts__previous.*"], (), Silence())

    assert cells
    assert [] == [fault for cell in cells for fault in cell.faults]
