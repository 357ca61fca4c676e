"""Uses of an earlier version by others stop no publication: they are named, and the version is dropped once it is unused."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from conftest import VERSIONS, Cluster
from support import dbt_projects
from support.halves import build, execute, make, publish, rows

from dpe_cli.access import checks
from dpe_cli.errors import PublishError
from dpe_cli.publishing import builds, old_versions, publication, publisher, waiting
from dpe_cli.publishing.publication import ExchangeResult
from dpe_cli.publishing.swap import HeldError
from dpe_cli.publishing.uses import Use
from dpe_cli.server import sessions, temporary
from dpe_cli.server.bootstrap import bootstrap_server
from dpe_cli.server.contexts import system_context
from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.server.ending import Ender
from dpe_cli.server.server import Server

Reader = Callable[..., str]

# What any role can create in its own session, and what the server calls it.
TEMPORARY = {
    "view pg_temp.mine": "create temp view mine as select number from finance.left_half",
    "column half of table pg_temp.rows": "create temp table rows (half finance.left_half)",
    "column halves of table pg_temp.arrays": "create temp table arrays (halves finance.left_half[])",
    "column half of composite type pg_temp.pair": "create type pg_temp.pair as (half finance.left_half)",
    "type pg_temp.whole": "create domain pg_temp.whole as finance.left_half",
    "cast from finance__previous.left_half to pg_temp.pair": "create cast (finance.left_half as pg_temp.pair) with inout",
    "cast from finance__previous.left_half[] to pg_temp.pair": "create cast (finance.left_half[] as pg_temp.pair) with inout",
    "function pg_temp.of_row(finance__previous.left_half)": "create function pg_temp.of_row(finance.left_half) returns int language sql as 'select 1'",
    "function pg_temp.biggest()": "create function pg_temp.biggest() returns int begin atomic select max(number) from finance.left_half; end",
    "policy those on table pg_temp.guarded": """
        create temp table guarded (number integer);
        create policy those on guarded using (number in (select number from finance.left_half))
        """,
}
# What a role can create in a schema of its own, which an administrator gave it.
PERMANENT = {
    "view desk.numbers": "create view desk.numbers as select number from finance.left_half",
    "materialized view desk.kept": "create materialized view desk.kept as select number from finance.left_half",
    "column half of table desk.rows": "create table desk.rows (half finance.left_half)",
    "function desk.biggest()": "create function desk.biggest() returns int begin atomic select max(number) from finance.left_half; end",
    "function desk.all_of_it()": "create function desk.all_of_it() returns setof finance.left_half language sql as 'select * from finance.left_half'",
    "policy those on table desk.guarded": """
        create table desk.guarded (number integer);
        create policy those on desk.guarded using (number in (select number from finance.left_half))
        """,
}


@contextmanager
def _reading(server: Server, login: str) -> Iterator[psycopg.Connection]:
    with server.connect(login, autocommit=True, application_name="desk") as connection:
        yield connection


def _old_schemas(server: Server) -> list[str]:
    return rows(server, "select nspname from pg_namespace where nspname ~ '__old' order by 1")


def _without_numbers(what: str) -> str:
    """Remove the numbers of schemas."""
    return re.sub(r"(pg_temp)_\d+|finance__old_\d+", lambda found: found[1] or "finance__previous", what)


def _publish(server: Server, number: int, **options: object) -> ExchangeResult:
    return publish(server, build(server, number), **options)


def test_temporary_objects_of_a_reader_stop_no_publication(fresh_server: Server, reader: Reader) -> None:
    """Of any kind: each is named with its role and session. They keep reading their version, which is dropped after the session."""
    server = fresh_server
    _publish(server, 1)
    ua_desk = reader(server)
    with _reading(server, ua_desk) as connection:
        for statement in TEMPORARY.values():
            connection.execute(statement.encode())

        uses: list[Use] = []
        for number in (2, 3, 4):
            uses = _publish(server, number).uses

            assert set(TEMPORARY) == {_without_numbers(use.what) for use in uses}
            assert {("finance.left_half", ua_desk, (connection.info.backend_pid,))} == {(use.relation, use.role, use.pids) for use in uses}
            assert [number] == rows(server, "select distinct number from finance.left_half")
            assert [(1,)] == connection.execute("select distinct number from mine").fetchall()
        assert {"finance__old_1.left_half"} == {use.version for use in uses}
        # What it does not use has been dropped.
        assert ["left_half"] == rows(server, "select relname from pg_class where relnamespace = 'finance__old_1'::regnamespace")

    assert [] == _publish(server, 5).uses
    assert [] == _old_schemas(server)


@pytest.fixture(scope="module", params=list(VERSIONS))
def small_cluster(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Cluster]:
    """Run a server of each version that can lock 1,000 objects at once, instead of 6,400, and knows prepared transactions."""
    bin_dir = VERSIONS[request.param]
    if bin_dir is not None and not bin_dir.is_dir():
        pytest.skip(f"PostgreSQL {request.param} is not installed in {bin_dir}")
    embedded = EmbeddedServer(scratch / f"small-{request.param}", bin_dir)
    embedded.start()
    server = Server(str(embedded.socket_dir), embedded.port, "dpe", "postgres", is_embedded=True, project=dbt_projects.NAME, target="dev")
    try:
        with server.connect("admin", autocommit=True) as connection:
            for setting in ("max_prepared_transactions = 2", "max_locks_per_transaction = 10", "fsync = off"):
                connection.execute(f"alter system set {setting}".encode())
        embedded.stop()
        embedded.start()
        bootstrap_server(server)
        yield Cluster(embedded, server)
    finally:
        embedded.stop()


@pytest.fixture
def small_server(small_cluster: Cluster) -> Iterator[Server]:
    """Give a database of the test's own on such a server."""
    with small_cluster.new_database() as server:
        yield server


