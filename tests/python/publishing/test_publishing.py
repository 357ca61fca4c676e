"""Readers see the last version that passed its rules, until the next one passes, and then all of that at once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from support.dbt_projects import Silence
from support.result_schemas import check_report
from support.shop import DOUBLED, WEDNESDAY, Shop
from support.table_properties import properties

from dpe_cli.cli.report import Report
from dpe_cli.errors import PublishError, UnknownNameError
from dpe_cli.ingest import loads
from dpe_cli.pipeline import run
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.publishing import diff, publication, publisher, swap
from dpe_cli.publishing.changed_rows import ChangedValue
from dpe_cli.server.connection import Connection
from dpe_cli.server.contexts import system_context
from dpe_cli.server.relations import Relation
from dpe_cli.server.server import Server

FCT_ORDERS = "{{{{ config(post_hook={hooks}) }}}} select order_id, shop, amount from {{{{ ref('stg_shop__orders') }}}}"
SHOPS_ARE_KNOWN = {
    "tests/singular/shops_are_known.sql": "select * from {{ ref('fct_orders') }} where shop not in (select shop from {{ ref('dim_shops') }})"
}
PUBLISHED = {"raw.stg_shop__orders", "finance.fct_orders", "finance.dim_shops"}


def _rows(server: Server, query: str) -> list[Any]:
    with server.connect("transformer") as connection, system_context(connection, actor="test"):
        return [row if len(row) > 1 else row[0] for row in connection.execute(query.encode()).fetchall()]


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


def _undo(shop: Shop) -> list[str]:
    with publisher.connected(shop.server) as connection:
        return sorted(str(relation) for relation in publication.undo(connection, shop.project.published_schemas).restored)


def test_a_run_publishes_what_it_built(first_run: tuple[Shop, RunSummary]) -> None:
    """All of it, and leaves nothing in the shadow schemas."""
    shop, summary = first_run

    assert summary.build.publication is not None
    assert ("published", PUBLISHED) == (
        summary.build.publication.status,
        {str(relation) for relation in summary.build.publication.relations},
    )
    assert set() == _relations(shop.server, "%\\_\\_next")
    assert set() == _relations(shop.server, "%\\_\\_previous")


def test_what_fails_a_rule_is_not_published(shop: Shop) -> None:
    """Neither the relation nor anything else that was built with it; the rule is named."""
    shop.write({**DOUBLED, "data/shops.csv": "shop,name\nHA,Hats and caps\n"})

    summary = shop.run()

    assert summary.build.publication is not None
    assert ("refused", "rule SHOP-1-01 failed: orders_are_unique (1 failing)") == (
        summary.build.publication.status,
        summary.build.not_published,
    )
    assert [1, 2, 3] == shop.orders()
    assert ["Hats", "Umbrellas"] == _rows(shop.server, "select name from finance.dim_shops order by 1")
    assert [1, 2, 3, 3, 4] == shop.orders("finance__next.fct_orders")
    with publisher.connected(shop.server) as connection, pytest.raises(PublishError, match="is refused .rule SHOP-1-01 failed"):
        publication.publish(connection, summary.build.publication, shop.project.published_schemas)


def test_what_leaves_rows_elsewhere_is_not_published(shop: Shop, reader: Callable[..., str]) -> None:
    """A hook that copies rows to another schema and grants them: the copy is named, with the statement that closes it."""
    stranger = reader(shop.server)
    hooks = (
        "create schema if not exists copies",
        "create table copies.orders as select * from {{ this }}",
        f"grant usage on schema copies to {stranger}; grant select on copies.orders to {stranger}",
    )
    shop.write({**WEDNESDAY, "models/finance/fct_orders.sql": FCT_ORDERS.format(hooks=list(hooks))})

    summary = shop.run()

    assert summary.build.publication is not None
    assert "refused" == summary.build.publication.status
    assert (
        f"copies.orders: belongs to dpe_transformer, but is open to {stranger}; "
        f"revoke all on copies.orders from {stranger}; publish rows for readers with a model" == summary.build.not_published
    )
    assert [1, 2, 3] == shop.orders()


def test_the_next_run_that_passes_is_published(shop: Shop) -> None:
    """What a refused build left does not interfere."""
    shop.write(DOUBLED)
    shop.run()
    shop.write({"data/orders/wednesday.csv": "order_id,shop,amount\n4,HA,40\n"})
    [extract_id] = _rows(shop.server, "select max(extract_id) from dpe.extracts")
    loads.undo(shop.server, shop.project.sources, extract_id)

    assert shop.run().holds
    assert [1, 2, 3, 4] == shop.orders()


def test_a_version_that_lost_too_many_rows_is_not_published(shop: Shop) -> None:
    """Compared with what readers see."""
    name = "row_count_against_published"
    shop.change_columns(
        "      - {name: amount, data_type: integer}",
        "      - {name: amount, data_type: integer}\n    data_tests:\n"
        f"      - dpe.{name}: {{name: few_go, arguments: {{max_decrease: 0.5}}}}",
    )
    lost = "select order_id, shop, amount from {{ ref('stg_shop__orders') }} where order_id <= "
    shop.write({"models/finance/fct_orders.sql": f"{lost} 2"})
    assert shop.run().build.not_published is None
    shop.write({"models/finance/fct_orders.sql": f"{lost} 0"})

    assert "test few_go failed (1 failing)" == shop.run().build.not_published
    assert [1, 2] == shop.orders()


@pytest.mark.parametrize("suffix", ["__next", "__previous"])
def test_no_reader_reaches_what_is_not_published(shop: Shop, suffix: str) -> None:
    """It also has its policies, in case the schema is ever opened."""
    shop.write(WEDNESDAY)
    shop.run(publishes=suffix == "__previous")

    with shop.server.connect("admin") as connection:
        connection.execute("set local role dpe_reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"permission denied for schema finance{suffix}"):
            connection.execute(f"select from finance{suffix}.fct_orders".encode())
    with shop.server.connect("admin") as connection:
        rows = connection.execute(
            "select relrowsecurity and relforcerowsecurity, (select count(*) from pg_policy where polrelid = pg_class.oid) "
            "from pg_class where oid = %s::regclass",
            [f"finance{suffix}.fct_orders"],
        ).fetchall()
    assert [(True, 3)] == rows


def test_a_part_is_tested_against_the_rest_as_it_is_published(shop: Shop) -> None:
    """What is not selected is not built, and not read from the shadow schemas."""
    shop.write({**WEDNESDAY, **SHOPS_ARE_KNOWN})

    summary = shop.run("fct_orders")

    assert {"fct_orders", "stg_shop__orders"} == {result.name for result in summary.build.results if result.resource_type == "model"}
    assert "pass" == next(result.status for result in summary.build.results if result.name == "shops_are_known")
    assert [1, 2, 3, 4] == shop.orders()


def test_a_part_can_be_the_first_to_be_published(new_shop: Shop) -> None:
    """A test that reads relations which are neither built nor published cannot run yet, which is reported."""
    new_shop.write(SHOPS_ARE_KNOWN)
    progress = Silence()

    summary = run.run(new_shop.project, new_shop.server, ("fct_orders",), (), progress, RunOptions(documents=False))

    assert summary.build.not_published is None
    assert ["Skipped, because they read models that have never been published: shops_are_known"] == progress.messages
    assert [1, 2, 3] == new_shop.orders()


def test_undoing_restores_the_previous_version(shop: Shop) -> None:
    """All of it; a relation that was new is removed, and a second time there is nothing to undo."""
    shop.write({**WEDNESDAY, "models/core/int_big_orders.sql": "select * from {{ ref('stg_shop__orders') }} where amount > 25"})
    shop.run()
    assert "core.int_big_orders" in _relations(shop.server, "core")

    assert sorted(PUBLISHED) == _undo(shop)

    assert [1, 2, 3] == shop.orders()
    assert set() == _relations(shop.server, "core")
    with pytest.raises(PublishError, match="has already been undone; there is nothing to undo"):
        _undo(shop)
    shop.run()
    assert [1, 2, 3, 4] == shop.orders()


def test_what_was_rebuilt_since_is_not_undone(shop: Shop) -> None:
    """Plain dbt builds in place: restoring the previous version would lose its work."""
    shop.write(WEDNESDAY)
    shop.run()
    run_dbt(shop.project, shop.server, ["run", "--select", "fct_orders"])

    with pytest.raises(PublishError, match=r"finance.fct_orders: was rebuilt since; run `dpe run`"):
        _undo(shop)
    assert [1, 2, 3, 4] == shop.orders()


KEPT = {
    "models/finance/fct_added.sql": """
        {{ config(
            materialized='incremental',
            unique_key='order_id',
            meta={'rls': {'tenant_column': 'shop'}},
            contract={'enforced': false},
            on_schema_change='append_new_columns',
            indexes=[{'columns': ['amount']}],
            post_hook=[
                "alter table {{ this }} add column if not exists number bigserial",
                "create index if not exists of_amounts on {{ this }} (amount, shop)",
                "alter table {{ this }} drop constraint if exists of_orders, add constraint of_orders primary key (order_id)",
                "create statistics if not exists {{ this.schema }}.together on shop, amount from {{ this }}"
            ]
        ) }}
        select order_id, shop, amount, 'run {{ var("number", 1) }}' as added_by from {{ ref('stg_shop__orders') }}
        {% if is_incremental() %} where order_id > (select max(order_id) from {{ this }}) {% endif %}
        """,
    # The second run adds its tenant column.
    "models/finance/fct_widened.sql": """
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
    assert shop.run().holds
    with publisher.connected(shop.server) as connection:
        before = properties(connection, "finance", "fct_added")
    shop.write({**WEDNESDAY, "data/shops.csv": "shop,name\nHA,Hats and caps\nUA,Umbrellas\n", "seeds/colours.csv": "colour\nred\nblue\n"})

    summary = run.run(
        type(shop.project)(shop.directory, variables="{number: 2}"), shop.server, (), (), Silence(), RunOptions(documents=False)
    )

    assert summary.holds
    assert [(1, "run 1"), (2, "run 1"), (3, "run 1"), (4, "run 2")] == _rows(
        shop.server, "select order_id, added_by from finance.fct_added order by 1"
    )
    assert [("Hats", False), ("Hats and caps", True), ("Umbrellas", True)] == _rows(
        shop.server, "select name, dbt_valid_to is null from core.shops_over_time order by 1"
    )
    assert ["blue", "red"] == _rows(shop.server, "select colour from core.colours order by 1")
    # As plain dbt leaves it: hooks find their index, key and statistics.
    with publisher.connected(shop.server) as connection:
        assert before == properties(connection, "finance", "fct_added")
    assert [1, 2, 3, 4] == _rows(shop.server, "select number from finance.fct_added order by 1")
    assert [3] == _rows(shop.server, "select count(*) from pg_policy where polrelid = 'finance.fct_added'::regclass")
    assert [3] == _rows(shop.server, "select count(*) from finance__previous.fct_added")
    assert ["UA"] == _rows(shop.server, "select distinct owned_by from finance.fct_widened where owned_by = 'UA'")


