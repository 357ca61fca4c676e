"""What was built takes the place of what is published, and whatever reads it reads the new version; or nothing changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from dpe_cli import publication
from dpe_cli.errors import PublishError
from dpe_cli.publication import Publication
from dpe_cli.rls import system_context

if TYPE_CHECKING:
    from dpe_cli.postgres import Server


def _rows(server: Server, query: str) -> list[Any]:
    with server.connect("transformer") as connection, system_context(connection, actor="test"):
        return [row if len(row) > 1 else row[0] for row in connection.execute(query.encode()).fetchall()]


def _as(server: Server, role: str, *statements: str) -> None:
    with server.connect("admin") as connection:
        connection.execute(f"set role {role}".encode())
        for statement in statements:
            connection.execute(statement.encode())


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


def test_one_build_runs_at_once(server: Server) -> None:
    """A second one would build over the first."""
    with (
        publication.building(server, []),
        pytest.raises(PublishError, match="another `dpe run` is building; wait for it to end, then run again"),
        publication.building(server, []),
    ):
        pass


def test_a_session_in_the_way_of_a_build_is_named(server: Server) -> None:
    """It looks at what an earlier build left, and did not end its transaction."""
    _build(server, 1)
    with server.connect("transformer") as looking, system_context(looking, actor="test"):
        looking.execute("select from marts__next.left_half")
        message = rf"dpe_transformer \(process {looking.info.backend_pid}\) holds marts__next.left_half still; nothing is built. End that"
        with pytest.raises(PublishError, match=message), publication.building(server, ["marts"], patience=0.5):
            pass

    _publish(server, _build(server, 2))


def test_what_was_built_and_is_gone_is_not_published(server: Server) -> None:
    """A custom materialization may say that it built what it did not."""
    with (
        publication.building(server, ["marts"]) as connection,
        pytest.raises(PublishError, match="marts__next.nowhere: was built and is not there any more; nothing is published, run again"),
    ):
        publication.record(connection, [], [("marts", "nowhere")], [])


# What reads a relation, and stays where it is

VIEW = (
    "create view reporting.numbers with (security_invoker = true, security_barrier = true) as select number as n from marts.left_half",
    "comment on view reporting.numbers is 'For the report.'",
    "grant select on reporting.numbers to dpe_auditor",
)
FUNCTION = (
    """
    create function reporting.biggest() returns integer language sql stable
    begin atomic
        select max(number) from marts.left_half;
    end
    """,
    "grant execute on function reporting.biggest() to dpe_auditor",
)


def _with_reports(server: Server, *statements: str, role: str = "dpe_transformer") -> None:
    """Publish a first version, and let something read it."""
    _publish(server, _build(server, 1))
    _as(server, "postgres", "create schema reporting", "grant usage, create on schema reporting to dpe_transformer")
    _as(server, role, *statements)


def test_a_view_elsewhere_reads_the_new_version(server: Server) -> None:
    """With the options, grants and comment that it had."""
    _with_reports(server, *VIEW)

    _publish(server, _build(server, 2))

    assert [2] == _rows(server, "select distinct n from reporting.numbers")
    assert [("{security_invoker=true,security_barrier=true}", "For the report.", True)] == _rows(
        server,
        """
        select reloptions::text, obj_description(oid), has_table_privilege('dpe_auditor', oid, 'select')
        from pg_class where oid = 'reporting.numbers'::regclass
        """,
    )


def test_a_function_elsewhere_reads_the_new_version(server: Server) -> None:
    """One whose body PostgreSQL has parsed; and it does not keep the version before from going."""
    _with_reports(server, *FUNCTION)

    for number in (2, 3):
        _publish(server, _build(server, number))
        assert [number] == _rows(server, "select reporting.biggest()")
    assert [True] == _rows(server, "select has_function_privilege('dpe_auditor', 'reporting.biggest()', 'execute')")


@pytest.mark.parametrize(
    ("statements", "role", "message"),
    [
        (
            VIEW[:1],
            "postgres",
            r"reporting.numbers: reads marts.left_half and belongs to postgres, .*; run `alter view reporting.numbers owner to dpe_tran",
        ),
        (
            FUNCTION[:1],
            "postgres",
            r"reporting.biggest\(\): reads marts.left_half and belongs to postgres, .*; run `alter function reporting.biggest\(\) own",
        ),
        (
            ["create materialized view reporting.numbers as select number from marts.left_half"],
            "dpe_transformer",
            "reporting.numbers: reads marts.left_half and is no view, so it cannot be made to read the new version; drop it",
        ),
        (
            ["create function reporting.all_of_it() returns setof marts.left_half language sql as 'select * from marts.left_half'"],
            "dpe_transformer",
            r"function reporting.all_of_it\(\): is bound to the rows of marts.left_half and cannot be made to follow to its new version",
        ),
        (
            ["create table reporting.kept (id integer, copies marts.left_half[])"],
            "dpe_transformer",
            "column copies of table reporting.kept: is bound to the rows of marts.left_half",
        ),
        (
            [
                "create table reporting.mine (number integer)",
                "create policy those on reporting.mine using (number in (select number from marts.left_half))",
            ],
            "dpe_transformer",
            "policy those on table reporting.mine: reads marts.left_half and cannot be made to follow to its new version; drop it",
        ),
    ],
    ids=["a view of another role", "a function of another role", "a materialized view", "a row type", "a column", "a policy"],
)
def test_what_cannot_follow_is_named(server: Server, statements: tuple[str, ...], role: str, message: str) -> None:
    """Nothing is published: it would go on to show the previous version, or break."""
    _with_reports(server, *statements, role=role)
    made = _build(server, 2)

    with pytest.raises(PublishError, match=f"^{message}"):
        _publish(server, made)
    assert [1] == _rows(server, "select distinct number from marts.left_half")

    _as(server, "postgres", "drop schema reporting cascade")
    _publish(server, made)
    assert [2] == _rows(server, "select distinct number from marts.left_half")


def test_a_view_whose_column_is_gone_is_named(server: Server) -> None:
    """In the server's words."""
    _with_reports(server, *VIEW)
    made = _build(server, 2)
    _as(server, "dpe_transformer", "drop view marts__next.both_halves", "alter table marts__next.left_half rename number to other")
    with publication.connected(server) as connection:
        made = publication.record(connection, [], [("marts", "left_half")], [])
    _as(server, "dpe_transformer", "drop view marts.both_halves")

    with pytest.raises(PublishError) as caught:
        _publish(server, made)

    assert str(caught.value) == (
        'reporting.numbers: reads marts.left_half and does not fit its new version (column "number" does not exist); '
        "select it too, change it or drop it"
    )
    assert [1] == _rows(server, "select distinct number from marts.left_half")


