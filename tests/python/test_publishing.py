"""Readers see the last version that passed its rules, until the next one has passed, and then all of it at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from dbt_projects import REPOSITORY, Silence

from dpe_cli import diff, history, pipeline, publication, swap
from dpe_cli.dbt_runner import run_dbt
from dpe_cli.errors import PublishError, UsageError
from dpe_cli.pipeline import RunOptions, RunSummary
from dpe_cli.publication import Publication
from dpe_cli.rls import system_context
from dpe_cli.swap import Relation

# Its fixtures; imported here as well, pytest could not rewrite its asserts.
if TYPE_CHECKING:
    from shop import Shop

    from dpe_cli.postgres import Server

pytest_plugins = ["shop"]

WEDNESDAY = {"data/orders/wednesday.csv": "order_id,shop,amount\n4,HA,40\n"}
# Order 3 was delivered on Tuesday already.
DOUBLED = {"data/orders/wednesday.csv": "order_id,shop,amount\n3,HA,31\n4,HA,40\n"}
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
    return pipeline.run(shop.project, shop.server, select, (), Silence(), RunOptions(**options))


def _undo(shop: Shop) -> list[str]:
    with publication.connected(shop.server) as connection:
        _, restored = publication.undo(connection, shop.project.published_schemas)
        return sorted(str(one) for one in restored)


def test_a_run_publishes_what_it_built(first_run: tuple[Shop, RunSummary]) -> None:
    """All of it, and leaves nothing beside it."""
    shop, summary = first_run

    assert summary.publication is not None
    assert ("published", PUBLISHED) == (summary.publication.status, {str(one) for one in summary.publication.relations})
    assert set() == _relations(shop.server, "%\\_\\_next")
    assert set() == _relations(shop.server, "%\\_\\_previous")


def test_what_fails_a_rule_is_not_published(shop: Shop) -> None:
    """Not the relation itself, and nothing else that was built with it; the rule is named."""
    shop.write({**DOUBLED, "data/shops.csv": "shop,name\nHA,Hats and caps\n"})

    summary = _run(shop)

    assert summary.publication is not None
    assert ("refused", "rule SHOP-1-01 failed (orders_are_unique: 1 failing)") == (summary.publication.status, summary.not_published)
    assert [1, 2, 3] == _orders(shop)
    assert ["Hats", "Umbrellas"] == _rows(shop.server, "select name from marts.dim_shops order by 1")
    assert [1, 2, 3, 3, 4] == _orders(shop, "marts__next.fct_orders")
    with publication.connected(shop.server) as connection, pytest.raises(PublishError, match="is refused .rule SHOP-1-01 failed"):
        publication.publish(connection, summary.publication, shop.project.published_schemas)


def test_the_next_run_that_passes_is_published(shop: Shop) -> None:
    """What a refused one left is not in its way."""
    shop.write(DOUBLED)
    _run(shop)
    shop.write({"data/orders/wednesday.csv": "order_id,shop,amount\n4,HA,40\n"})
    [extract_id] = _rows(shop.server, "select max(extract_id) from dpe.extracts")
    history.undo(shop.server, shop.project, extract_id)

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
    assert _run(shop).not_published is None
    shop.write({"models/marts/fct_orders.sql": f"{lost} 0"})

    assert "test few_go failed" == _run(shop).not_published
    assert [1, 2] == _orders(shop)


@pytest.mark.parametrize("suffix", ["__next", "__previous"])
def test_no_reader_reaches_what_is_not_published(shop: Shop, suffix: str) -> None:
    """The policies are there as well, should the schema ever be opened."""
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
    """What is not selected is not built, and not looked for beside what is published."""
    shop.write(
        {
            **WEDNESDAY,
            "tests/singular/shops_are_known.sql": (
                "select * from {{ ref('fct_orders') }} where shop not in (select shop from {{ ref('dim_shops') }})"
            ),
        }
    )

    summary = _run(shop, "fct_orders")

    assert {"fct_orders", "stg_shop__orders"} == {result.name for result in summary.results if result.resource_type == "model"}
    assert "pass" == next(result.status for result in summary.results if result.name == "shops_are_known")
    assert [1, 2, 3, 4] == _orders(shop)


def test_the_previous_version_comes_back(shop: Shop) -> None:
    """All of it; a relation that was new is gone, and a second time there is nothing to undo."""
    shop.write({**WEDNESDAY, "models/intermediate/int_big_orders.sql": "select * from {{ ref('stg_shop__orders') }} where amount > 25"})
    _run(shop)
    assert "intermediate.int_big_orders" in _relations(shop.server, "intermediate")

    assert sorted(PUBLISHED) == _undo(shop)

    assert [1, 2, 3] == _orders(shop)
    assert set() == _relations(shop.server, "intermediate")
    with pytest.raises(PublishError, match="was taken back already; there is nothing to undo"):
        _undo(shop)
    _run(shop)
    assert [1, 2, 3, 4] == _orders(shop)


def test_what_was_built_over_is_not_taken_back(shop: Shop) -> None:
    """Plain dbt builds in place: bringing back what was before that would lose its work."""
    shop.write(WEDNESDAY)
    _run(shop)
    run_dbt(shop.project, shop.server, ["run", "--select", "fct_orders"])

    with pytest.raises(PublishError, match=r"marts.fct_orders: was built anew since; run `dpe run`"):
        _undo(shop)
    assert [1, 2, 3, 4] == _orders(shop)


def _change_columns(shop: Shop, before: str, after: str) -> None:
    """Change the contract of fct_orders."""
    models = shop.directory / "models" / "marts" / "_marts__models.yml"
    text = models.read_text()
    assert before in text
    models.write_text(text.replace(before, after))


def _view(shop: Shop, owner: str) -> None:
    with shop.server.connect("admin") as connection:
        connection.execute("create schema reporting")
        connection.execute("grant usage, create on schema reporting to dpe_transformer")
        connection.execute(
            "create view reporting.orders with (security_invoker = true, security_barrier = true) as "
            "select order_id as number, shop, amount from marts.fct_orders"
        )
        connection.execute("comment on view reporting.orders is 'For the report.'")
        connection.execute("grant select on reporting.orders to dpe_auditor")
        connection.execute(f"alter view reporting.orders owner to {owner}".encode())


def test_a_view_elsewhere_reads_the_new_version(shop: Shop) -> None:
    """With the options, grants and comment that it had."""
    _view(shop, "dpe_transformer")
    shop.write(WEDNESDAY)

    _run(shop)

    assert [1, 2, 3, 4] == _rows(shop.server, "select number from reporting.orders order by 1")
    assert [("{security_invoker=true,security_barrier=true}", "For the report.", True)] == _rows(
        shop.server,
        """
        select reloptions::text, obj_description(oid), has_table_privilege('dpe_auditor', oid, 'select')
        from pg_class where oid = 'reporting.orders'::regclass
        """,
    )


def test_a_view_that_cannot_follow_is_named(shop: Shop) -> None:
    """Nothing is published: it would go on to show the previous version, or break."""
    _view(shop, "postgres")
    shop.write(WEDNESDAY)

    summary = _run(shop)

    assert summary.not_published == (
        "reporting.orders: reads marts.fct_orders and belongs to postgres, so it cannot be made to read the new version; "
        "run `alter view reporting.orders owner to dpe_transformer`, or drop it"
    )
    assert not summary.holds
    assert [1, 2, 3] == _orders(shop)

    with shop.server.connect("admin") as connection:
        connection.execute("drop view reporting.orders")
    with publication.connected(shop.server) as connection:
        assert summary.publication is not None
        publication.publish(connection, summary.publication, shop.project.published_schemas)
    assert [1, 2, 3, 4] == _orders(shop)


def test_a_view_whose_column_is_gone_is_named(shop: Shop) -> None:
    """In the server's words."""
    _view(shop, "dpe_transformer")
    _change_columns(shop, "- {name: amount, data_type: integer}", "")
    shop.write(
        {
            "models/marts/fct_orders.sql": "select order_id, shop from {{ ref('stg_shop__orders') }}",
            "tests/singular/orders_are_not_cheap.sql": "select * from {{ ref('fct_orders') }} where order_id < 0",
        }
    )

    summary = _run(shop)

    assert summary.not_published == (
        'reporting.orders: reads marts.fct_orders and does not fit its new version (column "amount" does not exist); '
        "select it too, change it or drop it"
    )
    assert [1, 2, 3] == _orders(shop)


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
    "seeds/colours.csv": "colour\nred\n",
    "snapshots/shops_over_time.yml": """
        snapshots:
          - name: shops_over_time
            relation: source('shop', 'shops')
            config: {unique_key: shop, strategy: check, check_cols: [name]}
        """,
}