# More than the server can lock at once: 10 for each of its connections.
MANY = """
    do $$ begin
        for number in {first}..{first} + 999 loop
            execute format('create temporary view mine_%s as select number from finance.left_half', number);
        end loop;
    end $$
"""


def _wait_for_the_end(server: Server, pid: int) -> None:
    while True:
        # The server has no room for another lock while the session tries to drop them, not even for a new session.
        with suppress(psycopg.errors.OutOfMemory), server.connect("admin", autocommit=True) as connection:
            if not connection.execute("select from pg_stat_activity where pid = %s", [pid]).fetchall():
                return
        time.sleep(0.1)


def _drop_what_is_left(server: Server, statement: str) -> None:
    """Run the remedy as psql would: the query, and then each of its rows."""
    with server.connect("admin", autocommit=True) as connection:
        for (drop,) in connection.execute(statement.encode()).fetchall():
            connection.execute(str(drop).encode())


def test_thousands_of_objects_stop_no_publication(small_server: Server, reader: Reader) -> None:
    """PostgreSQL cannot lock so many at once, neither to drop a version nor at the end of their session, which leaves them."""
    server = small_server
    _publish(server, 1)
    login = reader(server)
    with _reading(server, login) as connection:
        for first in range(0, 3000, 1000):
            connection.execute(MANY.format(first=first).encode())
        [pid] = [connection.info.backend_pid]

        for number in (2, 3, 4):
            uses = _publish(server, number).uses

            assert [number] == rows(server, "select distinct number from finance.left_half")
            assert {(login, (pid,))} == {(use.role, use.pids) for use in uses}
            assert (21, "2,980 more objects") == (len(uses), uses[-1].what[:18])
    _wait_for_the_end(server, pid)

    last = _publish(server, 5).uses[-1]
    assert ("2,980 more objects", ()) == (last.what[:18], last.pids)
    _drop_what_is_left(server, last.remedy.partition("`")[2].partition(" \\gexec`")[0])
    assert [] == _publish(server, 6).uses
    assert [] == _old_schemas(server)


