"""The build replaces what is published, and whatever reads that reads the new version; or nothing changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from support.halves import build, execute, publish, rows

from dpe_cli.errors import PublishError
from dpe_cli.publishing import builds, publisher
from dpe_cli.server.contexts import system_context
from dpe_cli.server.server import Server


def test_only_one_build_runs_at_a_time(server: Server) -> None:
    """A second one would build over the first."""
    with (
        publisher.building(server, ["finance"]),
        pytest.raises(PublishError, match="another `dpe run` is building in the schema finance; wait for it to end, then run again"),
        publisher.building(server, ["finance"]),
    ):
        pass


def test_a_session_does_not_block_a_build(server: Server) -> None:
    """One that reads what an earlier build left, in an open transaction: what it reads is dropped later."""
    build(server, 1)
    with server.connect("transformer") as looking, system_context(looking, actor="test"):
        looking.execute("select from finance__next.left_half")
        publish(server, build(server, 2))
        assert [2] == rows(server, "select distinct number from finance.left_half")
        # A table that the view reads cannot be dropped without it.
        assert ["left_half"] == rows(server, "select relname from pg_class where relnamespace = 'finance__old_1'::regnamespace")

    publish(server, build(server, 3))
    assert [] == rows(server, "select nspname from pg_namespace where nspname ~ '__old'")


def test_a_build_whose_relation_is_gone_is_not_published(server: Server) -> None:
    """A custom materialization may report a relation that it did not build."""
    with (
        publisher.building(server, ["finance"]) as building,
        pytest.raises(PublishError, match="finance__next.nowhere: was built, but no longer exists; nothing was published, run again"),
    ):
        builds.record(building.connection, [], [("finance", "nowhere")], [], lock=building.lock)


# Objects that read a relation, and stay where they are

VIEW = (
    "create view reporting.numbers with (security_invoker = true, security_barrier = true) as select number as n from finance.left_half",
    "comment on view reporting.numbers is 'For the report.'",
    "grant select on reporting.numbers to dpe_auditor",
)
FUNCTION = (
    """
    create function reporting.biggest() returns integer language sql stable
    begin atomic
        select max(number) from finance.left_half;
    end
    """,
    "grant execute on function reporting.biggest() to dpe_auditor",
)


def _with_reports(server: Server, *statements: str) -> None:
    """Publish a first version, and create objects that read it."""
    publish(server, build(server, 1))
    execute(server, "postgres", "create schema reporting", "grant usage, create on schema reporting to dpe_transformer")
    execute(server, "dpe_transformer", *statements)


def test_a_view_elsewhere_reads_the_new_version(server: Server) -> None:
    """With its options, grants and comment."""
    _with_reports(server, *VIEW)

    publish(server, build(server, 2))

    assert [2] == rows(server, "select distinct n from reporting.numbers")
    assert [("{security_invoker=true,security_barrier=true}", "For the report.", True)] == rows(
        server,
        """
        select reloptions::text, obj_description(oid), has_table_privilege('dpe_auditor', oid, 'select')
        from pg_class where oid = 'reporting.numbers'::regclass
        """,
    )


def test_a_function_elsewhere_reads_the_new_version(server: Server) -> None:
    """One whose body PostgreSQL has parsed; and it does not prevent the previous version from being dropped."""
    _with_reports(server, *FUNCTION)

    for number in (2, 3):
        publish(server, build(server, number))
        assert [number] == rows(server, "select reporting.biggest()")
    assert [True] == rows(server, "select has_function_privilege('dpe_auditor', 'reporting.biggest()', 'execute')")


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (
            ["create materialized view reporting.numbers as select number from finance.left_half"],
            "materialized view reporting.numbers: reads finance.left_half and cannot be switched to its new version; drop it",
        ),
        (
            ["create function reporting.all_of_it() returns setof finance.left_half language sql as 'select * from finance.left_half'"],
            r"function reporting.all_of_it\(\): is bound to the rows of finance.left_half and cannot be switched to its new version",
        ),
        (
            ["create table reporting.kept (id integer, copies finance.left_half[])"],
            "column copies of table reporting.kept: is bound to the rows of finance.left_half",
        ),
        (
            [
                "create table reporting.mine (number integer)",
                "create policy those on reporting.mine using (number in (select number from finance.left_half))",
            ],
            "policy those on table reporting.mine: reads finance.left_half and cannot be switched to its new version; drop it",
        ),
    ],
    ids=["a materialized view", "a row type", "a column", "a policy"],
)
def test_what_cannot_follow_of_the_pipelines_own_is_named(server: Server, statements: tuple[str, ...], message: str) -> None:
    """Nothing is published: it would keep showing the previous version, or break."""
    _with_reports(server, *statements)
    made = build(server, 2)

    with pytest.raises(PublishError, match=f"^{message}"):
        publish(server, made)
    assert [1] == rows(server, "select distinct number from finance.left_half")

    execute(server, "postgres", "drop schema reporting cascade")
    publish(server, made)
    assert [2] == rows(server, "select distinct number from finance.left_half")


def test_a_view_whose_column_is_gone_is_named(server: Server) -> None:
    """In the server's words."""
    _with_reports(server, *VIEW)
    made = build(server, 2)
    execute(server, "dpe_transformer", "drop view finance__next.both_halves", "alter table finance__next.left_half rename number to other")
    with publisher.connected(server) as connection:
        made = builds.record(connection, [], [("finance", "left_half")], [])
    execute(server, "dpe_transformer", "drop view finance.both_halves")

    with pytest.raises(PublishError) as caught:
        publish(server, made)

    assert str(caught.value) == (
        'view reporting.numbers: reads finance.left_half and does not fit its new version (column "number" does not exist); '
        "select it too, change it or drop it"
    )
    assert [1] == rows(server, "select distinct number from finance.left_half")