def test_what_grows_from_run_to_run_goes_on_growing(shop: Shop) -> None:
    """Incremental models, snapshots and seeds are built beside what is published, on its rows."""
    shop.write(KEPT)
    assert _run(shop).holds
    shop.write({**WEDNESDAY, "data/shops.csv": "shop,name\nHA,Hats and caps\nUA,Umbrellas\n", "seeds/colours.csv": "colour\nred\nblue\n"})

    summary = pipeline.run(type(shop.project)(shop.directory, variables="{number: 2}"), shop.server, (), (), Silence())

    assert summary.holds
    assert [(1, "run 1"), (2, "run 1"), (3, "run 1"), (4, "run 2")] == _rows(
        shop.server, "select order_id, added_by from marts.fct_added order by 1"
    )
    assert [("Hats", False), ("Hats and caps", True), ("Umbrellas", True)] == _rows(
        shop.server, "select name, dbt_valid_to is null from intermediate.shops_over_time order by 1"
    )
    assert ["blue", "red"] == _rows(shop.server, "select colour from intermediate.colours order by 1")
    # The index that dbt made, and the one that the policies need.
    assert [2] == _rows(shop.server, "select count(*) from pg_index where indrelid = 'marts.fct_added'::regclass")
    assert [3] == _rows(shop.server, "select count(*) from pg_policy where polrelid = 'marts.fct_added'::regclass")
    assert [3] == _rows(shop.server, "select count(*) from marts__previous.fct_added")