def test_what_plain_dbt_could_not_drop_is_removed(server: Server, reader: Reader) -> None:
    """It would stop each publication, as a relation without a model; a reader's view of it keeps it as an earlier version."""
    _publish(server, 1)
    execute(
        server,
        "dpe_transformer",
        "create table finance.left_half__dbt_backup as select 0 as number",
        "create table finance.right_half__dbt_backup as select 0 as number",
        "create table finance.other__dbt_backup as select 0 as number",
        "grant select on finance.left_half__dbt_backup to dpe_reader",
    )
    with _reading(server, reader(server)) as connection:
        connection.execute("create temp view mine as select number from finance.left_half__dbt_backup")

        uses = _publish(server, 2).uses

        assert ["finance__old_1.left_half__dbt_backup"] == [use.version for use in uses]
        # Without its replacement, it is the only copy.
        left = rows(
            server, "select nspname || '.' || relname from pg_class join pg_namespace as n on n.oid = relnamespace where relname ~ 'dbt_b'"
        )
        assert {"finance.other__dbt_backup", "finance__old_1.left_half__dbt_backup"} == set(left)
        assert [(0,)] == connection.execute("select number from mine").fetchall()
    assert [] == _publish(server, 3).uses
    assert [] == _old_schemas(server)


def test_a_session_that_got_the_place_of_another_is_not_ended(fresh_server: Server, reader: Reader) -> None:
    """PostgreSQL gives the number of a session, and with it what the session left, to the next one."""
    left, innocent = reader(fresh_server), reader(fresh_server)
    with _reading(fresh_server, innocent) as connection, fresh_server.connect("admin") as asking:
        # Before PostgreSQL 16, only an open transaction shows the number.
        connection.execute("begin")
        connection.execute("select 1")
        [(number, began)] = asking.execute(
            "select split_part(virtualtransaction, '/', 1)::integer, backend_start "
            "from pg_locks inner join pg_stat_activity using (pid) where pid = %s and locktype = 'virtualxid'",
            [connection.info.backend_pid],
        ).fetchall()

        def ended(owner: str, before: datetime | None) -> list[int]:
            return temporary.of_temporary_schema(asking, number, owner, began_before=before)

        assert [] == ended(left, None)
        assert [] == ended(innocent, began)
        assert [connection.info.backend_pid] == ended(innocent, None) == ended(innocent, began + timedelta(seconds=1))
        ender = Ender(fresh_server)
        ender.end([connection.info.backend_pid], began_before=began)
        assert [] == ender.ended


def test_objects_of_others_stop_no_publication(fresh_server: Server, reader: Reader) -> None:
    """In a schema of their own: each is named with its owner, and with how to switch it to the new version."""
    server = fresh_server
    _publish(server, 1)
    ua_desk = reader(server)
    execute(server, "postgres", f"create schema desk authorization {ua_desk}")
    execute(server, ua_desk, *PERMANENT.values())

    uses: list[Use] = []
    for number in (2, 3):
        uses = _publish(server, number).uses

        assert dict.fromkeys(PERMANENT, (ua_desk, ())) == {use.what: (use.role, use.pids) for use in uses}
        assert [number] == rows(server, "select distinct number from finance.left_half")
    remedies = {use.what: use.remedy for use in uses}
    follow = "recreate it"
    assert (follow, "drop it, or recreate it") == (remedies["view desk.numbers"], remedies["materialized view desk.kept"])
    # A signature may have 14,000 characters, and a reader thousands of such functions.
    mood = f'desk."{"m" * 63}"'
    counting = f"{', '.join([mood] * 100)}) returns bigint begin atomic select count(*) from finance.left_half; end"
    execute(
        server, ua_desk, f"create type {mood} as enum ('fine')", *(f"create function desk.f{number}({counting}" for number in range(25))
    )
    uses = [use for use in _publish(server, 4).uses if use.what.startswith("function desk.f") or "more" in use.what]
    assert (200, "5 more objects in desk") == (max(len(use.what) for use in uses), uses[-1].what)

    execute(server, "postgres", "drop schema desk cascade")
    assert [] == _publish(server, 5).uses
    assert [] == _old_schemas(server)


def _is_15(server: Server) -> bool:
    with server.connect("admin") as connection:
        return connection.info.server_version < 160_000


