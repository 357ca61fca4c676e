"""A transaction that sessions block is tried again; the sessions are named, whatever they hold, and ended if that is wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest

from dpe_cli.errors import ServerError
from dpe_cli.server import patience, sessions
from dpe_cli.server.ending import Ender
from dpe_cli.server.patience import BlockedError, Waiting, limit_waiting, limited, patiently
from dpe_cli.server.server import Server
from dpe_cli.server.sessions import Holder

Connection = psycopg.Connection[tuple[object, ...]]
Reader = Callable[..., str]

# What a session may hold: a lock, the statement that waits for it, and how it is named.
HELD = {
    "a shared catalog": ("lock table pg_catalog.pg_shdepend in share mode", "create schema desk", "holds pg_catalog.pg_shdepend"),
    "a catalog": ("lock table pg_catalog.pg_namespace in share mode", "create schema desk", "holds pg_catalog.pg_namespace"),
    "a row": ("update dpe_locks.locks set name = name where name = 'schemas'", "delete from dpe_locks.locks", "is in the way"),
}


@contextmanager
def _holding(server: Server, statement: str) -> Iterator[Connection]:
    with server.connect("admin", autocommit=True, application_name="migration") as connection:
        connection.execute(f"begin; {statement}".encode())
        yield connection


def _attempt(connection: Connection, statement: str) -> Callable[[], None]:
    def attempt() -> None:
        with connection.transaction():
            limit_waiting(connection)
            connection.execute(statement.encode())

    return attempt


@pytest.mark.parametrize("held", list(HELD))
def test_a_session_in_the_way_is_named(fresh_server: Server, held: str) -> None:
    """Even if it holds no relation that the transaction is known to need."""
    hold, statement, how = HELD[held]
    with _holding(fresh_server, hold) as holding, fresh_server.connect("admin", autocommit=True) as connection:
        message = rf"^after \d s postgres \(process {holding.info.backend_pid}, since [0-9 :-]+, 'migration'\) {how} still$"
        with pytest.raises(BlockedError, match=message):
            patiently(connection, _attempt(connection, statement), Waiting(0.5), purpose="test")


def test_a_session_that_waits_itself_is_named_with_the_first_in_the_way(fresh_server: Server, reader: Reader) -> None:
    """It does not hold the relation. Others queue after it; to end it, or the first one, helps them."""
    login, other = reader(fresh_server), reader(fresh_server)
    connect = partial(fresh_server.connect, autocommit=True)
    # Whoever is in the way leaves first, also if the test fails.
    with ThreadPoolExecutor(1) as pool, connect("admin") as connection, connect(login) as asking, connect(other) as holding:
        holding.execute("begin; select count(*) from dpe.tenant_access")
        connection.execute("grant all on dpe.tenant_access to public")
        waiting = pool.submit(asking.execute, "begin; lock table dpe.tenant_access in access exclusive mode")
        while not connection.execute("select from pg_locks where pid = %s and not granted", [asking.info.backend_pid]).fetchall():
            assert not waiting.done()
            time.sleep(0.01)
        first = rf"{other} \(process {holding.info.backend_pid}, 'dpe'\)"
        message = rf"^after \d s {login} \(process {asking.info.backend_pid}, .*\) waits for dpe.tenant_access, held up by {first} still$"
        with pytest.raises(BlockedError, match=message):
            patiently(connection, _attempt(connection, "select from dpe.tenant_access"), Waiting(0.5), purpose="test")
        holding.execute("rollback")
        waiting.result()


def test_a_row_of_the_catalog_that_another_session_wrote_is_written_again(server: Server) -> None:
    """As by a reader's GRANT that changes nothing, if an administrator who is not a superuser bootstrapped: it is not refused then."""
    changed = "grant usage on schema dpe to public"
    with (
        _holding(server, changed) as holding,
        server.connect("admin", autocommit=True) as connection,
        server.connect("admin", autocommit=True) as looking,
        ThreadPoolExecutor(1) as pool,
    ):
        done = pool.submit(patiently, connection, _attempt(connection, changed), Waiting(5), purpose="test")
        while not looking.execute("select from pg_locks where pid = %s and not granted", [connection.info.backend_pid]).fetchall():
            assert not done.done()
            time.sleep(0.01)
        holding.execute("commit")
        done.result()


# A table whose index takes autovacuum a while to compute.
SLOW = """
    create function desk.slow(number integer) returns integer language plpgsql immutable as $$
    begin
        if current_setting('application_name') <> 'mine' then
            perform pg_sleep(3);
        end if;
        return number;
    end $$;
    set application_name = 'mine';
    create table desk.mine (number integer) with (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0);
    create index on desk.mine ((desk.slow(number)));
    insert into desk.mine select generate_series(1, 5)
"""