# The second run widens the tenant column of both; a third model changes its type, and a view and a generated column read that.
WIDENED = {
    "models/core/int_shops.sql": """
        {{ config(materialized='ephemeral') }}
        select order_id, shop::varchar({{ 2 * var('number', 1) }}) as shop, amount from {{ ref('stg_shop__orders') }}
        """,
    **{
        f"models/finance/fct_{name}.sql": f"""
        {{{{ config(
            materialized='incremental',
            unique_key='order_id',
            on_schema_change='{change}',
            post_hook="alter table {{{{ this }}}} add column if not exists initial text generated always as (left(shop, 1)) stored",
            meta={{'rls': {{'tenant_column': 'shop'}}, 'masked': ['amount']}},
            contract={{'enforced': false}}
        ) }}}}
        select order_id, shop{{{{ '::text' if var('number', 1) == 2 and '{change}' == 'sync_all_columns' }}}} as shop, amount
        from {{{{ ref('int_shops') }}}}
        """
        for name, change in (("widened", "append_new_columns"), ("synchronized", "sync_all_columns"))
    },
    "snapshots/orders_over_time.yml": """
        snapshots:
          - name: orders_over_time
            relation: ref('int_shops')
            config: {unique_key: order_id, strategy: check, check_cols: all, schema: finance, meta: {rls: {tenant_column: shop}}}
        """,
}