def test_a_view_that_is_handed_over_follows(server: Server, reader: Reader) -> None:
    """An administrator's view, which the pipeline may recreate; but not one of a role that the pipeline is a member of."""
    _publish(server, 1)
    ua_desk = reader(server)
    execute(server, "postgres", f"create schema desk authorization {ua_desk}", "grant usage, create on schema desk to dpe_transformer")
    execute(server, ua_desk, PERMANENT["view desk.numbers"])
    execute(server, "postgres", f"grant {ua_desk} to dpe_transformer" + ("" if _is_15(server) else " with inherit true"))
    assert ["view desk.numbers"] == [use.what for use in _publish(server, 2).uses]
    execute(server, "postgres", f"revoke {ua_desk} from dpe_transformer", "drop view desk.numbers", PERMANENT["view desk.numbers"])
    execute(server, "postgres", "alter view desk.numbers owner to dpe_transformer")

    assert [] == _publish(server, 3).uses
    assert [3] == rows(server, "select distinct number from desk.numbers")
    execute(server, "postgres", "drop schema desk cascade")


def test_temporary_objects_of_the_pipeline_stop_no_publication(server: Server) -> None:
    """No other session could recreate them."""
    _publish(server, 1)
    with server.connect("transformer", autocommit=True) as connection:
        connection.execute(TEMPORARY["view pg_temp.mine"].encode())
        for number in (2, 3):
            assert ["dpe_transformer"] == [use.role for use in _publish(server, number, ender=Ender(server)).uses]
        connection.execute("select 1")


def test_a_foreign_key_of_another_role_stops_no_publication(server: Server, reader: Reader) -> None:
    """If it was granted REFERENCES."""
    ua_desk = reader(server)
    execute(server, "postgres", f"create schema desk authorization {ua_desk}")
    for number in (1, 2, 3):
        execute(
            server,
            "dpe_transformer",
            "create schema if not exists finance__next",
            "create table finance__next.parents (id integer primary key)",
            f"grant references on finance__next.parents to {ua_desk}",
        )
        with publisher.connected(server) as connection:
            uses = publish(server, builds.record(connection, [], [("finance", "parents")], [])).uses
        if number == 1:
            execute(server, "postgres", f"grant usage on schema finance to {ua_desk}")
            execute(server, ua_desk, "create table desk.children (id integer references finance.parents)")
        else:
            assert ["constraint children_id_fkey on table desk.children"] == [use.what for use in uses]


def test_a_transaction_that_reads_an_earlier_version_is_not_waited_for(fresh_server: Server, reader: Reader) -> None:
    """Through its temporary view; the version is dropped when the transaction and the view are gone."""
    server = fresh_server
    _publish(server, 1)
    ua_desk = reader(server)
    with _reading(server, ua_desk) as connection:
        connection.execute(TEMPORARY["view pg_temp.mine"].encode())
        _publish(server, 2)
        with connection.transaction():
            connection.execute("select number from mine")
            started = time.monotonic()
            uses = [_publish(server, number).uses for number in (3, 4)][-1]
            assert time.monotonic() - started < 5
            assert ["an open transaction", "view pg_temp.mine"] == sorted(_without_numbers(use.what) for use in uses)
            connection.execute("drop view mine")
        assert [] == _publish(server, 5).uses
    assert [] == _old_schemas(server)


def test_undoing_restores_a_version_that_a_reader_uses(server: Server, reader: Reader) -> None:
    """A version that is in use is swapped like any other; what blocks the undone one is set aside."""
    _publish(server, 1)
    with _reading(server, reader(server)) as connection:
        connection.execute(TEMPORARY["view pg_temp.mine"].encode())
        _publish(server, 2)
        connection.execute("create temp view later as select number from finance.left_half")
        # A reader uses what is built but not published.
        build(server, 3)
        execute(server, "postgres", "create schema desk", "create view desk.next as select number from finance__next.left_half")
        with publisher.connected(server) as session:
            undone = publication.undo(session, ["finance"])

        assert [1] == rows(server, "select distinct number from finance.left_half")
        assert {"view pg_temp.later": "finance__previous.left_half", "view desk.next": "finance__old_1.left_half"} == {
            _without_numbers(use.what): use.version for use in undone.uses
        }
        assert [(1,)] == connection.execute("select distinct number from mine").fetchall()
    assert ["view desk.next"] == [use.what for use in _publish(server, 4).uses]


