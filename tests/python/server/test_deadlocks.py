"""A reader can wait for dbt while dbt waits for the reader; the server then cancels the reader's statement, not the build."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from dpe_cli.server import sessions, watching
from dpe_cli.server.connection import Connection
from dpe_cli.server.ending import Ender
from dpe_cli.server.server import Server

# Locks a table as a write does, before it looks at privileges that it does not need.
HOLD = "merge into published.shops using (select 1) as nothing on false when matched then do nothing"
# Waits for a table that was just made; any login may look at the number of any relation.
WAIT = "select pg_relation_size(%s::bigint::oid)"
BUILD = "alter table published.orders add foreign key (shop) references published.shops"


def _dbt(server: Server, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """Return a session like dbt's."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return psycopg.connect(application_name="dbt")


def _published(server: Server) -> None:
    with server.connect("admin") as connection:
        connection.execute("create schema published; grant create on schema published to dpe_transformer")
        connection.execute("create table published.shops (shop text primary key); alter table published.shops owner to dpe_transformer")
        connection.execute("grant usage on schema published to public; grant select on published.shops to public")


def _is_waiting(asking: Connection, pid: int) -> bool:
    return asking.execute("select from pg_locks where pid = %s and not granted", [pid]).fetchone() is not None


def _until_waiting(asking: Connection, pid: int, work: Future[Any]) -> None:
    while not _is_waiting(asking, pid):
        assert not work.done(), work.exception()
        time.sleep(0.01)


@pytest.mark.parametrize("first", ["dbt", "reader"])
def test_a_reader_cannot_make_a_build_the_victim_of_a_deadlock(
    server: Server, reader: Callable[..., str], monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """
    A reader that begins to wait after dbt is the victim of its own search for deadlocks.

    One that waited before will not search again: it is named, and with --end-sessions ended, like others that keep dbt waiting.
    """
    # Longer than deadlock_timeout by default.
    monkeypatch.setattr(sessions, "END_AFTER_SECONDS", 1.5)
    monkeypatch.setattr(watching, "_FIRST_LOOK_SECONDS", 0.2)
    _published(server)
    said: list[str] = []
    with (
        ThreadPoolExecutor(2) as pool,
        server.connect(reader(server)) as reading,
        server.connect("admin", autocommit=True) as asking,
        _dbt(server, monkeypatch) as building,
    ):
        reading.execute(HOLD)
        building.execute("create table published.orders (shop text)")
        [(oid,)] = building.execute("select 'published.orders'::regclass::oid::bigint").fetchall()

        if first == "dbt":
            build = pool.submit(building.execute, BUILD.encode())
            _until_waiting(asking, building.info.backend_pid, build)
            with pytest.raises(psycopg.errors.DeadlockDetected):
                reading.execute(WAIT, [oid])
        else:
            waiting = pool.submit(reading.execute, WAIT, [oid])
            _until_waiting(asking, reading.info.backend_pid, waiting)
            # Longer than the reader's deadlock_timeout.
            time.sleep(1.2)
            with watching.watching(server, "transformer", watching.DBT, ender=Ender(server), say=said.append):
                build = pool.submit(building.execute, BUILD.encode())
                build.exception()
            with pytest.raises(psycopg.OperationalError):
                waiting.result()

        build.result()
    assert bool(said) == (first == "reader")


def test_a_search_for_deadlocks_that_somebody_set_is_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """In PGOPTIONS, for the login or for the database."""
    monkeypatch.setenv("PGOPTIONS", "-c deadlock_timeout=5s")

    with _dbt(server, monkeypatch) as connection:
        assert ("5s",) == connection.execute("show deadlock_timeout").fetchone()


def test_dbt_works_without_the_privilege_to_wait_longer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a superuser can grant it."""
    with server.connect("admin", autocommit=True) as connection:
        connection.execute("revoke set on parameter deadlock_timeout from dpe_transformer")
        try:
            with _dbt(server, monkeypatch) as dbt:
                assert ("1s",) == dbt.execute("show deadlock_timeout").fetchone()
        finally:
            connection.execute("grant set on parameter deadlock_timeout to dpe_transformer")