def test_a_foreign_key_of_what_stays_is_named(server: Server) -> None:
    """It would go on to refer to the previous version."""
    _publish(server, _build(server, 1))
    _as(
        server,
        "dpe_transformer",
        "create table marts.parents (id integer primary key)",
        "alter table marts.right_half add constraint known foreign key (number) references marts.parents not valid",
        "create table marts__next.parents (id integer primary key)",
    )
    with publication.connected(server) as connection:
        made = publication.record(connection, [], [("marts", "parents")], [])

    with pytest.raises(PublishError, match=r"^marts.right_half: its foreign key known refers to marts.parents; publish both together, or "):
        _publish(server, made)


def test_names_that_postgresql_cuts_do_not_meet(server: Server) -> None:
    """Those of indexes and sequences are made of the table's name, of which two long ones may have the same start."""
    first, second = ("a_rather_long_name_of_a_table_of_orders_of_the_year_" + year for year in ("2023", "2024"))
    for name in (first, second):
        _as(
            server,
            "dpe_transformer",
            "create schema if not exists marts__next",
            f"create table marts__next.{name} (number_of_order integer generated always as identity, shop text)",
            f"create index on marts__next.{name} (number_of_order)",
        )
        with publication.connected(server) as connection:
            _publish(server, publication.record(connection, [], [("marts", name)], []))

    assert [1, 1] == _rows(
        server, f"select count(*) from pg_index where indrelid in ('marts.{first}'::regclass, 'marts.{second}'::regclass) group by indrelid"
    )


# Readers

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
