"""Locks that keep two extracts of one source apart, and an extract apart from the writers of one that was killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from dpe_cli.blocks.contract import StagingTable
from dpe_cli.errors import BusyError, ServerError
from dpe_cli.load import staging
from dpe_cli.server import lock_rows, sessions
from dpe_cli.server.lock_rows import Lock, TakenError
from dpe_cli.server.sessions import last_words

Connection = psycopg.Connection[tuple[object, ...]]

_LOCK_TIMEOUT = "60s"


def source_name(source: str) -> str:
    """Return the name of a source's lock: one extract at a time holds it."""
    return f"extract {source}"


def writer_name(source: str) -> str:
    """Return the name of the lock that all share, each for its transaction, that write for an extract of a source."""
    return f"writers {source}"


@contextmanager
def source_lock(connect: Callable[[], Connection], source: str, *, actor: str) -> Iterator[Lock]:
    """
    Hold the lock of a source, in a session of its own; what the block commits, it commits after `join`.

    Raises:
        BusyError: another session holds it.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(connect())
        ensure(connection, source, actor=actor)
        try:
            lock = stack.enter_context(lock_rows.held(connection, source_name(source), actor=actor))
        except TakenError as error:
            raise _busy(source) from error
        yield lock


def ensure(connection: Connection, source: str, *, actor: str) -> None:
    """Make the rows of a source's locks, where it was never extracted."""
    lock_rows.ensure(connection, [source_name(source), writer_name(source)], actor=actor)


def take_source(connection: Connection, source: str) -> None:
    """
    Take the lock of a source for the open transaction, and wait for writers of an extract that was killed.

    Raises:
        BusyError: another session holds it, or such writers are at work.
    """
    try:
        lock_rows.take(connection, source_name(source))
    except TakenError as error:
        raise _busy(source) from error
    wait_for_writers(connection, source)


def wait_for_writers(connection: Connection, source: str) -> None:
    """
    Wait for writers whose client was killed: theirs to roll back or to commit, then their slices can be seen as orphans.

    Raises:
        BusyError: they are at work for too long.
    """
    try:
        lock_rows.take(connection, writer_name(source), patience=_LOCK_TIMEOUT)
    except TakenError as error:
        raise BusyError(f"{source}: writers of an extract that was killed are still at work; run again later") from error


def join_writers(connection: Connection, source: str) -> None:
    """
    Have the next extract of the source wait for the end of the open transaction.

    Raises:
        BusyError: the next one is at work already.
    """
    try:
        lock_rows.share(connection, writer_name(source), patience=_LOCK_TIMEOUT)
    except TakenError as error:
        raise _busy(source) from error


def join(connection: Connection, source: str, lock: Lock) -> None:
    """
    Have the next extract of the source wait for the end of the open transaction, which may commit: the lock is still held.

    Raises:
        BusyError: the next one is at work already.
        LockLostError: the session that holds the lock has ended.
    """
    join_writers(connection, source)
    lock.check()


@contextmanager
def told(connect: Callable[[], Connection], table: StagingTable) -> Iterator[None]:
    """
    Say in words what the server does to an extract that is not the fault of its data.

    Raises:
        ServerError: it ended a session, waited too long for a lock, or is out of something.
    """
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise ServerError(f"{table.source}: {_held(connect, table)}") from error
    except (psycopg.OperationalError, psycopg.InternalError) as error:
        said = error.diag.message_primary or (str(error).splitlines() or [type(error).__name__])[0]
        raise ServerError(f"{table.source}: the server gave up ({said}); run again, and what was left unfinished is removed") from error


def _held(connect: Callable[[], Connection], table: StagingTable) -> str:
    """Say which sessions hold the staging table or its slices; asked in a new session, which holds nothing itself."""
    with connect() as connection:
        found = sessions.holders(connection, staging.relations(connection, table))
    if not found:
        return "a session held the staging table, or another one that the load changes, for too long; run again"
    remedies = " ".join(dict.fromkeys(f"{one.remedy}." for one in found)).removesuffix(".")
    return f"{sessions.describe(found)} for too long; nothing is changed. {remedies} (`dpe extract --end-sessions` does so), then run again"


def limit_waiting(connection: Connection) -> None:
    """Bound how long the open transaction waits for other sessions' locks."""
    connection.execute("select set_config('lock_timeout', %s, true)", [_LOCK_TIMEOUT])


def _busy(source: str) -> BusyError:
    return BusyError(f"{source}: another extract of this source is running; wait for it to end, then run again")


__all__ = [
    "ensure",
    "join",
    "join_writers",
    "last_words",
    "limit_waiting",
    "source_lock",
    "source_name",
    "take_source",
    "told",
    "wait_for_writers",
    "writer_name",
]