def test_a_full_refresh_starts_anew(shop: Shop) -> None:
    """Without the rows that are published."""
    shop.write(KEPT)
    _run(shop)

    pipeline.run(
        type(shop.project)(shop.directory, variables="{number: 2}"),
        shop.server,
        ("fct_added",),
        (),
        Silence(),
        RunOptions(full_refresh=True),
    )

    assert ["run 2"] == _rows(shop.server, "select distinct added_by from marts.fct_added")


def test_what_is_not_to_be_published_waits(shop: Shop) -> None:
    """And is published by itself later."""
    shop.write(WEDNESDAY)

    summary = _run(shop, publishes=False)

    assert summary.publication is not None
    assert ("built", True, [1, 2, 3]) == (summary.publication.status, summary.holds, _orders(shop))
    with publication.connected(shop.server) as connection:
        made = publication.publish(connection, summary.publication, shop.project.published_schemas)
    assert ("published", [1, 2, 3, 4]) == (made.status, _orders(shop))


def test_a_diff_says_what_would_change(shop: Shop) -> None:
    """By key, by columns; a relation that stays the same does not."""
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
    with pytest.raises(UsageError, match=r"fct_order: is no part of the newest build; did you mean fct_orders\?"):
        diff.compare(shop.server, shop.project, ["fct_order"])


def test_nothing_to_compare_is_said(shop: Shop) -> None:
    """With the command that makes something."""
    with pytest.raises(PublishError, match="nothing is built that is not published; run `dpe run --no-publish`"):
        diff.compare(shop.server, shop.project, [])


def test_one_build_runs_at_once(shop: Shop) -> None:
    """A second one would build over the first."""
    with publication.building(shop.server, []), pytest.raises(PublishError, match="another `dpe run` is building; wait for it to end"):
        _run(shop)
    assert _run(shop).holds