def test_autovacuum_is_named_with_its_table(server: Server, reader: Reader) -> None:
    """It has no role; the owner of the table decides what code it runs."""
    login = reader(server)
    with server.connect("admin", autocommit=True) as connection, server.connect(login, autocommit=True) as owner:
        connection.execute(f"create schema desk authorization {login}".encode())
        connection.execute("alter system set autovacuum_naptime = '1s'")
        connection.execute("select pg_reload_conf()")
        try:
            owner.execute(SLOW.encode())
            oids = [oid for (oid,) in connection.execute("select 'desk.mine'::regclass::oid::bigint").fetchall()]
            named: list[str] = []
            deadline = time.monotonic() + 60
            while not named and time.monotonic() < deadline:
                named = [str(holder) for holder in sessions.holders(connection, oids)]
                time.sleep(0.1)
        finally:
            connection.execute("alter system reset autovacuum_naptime")
            connection.execute("select pg_reload_conf()")
            connection.execute("drop table desk.mine")

    assert named
    assert named[0].startswith(f"autovacuum of desk.mine, which belongs to {login}, (process ")


def test_a_session_in_the_way_is_ended(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it has stayed for a while; the transaction then succeeds."""
    monkeypatch.setattr(sessions, "END_AFTER_SECONDS", 0.3)
    hold, statement, _ = HELD["a shared catalog"]
    ender, said = Ender(server), list[str]()
    with _holding(server, hold) as holding, server.connect("admin", autocommit=True) as connection:
        patiently(connection, _attempt(connection, statement), Waiting(20, ender, said.append), purpose="test")

        assert [holding.info.backend_pid] == [session.pid for session in ender.ended]
        assert said[0].startswith("Waiting to test: postgres (process")
        with pytest.raises(psycopg.OperationalError):
            holding.execute("select 1")


# The limits of attempts until one is longer: because autovacuum is in the way, or because the transaction is persistent.
LONGER = {"autovacuum": ["400ms", "2s"], "persistent": ["400ms", "400ms", "2s"]}


@pytest.mark.parametrize("why", list(LONGER))
def test_some_attempts_wait_longer(server: Server, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """
    PostgreSQL cancels autovacuum once a session has waited for deadlock_timeout; shorter attempts would never get its lock.

    And each of several sessions whose transactions overlap ends in that time, while those that come later wait.
    """
    limits: list[str] = []
    autovacuum = Holder(1, "raw.orders", "", 1, "", None, None, "1 3/1")

    def attempt() -> None:
        with connection.transaction():
            limit_waiting(connection)
            [(limit,)] = connection.execute("show lock_timeout").fetchall()
            limits.append(limit)
            if len(limits) < len(LONGER[why]):
                raise psycopg.errors.LockNotAvailable

    monkeypatch.setattr(patience.Watch, "take", lambda _self: [])
    with server.connect("admin", autocommit=True) as connection:
        also = [autovacuum] if why == "autovacuum" else []
        patiently(connection, attempt, Waiting(5), purpose="test", is_persistent=why == "persistent", also=lambda: also)

    assert LONGER[why] == limits


def test_a_check_that_is_blocked_says_by_whom(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """First while it waits, and then in an error: it does not wait indefinitely."""
    monkeypatch.setattr(patience, "LIMIT_SECONDS", 1.0)
    monkeypatch.setattr(sessions, "END_AFTER_SECONDS", 0.3)
    said: list[str] = []
    with (
        _holding(server, "lock table dpe.loads in access exclusive mode") as holding,
        server.connect("admin") as connection,
        pytest.raises(
            ServerError,
            match=rf"^database {server.database}: postgres \(process {holding.info.backend_pid}, .*\) holds dpe.loads for too long; the checks",
        ),
        limited(connection, said.append),
    ):
        connection.execute("select count(*) from dpe.loads")
    assert ["Waiting: postgres (process "] == [one[:27] for one in said]


def test_the_name_of_an_application_cannot_pass_for_another_session(server: Server, reader: Reader) -> None:
    """It is quoted, and comes last; a person decides by this line which session to end."""
    login = reader(server)
    spoof = "x) holds finance.fct_orders; postgres (process 4711"
    with server.connect(login, application_name=spoof) as connection, server.connect("admin") as asking:
        connection.execute("select from dpe.tenant_access")
        oids = [oid for (oid,) in asking.execute("select 'dpe.tenant_access'::regclass::oid::bigint").fetchall()]
        [found] = [str(holder) for holder in sessions.holders(asking, oids) if holder.relation == "dpe.tenant_access"]

        assert found.startswith(f"{login} (process {connection.info.backend_pid}, since ")
        assert found.endswith(f", {spoof!r}) holds dpe.tenant_access")
