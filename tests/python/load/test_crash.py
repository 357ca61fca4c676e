"""However an extract is interrupted, nothing of it is visible, and the next one loads everything."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from support.long_tests import newest_unless_long
from support.staged_source import Stage, StagedSource

from dpe_cli.errors import BusyError, DpeError, LockLostError, ServerError
from dpe_cli.load import checks, locks
from dpe_cli.server.connection import Connection
from dpe_cli.sources.files.csv_files import OpenedCsv

COLUMNS = "id integer, note text"
fork = multiprocessing.get_context("fork")


def _csv(rows: int, note: str) -> str:
    return "id,note\n" + "".join(f"{number},{note}\n" for number in range(rows)) + "x,bad\n"


def _assert_that_the_ledger_agrees(source: StagedSource) -> None:
    counted = source.ledger(
        "select coalesce(sum(rows_loaded), 0), coalesce(sum(rows_rejected), 0) from dpe.loads where source = %s and removed_at is null"
    )
    assert [(source.count(), len(source.rejects()))] == counted


@newest_unless_long
def test_a_killed_extract_leaves_nothing(stage_anywhere: Stage) -> None:
    """Killed twenty times at random moments, then run to the end: counts are exact, and no orphan is left."""
    chance = random.Random(20)
    source = stage_anywhere(COLUMNS).deliver(_csv(10, "first"), "first.csv")
    source.extract()
    expected = 10
    started = time.monotonic()
    source.deliver(_csv(100_000, "a"), "0.csv").deliver(_csv(3, "b"), "small.csv").extract()
    duration = time.monotonic() - started
    expected += 100_003

    for attempt in range(1, 21):
        if attempt == 1 or source.count() == expected:
            # Nothing is left to be killed.
            source.deliver(_csv(100_000, f"a{attempt}"), f"{attempt}.csv")
            expected += 100_000
        process = fork.Process(target=source.extract)
        process.start()
        time.sleep(chance.uniform(0, 1.1 * duration))
        process.kill()
        process.join()
        assert source.count() in (expected, expected - 100_000)

    source.extract()

    assert expected == source.count()
    assert [] == source.slices(attached=False)
    assert {"failed", "succeeded"} == set(source.statuses())
    _assert_that_the_ledger_agrees(source)


def test_an_interrupted_extract_is_recorded_even_when_nothing_is_new(stage: Stage) -> None:
    """Its file may be gone."""
    source = stage(COLUMNS).deliver(_csv(1, "a"))
    source.extract()
    with source.server.connect("admin") as connection:
        connection.execute(
            "insert into dpe.extracts (source, relation, disposition, actor) values (%s, %s, 'append', 'test')",
            [source.table.source, source.table.relation],
        )

    source.extract()

    assert [("succeeded", None), ("failed", "interrupted")] == source.ledger(
        "select status, error from dpe.extracts where source = %s order by extract_id"
    )


@contextmanager
def _paused(source: StagedSource, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """Run an extract up to its first written block, pause, then to its end; yields the error it raised."""
    written, go_on = threading.Event(), threading.Event()
    raised: list[BaseException] = []
    read = OpenedCsv.blocks

    def blocks(self: OpenedCsv) -> Any:
        yield from read(self)
        written.set()
        assert go_on.wait(30)

    def run() -> None:
        try:
            source.extract()
        except DpeError as error:
            raised.append(error)

    with monkeypatch.context() as patch:
        patch.setattr(OpenedCsv, "blocks", blocks)
        extraction = threading.Thread(target=run)
        extraction.start()
        assert written.wait(30)
        _wait_for(source, "writer")
    yield raised
    go_on.set()
    extraction.join()


# The sessions of an extract; all of them read dpe_locks.locks, but the coordinator not all the time.
SESSIONS = {
    "lock": "application_name = 'dpe lock: extract ' || %(source)s",
    "writer": "application_name = 'dpe' and exists (select from pg_locks where pid = activity.pid and relation = 'dpe_locks.locks'::regclass)",
    "coordinator": "application_name = 'dpe' and state = 'idle'",
}


def _wait_for(source: StagedSource, who: str) -> list[int]:
    """Return the sessions of an extract that do this, once there are any."""
    while True:
        with source.server.connect("admin") as connection:
            found = connection.execute(
                f"select pid from pg_stat_activity as activity where usename = 'dpe_loader' and datname = current_database() and {SESSIONS[who]}".encode(),
                {"source": source.table.relation} if who == "lock" else None,
            ).fetchall()
        if found:
            return [int(pid) for (pid,) in found]
        time.sleep(0.01)


def _end(source: StagedSource, who: str) -> None:
    """End the sessions that do this, as an administrator can."""
    found = _wait_for(source, who)
    with source.server.connect("admin") as connection:
        connection.execute("select pg_terminate_backend(pid, 5000) from unnest(%s::int[]) as pid", [found])


@pytest.mark.parametrize("who", ["writer", "coordinator", "lock"])
def test_ending_a_session_ends_the_extract(
    stage_anywhere: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, who: str
) -> None:
    """With a message, and without a traceback; the next extract loads everything."""
    source = stage_anywhere(COLUMNS).deliver(_csv(10, "a"), "a.csv")
    source.extract()
    source.deliver(_csv(20, "b"), "b.csv")
    with _paused(source, monkeypatch) as raised:
        _end(source, who)

    [error] = raised
    assert isinstance(error, ServerError)
    said = {
        "lock": f"extract {source.table.relation}: the session that held the lock has ended (terminating connection due to administrator "
        "command); nothing was committed, run again",
    }.get(who, f"{source.table.source}: the server gave up (terminating connection due to administrator command); run again")
    assert said in str(error)
    assert [] == caplog.messages
    assert 10 == source.count()

    source.extract()
    assert (30, ["succeeded", "failed", "succeeded"], []) == (source.count(), source.statuses(), source.slices(attached=False))
    _assert_that_the_ledger_agrees(source)


def test_an_extract_that_lost_its_lock_does_nothing_more(stage_anywhere: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one has loaded the same file meanwhile, and the first one's slices are gone: nothing is loaded twice, or removed."""
    source = stage_anywhere(COLUMNS).deliver(_csv(10, "a"))
    extraction = source.extraction()
    written, go_on = threading.Event(), threading.Event()
    reconcile = checks.reconcile
    raised: list[BaseException] = []

    def wait(*arguments: Any) -> Any:
        # The second extract does not wait.
        if not written.is_set():
            written.set()
            assert go_on.wait(30)
        return reconcile(*arguments)

    def run() -> None:
        try:
            source.run(extraction)
        except DpeError as error:
            raised.append(error)

    monkeypatch.setattr(checks, "reconcile", wait)
    first = threading.Thread(target=run)
    first.start()
    assert written.wait(30)
    _end(source, "lock")
    assert 10 == source.extract().rows_loaded
    go_on.set()
    first.join()

    [error] = raised
    assert isinstance(error, LockLostError)
    assert (10, ["failed", "succeeded"], []) == (source.count(), source.statuses(), source.slices(attached=False))
    _assert_that_the_ledger_agrees(source)