def test_a_failure_in_the_middle_changes_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was exchanged before it goes back."""
    shop.write(WEDNESDAY)
    summary = _run(shop, publishes=False)
    move = swap._move
    moved: list[Relation] = []

    def stop_at_the_fifth(connection: swap.Connection, relation: Relation, source: str, target: str) -> None:
        moved.append(relation)
        if len(moved) == 5:
            with shop.server.connect("admin") as admin:
                admin.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
        move(connection, relation, source, target)

    assert summary.publication is not None
    monkeypatch.setattr(swap, "_move", stop_at_the_fifth)
    with publication.connected(shop.server) as connection, pytest.raises(psycopg.OperationalError):
        publication.publish(connection, summary.publication, shop.project.published_schemas)

    assert [1, 2, 3] == _orders(shop)
    assert PUBLISHED == _relations(shop.server, "marts") | {"staging.stg_shop__orders"} & _relations(shop.server, "staging")
    monkeypatch.undo()
    with publication.connected(shop.server) as connection:
        publication.publish(connection, summary.publication, shop.project.published_schemas)
    assert [1, 2, 3, 4] == _orders(shop)


def _build(server: Server, number: int) -> Publication:
    """Build two tables and a view on both beside the published ones, without dbt: that would take seconds each time."""
    with publication.building(server, ["marts"]) as connection:
        with system_context(connection, actor="test"):
            connection.execute("create schema if not exists marts__next")
            for name in ("left_half", "right_half"):
                connection.execute(f"create table marts__next.{name} as select {number} as number from generate_series(1, 50)".encode())
                connection.execute(f"alter table marts__next.{name} enable row level security, force row level security".encode())
                connection.execute(
                    f"create policy everybody on marts__next.{name} for select to dpe_reader, dpe_transformer using (true)".encode()
                )
                connection.execute(f"grant select on marts__next.{name} to dpe_reader".encode())
            connection.execute(
                b"create view marts__next.both_halves with (security_invoker = true) as "
                b"select number from marts__next.left_half union all select number from marts__next.right_half"
            )
            connection.execute(b"grant select on marts__next.both_halves to dpe_reader")
        return publication.record(connection, [], [("marts", name) for name in ("left_half", "right_half", "both_halves")], [])


def _publish(server: Server, made: Publication, **options: Any) -> None:
    with publication.connected(server) as connection:
        publication.publish(connection, made, ["marts"], **options)


# In the order in which the tables were made, and through the view.
READINGS = (
    b"select number from marts.left_half union all select number from marts.right_half",
    b"select number from marts.both_halves union all select number from marts.left_half",
)


def test_a_reader_sees_no_mixed_versions_and_no_error(server: Server) -> None:
    """However hard it polls, through a hundred publications."""
    _publish(server, _build(server, 0))
    over = threading.Event()
    seen: list[set[int]] = []
    errors: list[psycopg.Error] = []

    def poll(query: bytes) -> None:
        with server.connect("admin", autocommit=True) as connection:
            connection.execute("set role dpe_reader")
            while not over.is_set():
                try:
                    seen.append({int(number) for (number,) in connection.execute(query).fetchall()})
                except psycopg.Error as error:
                    errors.append(error)

    readers = [threading.Thread(target=poll, args=[query]) for query in READINGS]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 101):
            _publish(server, _build(server, number))
    finally:
        over.set()
        for reader in readers:
            reader.join()

    assert [] == errors
    assert {1} == {len(versions) for versions in seen}
    assert len({number for versions in seen for number in versions}) > 20


def test_readers_in_any_order_are_got_along_with(server: Server) -> None:
    """One that takes the tables the other way round than the publisher would otherwise be in its way each time."""
    _publish(server, _build(server, 0))
    over = threading.Event()
    seen: list[set[int]] = []

    def poll() -> None:
        with server.connect("admin", autocommit=True) as connection:
            connection.execute("set role dpe_reader")
            while not over.is_set():
                rows = connection.execute("select number from marts.right_half union all select number from marts.left_half").fetchall()
                seen.append({int(number) for (number,) in rows})

    readers = [threading.Thread(target=poll) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 4):
            _publish(server, _build(server, number), patience=20)
    finally:
        over.set()
        for reader in readers:
            reader.join()

    assert {1} == {len(versions) for versions in seen}
    assert [3] == _rows(server, "select distinct number from marts.left_half")


@contextmanager
def _reading(server: Server) -> Iterator[psycopg.Connection]:
    """Hold what is published, as a long query does."""
    with server.connect("admin") as connection:
        connection.execute("select count(*) from marts.left_half")
        yield connection


def test_a_long_reader_delays_and_does_not_break(server: Server) -> None:
    """Other readers are let in meanwhile; when it has ended, the new version is there."""
    _publish(server, _build(server, 1))
    made = _build(server, 2)
    said: list[str] = []
    with _reading(server) as reader:
        publisher = threading.Thread(target=_publish, args=[server, made], kwargs={"say": said.append})
        publisher.start()
        time.sleep(1)
        for _ in range(5):
            assert [1] == _rows(server, "select distinct number from marts.left_half")
        assert publisher.is_alive()
        reader.rollback()
        publisher.join(30)

    assert [2] == _rows(server, "select distinct number from marts.left_half")


def test_a_reader_that_never_lets_go_is_named(server: Server) -> None:
    """What was built stays, to be published later."""
    _publish(server, _build(server, 1))
    made = _build(server, 2)

    with _reading(server) as reader:
        message = rf"postgres \(process {reader.info.backend_pid}\) holds marts.left_half still; nothing is published. End that session"
        with pytest.raises(PublishError, match=message):
            _publish(server, made, patience=0.5)

    assert [1] == _rows(server, "select distinct number from marts.left_half")
    _publish(server, made)
    assert [2] == _rows(server, "select distinct number from marts.left_half")