def test_a_foreign_key_of_what_stays_is_named(server: Server) -> None:
    """It would keep referring to the previous version."""
    publish(server, build(server, 1))
    execute(
        server,
        "dpe_transformer",
        "create table finance.parents (id integer primary key)",
        "alter table finance.right_half add constraint known foreign key (number) references finance.parents not valid",
        "create table finance__next.parents (id integer primary key)",
    )
    with publisher.connected(server) as connection:
        made = builds.record(connection, [], [("finance", "parents")], [])

    with pytest.raises(
        PublishError, match=r"^constraint known on table finance.right_half: refers to finance.parents; publish both tables together, or "
    ):
        publish(server, made)


@pytest.mark.parametrize("beginning", ["a_rather_long_name_of_a_table_of_orders_of_the_year_", "ä" * 29], ids=["ascii", "umlauts"])
def test_names_that_postgresql_truncates_do_not_collide(server: Server, beginning: str) -> None:
    """Names of indexes and sequences are derived from the table's name, and long ones may have the same start, counted in bytes."""
    names = [beginning + year for year in ("2023", "2024", "2025")]
    for name in names:
        execute(
            server,
            "dpe_transformer",
            "create schema if not exists finance__next",
            f"create table finance__next.{name} (number_of_order integer generated always as identity, shop text)",
            f"create index on finance__next.{name} (number_of_order)",
        )
        with publisher.connected(server) as connection:
            publish(server, builds.record(connection, [], [("finance", name)], []))

    assert [1, 1, 1] == rows(
        server,
        f"select count(*) from pg_index inner join pg_class on indrelid = pg_class.oid where relname ~ '^{beginning}' group by indrelid",
    )


# Readers

# In the order in which the tables were created, and through the view.
READINGS = (
    b"select number from finance.left_half union all select number from finance.right_half",
    b"select number from finance.both_halves union all select number from finance.left_half",
)


def test_a_reader_sees_no_mixed_versions_and_no_error(server: Server) -> None:
    """However hard it polls, through thirty publications."""
    publish(server, build(server, 0))
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
        for number in range(1, 31):
            publish(server, build(server, number))
    finally:
        over.set()
        for reader in readers:
            reader.join()

    assert [] == errors
    assert {1} == {len(versions) for versions in seen}
    assert len({number for versions in seen for number in versions}) > 10


def test_readers_may_lock_tables_in_any_order(server: Server) -> None:
    """Otherwise one that locks the tables in the opposite order would block the publisher each time."""
    publish(server, build(server, 0))
    over = threading.Event()
    seen: list[set[int]] = []

    def poll() -> None:
        with server.connect("admin", autocommit=True) as connection:
            connection.execute("set role dpe_reader")
            while not over.is_set():
                found = connection.execute(
                    "select number from finance.right_half union all select number from finance.left_half"
                ).fetchall()
                seen.append({int(number) for (number,) in found})

    readers = [threading.Thread(target=poll) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 4):
            publish(server, build(server, number), patience=20)
    finally:
        over.set()
        for reader in readers:
            reader.join()

    assert {1} == {len(versions) for versions in seen}
    assert [3] == rows(server, "select distinct number from finance.left_half")


@contextmanager
def _reading(server: Server) -> Iterator[psycopg.Connection]:
    """Hold what is published, as a long query does."""
    with server.connect("admin") as connection:
        connection.execute("select count(*) from finance.left_half")
        yield connection


def test_a_long_reader_delays_but_does_not_fail(server: Server) -> None:
    """Other readers are not blocked meanwhile; when it has ended, the new version is published."""
    publish(server, build(server, 1))
    made = build(server, 2)
    messages: list[str] = []
    with _reading(server) as reader:
        publisher = threading.Thread(target=publish, args=[server, made], kwargs={"say": messages.append})
        publisher.start()
        time.sleep(1)
        for _ in range(5):
            assert [1] == rows(server, "select distinct number from finance.left_half")
        assert publisher.is_alive()
        reader.rollback()
        publisher.join(30)

    assert [2] == rows(server, "select distinct number from finance.left_half")


def test_a_reader_that_never_ends_is_named(server: Server) -> None:
    """The build is kept, to be published later."""
    publish(server, build(server, 1))
    made = build(server, 2)

    with _reading(server) as reader:
        message = (
            rf"postgres \(process {reader.info.backend_pid}, 'dpe'\) holds finance.left_half still; nothing was published. "
            "End that session .or let --end-sessions do so., then run `dpe publish`"
        )
        with pytest.raises(PublishError, match=message):
            publish(server, made, patience=0.5)

    assert [1] == rows(server, "select distinct number from finance.left_half")
    publish(server, made)
    assert [2] == rows(server, "select distinct number from finance.left_half")