def test_the_next_extract_waits_for_a_publication_in_progress(stage_anywhere: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the lock is lost at the last moment: the next one finds the file loaded, and no orphans."""
    source = stage_anywhere(COLUMNS).deliver(_csv(10, "a"))
    extraction = source.extraction()
    skipped: list[int] = []
    next_one = threading.Thread(target=lambda: skipped.append(source.extract().skipped))

    def lose_the_lock(*_arguments: Any) -> None:
        _end(source, "lock")
        next_one.start()
        time.sleep(0.5)

    # By then the slices are attached, but the ledger does not say so yet.
    monkeypatch.setattr(extraction, "_end", lose_the_lock)
    source.run(extraction)
    next_one.join()

    assert ([1], 10, ["succeeded"], []) == (skipped, source.count(), source.statuses(), source.slices(attached=False))
    _assert_that_the_ledger_agrees(source)


@pytest.mark.parametrize("noticed", ["as a notice", "not at all"])
def test_a_session_that_is_ended_between_two_statements_says_why(stage_anywhere: Stage, noticed: str) -> None:
    """The client takes the server's last message for a notice then, or has not read it when the next statement fails."""
    source = stage_anywhere(COLUMNS)

    def go_on(connection: Connection) -> None:
        with locks.reporting_server_errors(source.table), locks.last_words(connection):
            connection.pgconn.consume_input()
            if noticed == "as a notice":
                assert 0 == connection.pgconn.is_busy()
            with pytest.raises(psycopg.OperationalError, match="closed the connection"):
                connection.pgconn.consume_input()
            connection.execute("select 1")

    with source.server.connect("loader") as connection, source.server.connect("admin") as administrator:
        administrator.execute("select pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])
        with pytest.raises(ServerError, match=r"the server gave up \(terminating connection due to administrator command\)"):
            go_on(connection)


def test_a_full_disk_of_the_server_is_named(stage_anywhere: Stage) -> None:
    """With what to do, and without the record at which it happened."""
    source = stage_anywhere(COLUMNS)
    full = "do $$ begin raise 'could not extend file' using errcode = '53100', detail = '1,a secret'; end $$"

    with (
        source.server.connect("loader") as connection,
        pytest.raises(ServerError) as raised,
        locks.reporting_server_errors(source.table),
    ):
        connection.execute(full.encode())

    assert str(raised.value) == (
        f"{source.table.source}: the disk of the server is full (could not extend file); free some space on it, then run again"
    )


def test_one_extract_of_a_source_runs_at_once(stage_anywhere: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one is refused; neither the first nor another source is disturbed."""
    source = stage_anywhere(COLUMNS).deliver(_csv(10, "a"))
    other = stage_anywhere(COLUMNS)
    with _paused(source, monkeypatch) as raised:
        with pytest.raises(BusyError, match=rf"^{source.table.source}: another extract of this source is running; wait for it to end"):
            source.extract()
        other.extract()

    assert ([], 10, 10) == (raised, source.count(), other.count())
    assert ["succeeded"] == source.statuses()


def test_writers_that_outlive_their_extract_are_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may still commit a slice, which has to be visible as an orphan."""
    monkeypatch.setattr(locks, "_LOCK_TIMEOUT", "100ms")
    source = stage(COLUMNS).deliver(_csv(10, "a"))
    with _paused(source, monkeypatch) as raised:
        _end(source, "lock")
        with pytest.raises(BusyError, match="writers of a killed extract are still at work; run again later"):
            source.extract()

    assert 1 == len(raised)
    assert 10 == source.extract().rows_loaded
    assert [] == source.slices(attached=False)


def test_a_reader_is_waited_for_but_not_forever(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that keeps slices from being attached is named; nothing of the extract is left."""
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.5)
    source = stage(COLUMNS).deliver(_csv(10, "a"))
    source.extract()
    source.deliver(_csv(20, "b"), "b.csv")
    with source.server.connect("admin") as connection:
        connection.execute(f"lock table {source.relation} in share update exclusive mode".encode())
        with pytest.raises(
            ServerError, match=rf"postgres \(process \d+, 'dpe'\) holds raw.{source.table.name} for too long; .* End that session"
        ):
            source.extract()

    assert (10, ["succeeded", "failed"], []) == (source.count(), source.statuses(), source.slices(attached=False))


def test_a_session_that_holds_a_slice_is_named(stage: Stage, reader: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader without access to it holds it by listing the slices."""
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.5)
    source = stage(COLUMNS, disposition="replace").deliver(_csv(10, "a"))
    source.extract()
    source.deliver(_csv(20, "b"))
    login = reader(source.server)
    with source.server.connect(login) as connection:
        connection.execute("select pg_partition_tree(oid) from pg_class where relkind = 'p'")
        with pytest.raises(ServerError, match=rf"{login} \(process \d+, 'dpe'\) holds raw.{source.table.name}__\d+_\d+ for too long"):
            source.extract()


def test_a_reader_cannot_make_an_extract_the_victim_of_a_deadlock(stage_anywhere: Stage, reader: Callable[..., str]) -> None:
    """A reader that holds a slice asks for the parent while the extract, which has locked it, waits for the slice."""
    source = stage_anywhere(COLUMNS, disposition="replace").deliver(_csv(10, "a"))
    source.extract()
    source.deliver(_csv(20, "b"))
    with ThreadPoolExecutor(1) as pool, source.server.connect(reader(source.server)) as connection:
        [(leaf, parent)] = connection.execute(
            "select inhrelid::bigint, inhparent::bigint from pg_inherits where inhparent::regclass::text = %s",
            [f"raw.{source.table.name}"],
        ).fetchall()
        # Locks the slices only.
        connection.execute("select pg_partition_tree(%s::bigint::oid)", [parent])
        extracting = pool.submit(source.extract)
        while not connection.execute("select from pg_locks where relation = %s and not granted", [leaf]).fetchall():
            assert not extracting.done()
            time.sleep(0.01)
        # Waits until the extract gives up.
        connection.execute("select pg_get_partition_constraintdef(%s::bigint::oid)", [leaf])
        assert connection.execute("select from pg_locks where relation = %s and pid = pg_backend_pid()", [parent]).fetchall()
        time.sleep(1)
        assert not extracting.done()
        connection.rollback()

        assert 20 == extracting.result().rows_loaded
    assert (["succeeded"] * 2, 20) == (source.statuses(), source.count())


def test_a_writer_that_gets_no_connection_ends_the_extract(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may have none left."""
    source = stage(COLUMNS).deliver(_csv(10, "a"))
    extraction = source.extraction()
    connect = extraction._connect
    # One holds the lock, one does the work.
    calls = iter([connect, connect])

    def connect_once() -> Any:
        for call in calls:
            return call()
        raise ServerError("server: rejected the login of dpe_loader (too many clients already); ask its administrator")

    monkeypatch.setattr(extraction, "_connect", connect_once)
    with pytest.raises(ServerError, match="too many clients already"):
        source.run(extraction)

    assert (["failed"], 0) == (source.statuses(), source.count())


def test_the_user_may_interrupt(stage: Stage) -> None:
    """The written slices are removed at once."""

    def interrupt(_bytes: int) -> None:
        raise KeyboardInterrupt

    source = stage(COLUMNS).deliver(_csv(10, "a"))
    with pytest.raises(KeyboardInterrupt):
        source.extract(progress=interrupt)

    assert [("failed", "KeyboardInterrupt")] == source.ledger("select status, error from dpe.extracts where source = %s")
    assert ([], 0) == (source.slices(attached=False), source.count())