def test_policies_follow_a_column_whose_type_changes(shop: Shop, reader: Callable[..., str]) -> None:
    """dbt widens texts by itself, also a tenant column; the policies, and what else depends on the column, stay."""
    desk = reader(shop.server, "UA")
    shop.write(WIDENED)
    assert shop.run().holds
    shop.write({"data/orders/wednesday.csv": "order_id,shop,amount\n4,HAWA,40\n"})

    summary = run.run(
        type(shop.project)(shop.directory, variables="{number: 2}"), shop.server, (), (), Silence(), RunOptions(documents=False)
    )

    assert summary.holds, [result.message for result in summary.build.results if result.has_failed]
    for name in ("fct_widened", "fct_synchronized", "orders_over_time"):
        with shop.server.connect(desk) as connection:
            assert [("UA",)] == connection.execute(f"select distinct shop from finance.{name}".encode()).fetchall()
        assert ["HAWA"] == _rows(shop.server, f"select shop from finance.{name} where order_id = 4")


REFERRING = {
    "models/finance/fct_referring.sql": """
        {{ config(materialized='incremental', on_schema_change='append_new_columns') }}
        select order_id, shop from {{ ref('stg_shop__orders') }}
        {% if is_incremental() %} where order_id > (select max(order_id) from {{ this }}) {% endif %}
        """,
    "models/finance/_referring.yml": """
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
    "models/finance/dim_of_shops.sql": "select shop from {{ source('shop', 'shops') }}",
}
FOREIGN_KEYS = "select confrelid::regclass::text from pg_constraint where contype = 'f' and conrelid = 'finance.fct_referring'::regclass"


def test_foreign_keys_refer_to_what_is_published(shop: Shop) -> None:
    """Also from the copy of an incremental model; and from a part of the project to the published rest."""
    shop.write(REFERRING)
    for select, exclude in (((), ()), ((), ()), (("fct_referring",), ("dim_of_shops",))):
        summary = run.run(shop.project, shop.server, select, exclude, Silence(), RunOptions(documents=False))

        assert summary.build.not_published is None
        assert ["finance.dim_of_shops"] == _rows(shop.server, FOREIGN_KEYS)


def test_a_full_refresh_starts_from_scratch(shop: Shop) -> None:
    """Without the published rows."""
    shop.write(KEPT)
    shop.run()

    run.run(
        type(shop.project)(shop.directory, variables="{number: 2}"),
        shop.server,
        ("fct_added",),
        (),
        Silence(),
        RunOptions(full_refresh=True, documents=False),
    )

    assert ["run 2"] == _rows(shop.server, "select distinct added_by from finance.fct_added")


UNIT_TEST = {
    "models/finance/_fct_added.yml": """
        unit_tests:
          - name: only_later_orders_are_added
            model: fct_added
            overrides: {macros: {is_incremental: true}}
            given:
              - input: ref('stg_shop__orders')
                rows: [{order_id: 1, shop: UA, amount: 1}, {order_id: 9, shop: HA, amount: 2}]
              - input: this
                rows: [{order_id: 5, shop: UA, amount: 1}]
            expect: {rows: [{order_id: 9, shop: HA, amount: 2}]}
        """,
}


def test_a_unit_test_reads_columns_of_what_is_not_built_yet(shop: Shop) -> None:
    """From what is published: the model itself before a full refresh, and a parent that is left out."""
    shop.write({"models/finance/fct_added.sql": KEPT["models/finance/fct_added.sql"]})
    shop.run()
    shop.write(UNIT_TEST)

    for exclude, options in (
        ((), RunOptions(full_refresh=True, documents=False)),
        (("stg_shop__orders",), RunOptions(documents=False)),
    ):
        summary = run.run(shop.project, shop.server, ("fct_added",), exclude, Silence(), options)

        assert summary.build.not_published is None, [result.message for result in summary.build.results if result.has_failed]
        assert "unit_test" in {result.resource_type for result in summary.build.results}


def test_an_unpublished_build_waits(shop: Shop) -> None:
    """And can be published later."""
    shop.write(WEDNESDAY)

    summary = shop.run(publishes=False)

    assert summary.build.publication is not None
    assert ("built", True, [1, 2, 3]) == (summary.build.publication.status, summary.holds, shop.orders())
    with publisher.connected(shop.server) as connection:
        made = publication.publish(connection, summary.build.publication, shop.project.published_schemas).publication
    assert ("published", [1, 2, 3, 4]) == (made.status, shop.orders())


def test_a_diff_shows_what_would_change(shop: Shop) -> None:
    """By key and by columns; an unchanged relation is not shown."""
    shop.change_columns(
        "- {name: amount, data_type: integer}", "- {name: amount, data_type: bigint}\n      - {name: note, data_type: text}"
    )
    shop.write(
        {
            **WEDNESDAY,
            "models/finance/fct_orders.sql": (
                "select order_id, case order_id when 1 then 'HA' else shop end as shop, amount::bigint, 'x' as note "
                "from {{ ref('stg_shop__orders') }} where order_id <> 2"
            ),
            "models/core/int_new.sql": "select 1 as one",
        }
    )
    shop.run(publishes=False)

    built, found = diff.compare(shop.server, shop.project.manifest, [])

    written = {"publication": built.publication_id, "status": built.status, "relations": found}
    check_report("diff", Report(data=written))
    by_name = {difference.relation: difference for difference in found}
    changed = by_name["finance.fct_orders"]
    assert (("order_id",), 3, 3, 1, 1, 1) == (
        changed.key,
        changed.rows_before,
        changed.rows_after,
        changed.added,
        changed.removed,
        changed.changed,
    )
    assert (("note",), (), ("amount: integer → bigint",)) == (changed.columns_added, changed.columns_removed, changed.columns_changed)
    assert by_name["finance.dim_shops"].is_none
    assert (None, 1, 1) == (
        by_name["core.int_new"].rows_before,
        by_name["core.int_new"].rows_after,
        by_name["core.int_new"].added,
    )
    assert ({"shop": 1}, [({"order_id": "1"}, {"shop": ChangedValue("UA", "HA")})]) == (
        changed.values_changed,
        [(row.key, row.values) for row in changed.changed_rows],
    )

    # Of one tenant, nothing of another is counted or shown: order 1 is not one of its rows before.
    _, of_tenant = diff.compare(shop.server, shop.project.manifest, ["fct_orders"], tenant_id="HA")
    assert (1, 3, 2, 0, 0, []) == tuple(
        getattr(of_tenant[0], name) for name in ("rows_before", "rows_after", "added", "removed", "changed", "changed_rows")
    )

    manifest = copy.deepcopy(shop.project.manifest)
    node = next(node for node in manifest["nodes"].values() if node["name"] == "fct_orders")
    for masked, expected in (["shop"], [{"shop": ChangedValue(None, None, is_masked=True)}]), (["order_id"], []):
        node["config"]["meta"]["masked"] = masked
        _, hidden = diff.compare(shop.server, manifest, ["fct_orders"])
        assert ({"shop": 1}, expected) == (hidden[0].values_changed, [row.values for row in hidden[0].changed_rows])

    with pytest.raises(UnknownNameError, match=r"fct_order: is not part of the newest build; did you mean fct_orders\?"):
        diff.compare(shop.server, shop.project.manifest, ["fct_order"])


def test_a_view_that_cannot_be_read_is_named_by_a_diff(shop: Shop) -> None:
    """With the server's reason; others can still be compared."""
    shop.write({"models/core/int_broken.sql": "{{ config(materialized='view') }} select order_id from {{ ref('stg_shop__orders') }}"})
    shop.run(publishes=False)
    with publisher.connected(shop.server) as connection, system_context(connection, actor="test"):
        connection.execute(
            "create or replace view core__next.int_broken with (security_invoker = true) as "
            "select order_id from raw.orders where 1 / (amount - 10) > 0"
        )

    with pytest.raises(PublishError, match=r"^core.int_broken: cannot be compared, because .* \(division by zero\); correct its model"):
        diff.compare(shop.server, shop.project.manifest, [])
    assert 1 == len(diff.compare(shop.server, shop.project.manifest, ["dim_shops"])[1])


def test_nothing_to_compare_is_reported(shop: Shop) -> None:
    """With the command that builds something."""
    with pytest.raises(PublishError, match="no build is waiting to be published .*; run `dpe run --no-publish`"):
        diff.compare(shop.server, shop.project.manifest, [])


def test_a_failure_in_the_middle_changes_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What had been swapped before it is rolled back."""
    shop.write(WEDNESDAY)
    summary = shop.run(publishes=False)
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
    with publisher.connected(shop.server) as connection, pytest.raises(psycopg.OperationalError):
        publication.publish(connection, summary.build.publication, shop.project.published_schemas)

    assert [1, 2, 3] == shop.orders()
    assert PUBLISHED == _relations(shop.server, "finance") | {"raw.stg_shop__orders"} & _relations(shop.server, "raw")
    monkeypatch.undo()
    with publisher.connected(shop.server) as connection:
        publication.publish(connection, summary.build.publication, shop.project.published_schemas)
    assert [1, 2, 3, 4] == shop.orders()