def test_an_earlier_version_that_is_kept_does_not_interfere(server: Server, reader: Reader) -> None:
    """A view of an earlier version reads a table that is published alone: it neither follows nor prevents that."""
    _publish(server, 1)
    with _reading(server, reader(server)) as connection:
        connection.execute("create temp view mine as select number from finance.both_halves")
        execute(server, "dpe_transformer", "create schema if not exists finance__next")
        # The view is swapped, and then a table that the earlier view reads, with another column name.
        execute(server, "dpe_transformer", "create view finance__next.both_halves as select number from finance.right_half")
        with publisher.connected(server) as session:
            publish(server, builds.record(session, [], [("finance", "both_halves")], []))
            execute(server, "dpe_transformer", "create table finance__next.left_half as select 2 as other")
            made = publish(server, builds.record(session, [], [("finance", "left_half")], []))

        assert [2] == rows(server, "select other from finance.left_half")
        assert [(1,)] == connection.execute("select distinct number from mine").fetchall()
        assert {"finance.both_halves"} == {use.relation for use in made.uses}
    assert [] == _publish(server, 3).uses
    assert [] == _old_schemas(server)


def test_unused_relations_of_an_earlier_version_are_dropped(server: Server, reader: Reader) -> None:
    """What a kept view reads stays, and the rest is dropped."""
    with _reading(server, reader(server)) as connection:
        for number in (1, 2, 3):
            with publisher.building(server, ["finance"]) as building:
                make(server, number)
                execute(server, "dpe_transformer", "create table finance__next.apart (number integer)")
                names = [("finance", name) for name in ("left_half", "right_half", "both_halves", "apart")]
                made = builds.record(building.connection, [], names, [], lock=building.lock)
            publish(server, made)
            if number == 1:
                connection.execute("create temp view mine as select number from finance.both_halves")

        kept = rows(server, "select relname from pg_class where relnamespace = 'finance__old_1'::regnamespace order by 1")
    assert ["both_halves", "left_half", "right_half"] == kept


def test_another_roles_schema_does_not_count_as_an_earlier_version(server: Server, reader: Reader) -> None:
    """Whatever its name: nothing in it is dropped or checked."""
    _publish(server, 1)
    execute(server, "postgres", "create schema finance__old_1", "create table finance__old_1.left_half (number integer)")
    with _reading(server, reader(server)) as connection:
        connection.execute(TEMPORARY["view pg_temp.mine"].encode())
        for number in (2, 3):
            _publish(server, number)
        with server.connect("transformer") as asking:
            assert ["finance__old_2"] == old_versions.old_schemas(asking, ["finance"])
    _publish(server, 4)

    assert ["finance__old_1"] == _old_schemas(server)


def test_an_earlier_version_stays_closed_to_readers(server: Server, reader: Reader) -> None:
    """It is found by its former name, and no reader has rights on its schema."""
    _publish(server, 1)
    login = reader(server)
    with _reading(server, login) as connection:
        connection.execute(TEMPORARY["view pg_temp.mine"].encode())
        for number in (2, 3):
            _publish(server, number)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for schema finance__old_1"):
            connection.execute("select from finance__old_1.left_half")
        execute(
            server, "postgres", f"grant usage on schema finance__old_1 to {login}", f"grant select on finance__old_1.left_half to {login}"
        )
        with server.connect("transformer") as asking:
            found = [finding.subject for finding in checks.check(asking, ["finance__old_1"]) if finding.check_id == "RLS016"]
    assert ["finance__old_1.left_half"] == found


# --end-sessions


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """End sessions after a third of a second."""
    monkeypatch.setattr(sessions, "END_AFTER_SECONDS", 0.3)


