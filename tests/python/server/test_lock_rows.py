"""Runs build one at a time, through row locks of the ledger that no reader can take; one that loses its lock commits nothing."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from functools import partial

import psycopg
import pytest
from support.halves import build, make, publish, rows

from dpe_cli.access import checks
from dpe_cli.blocks.contract import StagingTable
from dpe_cli.errors import PublishError
from dpe_cli.load import locks
from dpe_cli.publishing import builds, publication, publisher
from dpe_cli.publishing.publisher import Building
from dpe_cli.server.contexts import system_context
from dpe_cli.server.server import Server

Reader = Callable[..., str]

fork = multiprocessing.get_context("fork")


def test_no_lock_is_one_that_any_login_can_take(server: Server) -> None:
    """Any role can take any advisory lock, whatever its number; rows of the ledger belong to the pipeline."""
    with (
        publisher.building(server, ["finance"]),
        locks.source_lock(partial(server.connect, "loader"), StagingTable("shop.orders", "raw", "orders", ()), actor="test"),
        server.connect("admin") as connection,
    ):
        assert [] == connection.execute("select objid from pg_locks where locktype = 'advisory'").fetchall()
        held = connection.execute("select application_name from pg_stat_activity where application_name like 'dpe lock:%' order by 1")
        assert [("dpe lock: build finance",), ("dpe lock: extract raw.orders",)] == held.fetchall()


# Statements on a table that a login can name: for some, PostgreSQL checks the rights only once it has the table's lock.
ASKED = (
    "select from dpe_locks.locks for update",
    "select from dpe_locks.locks for key share",
    "lock table dpe_locks.locks in access share mode",
    "prepare looking as select from dpe_locks.locks",
    "create rule in_the_way as on insert to dpe_locks.locks do nothing",
    "alter table dpe_locks.locks add column mine integer",
)


def test_no_reader_can_take_a_lock(server: Server, reader: Reader) -> None:
    """Nor can one block the table by reading it, or by waiting for it while a build holds it, because it cannot name it."""
    with publisher.building(server, ["finance"]), server.connect(reader(server, "UA")) as connection:
        connection.execute("set lock_timeout = '1s'")
        connection.commit()
        for asked in ASKED:
            with pytest.raises(
                psycopg.errors.InsufficientPrivilege,
                match="permission denied for schema dpe_locks|CREATE RULE: is allowed for administrators only",
            ):
                connection.execute(asked.encode())
            connection.rollback()


@pytest.mark.parametrize("login", ["loader", "transformer"])
def test_no_lock_is_renamed_or_removed(server: Server, login: str) -> None:
    """By a hook of a model, after which later runs could not find their lock: the pipeline may lock rows, but not change them."""
    with server.connect(login) as connection, system_context(connection, actor="test"):
        for statement in ("update dpe_locks.locks set name = 'mine'", "delete from dpe_locks.locks"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement.encode())


def test_the_locks_are_protected(server: Server) -> None:
    """Like the rest of the ledger, and not visible to readers or auditors."""
    with server.connect("transformer") as connection:
        assert [] == [finding for finding in checks.check(connection, ["dpe"]) if "locks" in finding.subject]
    with server.connect("admin") as connection:
        may = connection.execute(
            "select rolname::text from pg_roles where rolname ~ '^dpe_' and has_table_privilege(oid, 'dpe_locks.locks', 'select')"
        )
        assert {("dpe_owner",), ("dpe_loader",), ("dpe_transformer",)} == set(may.fetchall())


def test_a_servers_timeouts_do_not_end_a_build(fresh_server: Server) -> None:
    """A lock is a transaction that stays open, and idle, while dbt works."""
    timeouts = "name in ('transaction_timeout', 'lock_timeout') or name like 'idle%session_timeout'"
    with fresh_server.connect("admin", autocommit=True) as connection:
        for (name,) in connection.execute(f"select name from pg_settings where {timeouts}".encode()).fetchall():
            connection.execute(f'alter role dpe_transformer in database "{fresh_server.database}" set {name} = 300'.encode())

    with publisher.building(fresh_server, ["finance"]) as building:
        make(fresh_server, 1)
        time.sleep(0.6)
        made = builds.record(building.connection, [], [("finance", "left_half")], [], lock=building.lock)

    assert "built" == made.status


def test_a_killed_build_gives_way_to_the_next_one(server: Server) -> None:
    """At once: the server ends the session that held the lock."""

    def hold() -> None:
        with publisher.building(server, ["finance"]):
            ready.set()
            time.sleep(60)

    ready = fork.Event()
    process = fork.Process(target=hold)
    process.start()
    assert ready.wait(30)
    process.kill()
    process.join()

    publish(server, build(server, 1))


def _end(server: Server, building: Building) -> None:
    with server.connect("admin") as connection:
        connection.execute("select pg_terminate_backend(%s, 5000)", [building.lock.connection.info.backend_pid])


LOST = r"^build finance: the session that held the lock has ended \(terminating connection due to administrator command\); nothing was committed"


def test_a_build_that_lost_its_lock_is_not_recorded(server: Server) -> None:
    """Another one may be building over it."""
    with publisher.building(server, ["finance"]) as building:
        make(server, 1)
        _end(server, building)
        with publisher.building(server, ["finance"]):
            pass
        with pytest.raises(PublishError, match=LOST):
            builds.record(building.connection, [], [("finance", "left_half")], [], lock=building.lock)

    assert [0] == rows(server, "select count(*) from dpe.publications")


def test_a_build_that_lost_its_lock_is_not_published(server: Server) -> None:
    """Readers still see the previous version."""
    publish(server, build(server, 1))
    with publisher.building(server, ["finance"]) as building:
        make(server, 2)
        names = [("finance", "left_half"), ("finance", "right_half"), ("finance", "both_halves")]
        made = builds.record(building.connection, [], names, [], lock=building.lock)
        _end(server, building)
        with pytest.raises(PublishError, match=LOST):
            publication.publish(building.connection, made, ["finance"], lock=building.lock)

    assert [1] == rows(server, "select distinct number from finance.left_half")
    publish(server, made)
    assert [2] == rows(server, "select distinct number from finance.left_half")


def test_nothing_is_swapped_while_another_build_runs(server: Server) -> None:
    """The build's work so far would be lost."""
    publish(server, build(server, 1))
    made = build(server, 2)
    refused = pytest.raises(
        PublishError, match="another `dpe run` is building in the schema finance; wait for it to end, then publish or undo"
    )
    with publisher.building(server, ["finance"]), publisher.connected(server) as connection:
        with refused:
            publication.publish(connection, made, ["finance"])
        with refused:
            publication.undo(connection, ["finance"])

    assert [1] == rows(server, "select distinct number from finance.left_half")