@pytest.fixture
def signalling(server: Server) -> Iterator[None]:
    """Let the transformer end sessions."""
    execute(server, "postgres", "grant pg_signal_backend to dpe_transformer")
    yield
    execute(server, "postgres", "revoke pg_signal_backend from dpe_transformer")


def _is_ended(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("select 1")
    except psycopg.OperationalError:
        return True
    return False


def _powerless(server: Server) -> Server:
    """Return the server with an administrator that may not end sessions."""
    return replace(server, admin_user="dpe_loader")


def _end_two(server: Server, ender: Ender, reader: Reader) -> None:
    """Let one reader hold a published relation and another use an earlier version, and end both."""
    _publish(server, 1)
    holder, user = reader(server), reader(server)
    with _reading(server, holder) as holding, _reading(server, user) as using:
        using.execute(TEMPORARY["view pg_temp.mine"].encode())
        holding.execute("begin")
        holding.execute("select from finance.left_half")
        pids = {holding.info.backend_pid: holder, using.info.backend_pid: user}

        made = _publish(server, 2, ender=ender)

        assert (pids, []) == ({session.pid: session.role for session in made.ended}, made.not_ended)
        assert [] == made.uses
        assert [2] == rows(server, "select distinct number from finance.left_half")
        assert (True, True) == (_is_ended(holding), _is_ended(using))


@pytest.mark.usefixtures("quick")
def test_blocking_sessions_are_ended_by_the_administrator(fresh_server: Server, reader: Reader) -> None:
    """If it is a superuser and the transformer may not: one that holds a published relation, one whose temporary view is old."""
    _end_two(fresh_server, Ender(fresh_server), reader)


@pytest.mark.usefixtures("quick", "signalling")
def test_blocking_sessions_are_ended_by_the_transformer(server: Server, reader: Reader) -> None:
    """If it was granted pg_signal_backend, which it does not inherit."""
    _end_two(server, Ender(_powerless(server)), reader)


@pytest.mark.usefixtures("quick")
def test_what_cannot_be_ended_is_named(server: Server, reader: Reader) -> None:
    """With the missing privilege; the previous version stays published, and an earlier one is kept."""
    _publish(server, 1)
    login = reader(server)
    with _reading(server, login) as connection:
        connection.execute(TEMPORARY["view pg_temp.mine"].encode())
        session = rf"{login} \(process {connection.info.backend_pid}, 'desk'\)"

        made = _publish(server, 2, ender=Ender(_powerless(server)))
        assert ([], 1, ["view pg_temp.mine"]) == (made.ended, len(made.not_ended), [_without_numbers(use.what) for use in made.uses])
        assert made.not_ended[0].startswith(
            f"{login} (process {connection.info.backend_pid}, 'desk') cannot be ended (permission denied to"
        )
        assert "run `grant pg_signal_backend to dpe_transformer`" in made.not_ended[0]

        with connection.transaction():
            connection.execute("select from finance.left_half")
            message = (
                rf"{session} holds finance.left_half still; {session} cannot be ended .*grant pg_signal_backend.*; nothing was published"
            )
            with pytest.raises(PublishError, match=message):
                _publish(server, 3, ender=Ender(_powerless(server)), patience=1.5)
    assert [2] == rows(server, "select distinct number from finance.left_half")


# A reader that may not use a sequence locks it anyway: PostgreSQL checks the privilege after that.
HOLD_SEQUENCE = """
    do $$
    begin
        perform nextval('finance.left_half_id_seq');
    exception
        when insufficient_privilege then null;
    end $$
"""


@pytest.mark.usefixtures("quick")
def test_a_session_that_holds_a_sequence_is_named_and_ended(fresh_server: Server, reader: Reader) -> None:
    """It belongs to a column of a swapped table, and moves with it."""
    server = fresh_server

    def built(number: int) -> builds.Publication:
        made = build(server, number)
        execute(server, "dpe_transformer", "alter table finance__next.left_half add column id integer generated always as identity")
        return made

    publish(server, built(1))
    login = reader(server)
    with _reading(server, login) as connection:
        connection.execute("begin")
        connection.execute(HOLD_SEQUENCE)
        made = built(2)
        with pytest.raises(PublishError, match=rf"{login} \(process \d+, 'desk'\) holds finance.left_half_id_seq still"):
            publish(server, made, patience=0.5)
        assert [1] == rows(server, "select distinct number from finance.left_half")

        assert [login] == [session.role for session in publish(server, made, ender=Ender(server), patience=20).ended]
        assert [2] == rows(server, "select distinct number from finance.left_half")
        assert _is_ended(connection)


@pytest.mark.usefixtures("quick")
def test_a_session_that_holds_a_catalog_is_named_and_ended(server: Server) -> None:
    """One that all databases share, which the transaction that publishes has to write to."""
    _publish(server, 1)
    made = build(server, 2)
    with server.connect("admin", autocommit=True, application_name="desk") as holding:
        holding.execute("begin; lock table pg_catalog.pg_depend, pg_catalog.pg_shdepend in share mode")
        with pytest.raises(PublishError, match=r"postgres \(process \d+, 'desk'\) holds pg_catalog.pg_\w+ still"):
            publish(server, made, patience=0.5)

        assert ["desk"] == [session.application for session in publish(server, made, ender=Ender(server), patience=20).ended]
        assert _is_ended(holding)
    assert [2] == rows(server, "select distinct number from finance.left_half")


@pytest.mark.usefixtures("quick", "signalling")
def test_a_superusers_session_needs_a_superuser_to_end_it(server: Server) -> None:
    """The privilege to signal is not enough."""
    _publish(server, 1)
    with server.connect("postgres") as holding:
        holding.execute("select from finance.left_half")
        with pytest.raises(
            PublishError, match=r"postgres \(process \d+, 'dpe'\) cannot be ended \(permission denied to terminate process\)"
        ):
            _publish(server, 2, ender=Ender(_powerless(server)), patience=1.5)


@pytest.mark.usefixtures("quick")
def test_dpes_own_sessions_are_not_ended(server: Server) -> None:
    """A person who queries as the transformer is named, but not disconnected."""
    _publish(server, 1)
    with server.connect("transformer") as holding, system_context(holding, actor="test"):
        holding.execute("select from finance.left_half")
        with pytest.raises(PublishError, match=r"dpe_transformer \(process \d+, since [0-9 :-]+, 'dpe'\) holds finance.left_half still"):
            _publish(server, 2, ender=Ender(server), patience=0.7)
        holding.execute("select 1")


@pytest.mark.usefixtures("quick")
def test_readers_that_come_and_go_are_not_ended(server: Server, reader: Reader) -> None:
    """However often one blocks: each time it is a different, short transaction."""
    _publish(server, 1)
    [oid] = rows(server, "select 'finance.left_half'::regclass::oid::bigint")
    over = threading.Event()
    ender = Ender(server)
    attempts = itertools.count(1)

    def exchange(_first: Sequence[int]) -> None:
        if next(attempts) < 6:
            raise HeldError(oid)

    with _reading(server, reader(server)) as connection, publisher.connected(server) as session:

        def poll() -> None:
            while not over.is_set():
                connection.execute("select pg_sleep(0.1) from (select from finance.left_half limit 1) as half")

        polling = threading.Thread(target=poll)
        polling.start()
        try:
            waiting.for_readers(session, [("finance", "left_half")], exchange, ender=ender, say=print, patience=20)
        finally:
            over.set()
            polling.join()
        connection.execute("select 1")
    assert ([], []) == (ender.ended, ender.refusals)


def test_a_prepared_transaction_is_named(small_server: Server) -> None:
    """It has no session; the message contains the name with which it can be rolled back."""
    server = small_server
    _publish(server, 1)
    with server.connect("admin", autocommit=True) as connection:
        connection.execute("begin; select from finance.left_half; prepare transaction 'desk''s'")
        message = r"""postgres \(prepared transaction "desk's", since [0-9 :-]+\) holds finance.left_half still; .*`rollback prepared 'desk''s'`"""
        with pytest.raises(PublishError, match=message):
            _publish(server, 2, patience=0.3)
        connection.execute("rollback prepared 'desk''s'")
