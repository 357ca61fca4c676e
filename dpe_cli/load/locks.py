"""Locks that keep apart two extracts of one source, and an extract and the writers of a killed one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import psycopg

from dpe_cli.blocks.contract import StagingTable
from dpe_cli.errors import BusyError, ServerError, explained, is_full_disk
from dpe_cli.load import staging
from dpe_cli.server import lock_rows, patience, sessions
from dpe_cli.server.connection import Connection
from dpe_cli.server.lock_rows import Lock, TakenError
from dpe_cli.server.patience import BlockedError, Waiting, limit_waiting
from dpe_cli.server.sessions import Holder, last_words

T = TypeVar("T")

# How long the writers of a source wait for each other, and a transaction for other sessions.
_LOCK_TIMEOUT = "60s"
PATIENCE_SECONDS = 60.0


def source_name(table: StagingTable) -> str:
    """Return the name of a source's lock, which one extract at a time holds; whichever project or target it belongs to."""
    return f"extract {table.relation}"


def writer_name(table: StagingTable) -> str:
    """Return the name of the lock that all writers of a source share, each for its transaction."""
    return f"writers {table.relation}"


@contextmanager
def source_lock(connect: Callable[[], Connection], table: StagingTable, *, actor: str) -> Iterator[Lock]:
    """
    Hold the lock of a source, in a session of its own. Within the block, transactions that may commit call `join` first.

    Raises:
        BusyError: another session holds it.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(connect())
        ensure(connection, table, actor=actor)
        try:
            lock = stack.enter_context(lock_rows.held(connection, [source_name(table)], actor=actor))
        except TakenError as error:
            raise _busy(table) from error
        yield lock


def ensure(connection: Connection, table: StagingTable, *, actor: str) -> None:
    """Create the rows of a source's locks, if it was never extracted."""
    lock_rows.ensure(connection, [source_name(table), writer_name(table)], actor=actor)


def take_source(connection: Connection, table: StagingTable) -> None:
    """
    Take the lock of a source for the open transaction, and wait for writers of a killed extract.

    Raises:
        BusyError: another session holds it, or such writers are still at work.
    """
    try:
        lock_rows.take(connection, source_name(table))
    except TakenError as error:
        raise _busy(table) from error
    wait_for_writers(connection, table)


def wait_for_writers(connection: Connection, table: StagingTable) -> None:
    """
    Wait until the writers of a killed client roll back or commit; then their slices are visible as orphans.

    Raises:
        BusyError: they take too long.
    """
    try:
        lock_rows.take(connection, writer_name(table), patience=_LOCK_TIMEOUT)
    except TakenError as error:
        raise BusyError(f"{table.source}: writers of a killed extract are still at work; run again later") from error


def join_writers(connection: Connection, table: StagingTable) -> None:
    """
    Make the next extract of the source wait for the end of the open transaction.

    Raises:
        BusyError: the next one is already at work.
    """
    try:
        lock_rows.share(connection, writer_name(table), patience=_LOCK_TIMEOUT)
    except TakenError as error:
        raise _busy(table) from error


def join(connection: Connection, table: StagingTable, lock: Lock) -> None:
    """
    Make the next extract of the source wait for the end of the open transaction, which may commit, because the lock is still held.

    Raises:
        BusyError: the next one is already at work.
        LockLostError: the session that holds the lock has ended.
    """
    join_writers(connection, table)
    lock.check()


def patiently(connection: Connection, table: StagingTable, attempt: Callable[[], T], *, seconds: float | None = None) -> T:
    """
    Try a transaction that changes a staging table again until no session is in its way; by default for PATIENCE_SECONDS.

    The transaction has to limit its waiting for locks.

    Raises:
        ServerError: sessions did not release the table, or something else that it needs.
    """

    def holders() -> list[Holder]:
        with connection.transaction():
            return sessions.holders(connection, staging.relations(connection, table))

    seconds = PATIENCE_SECONDS if seconds is None else seconds
    try:
        # Readers do not read staging, so they may wait for it.
        return patience.patiently(connection, attempt, Waiting(seconds), purpose=f"load {table.source}", is_persistent=True, also=holders)
    except BlockedError as error:
        raise ServerError(
            f"{table.source}: {error.named} for too long; nothing was changed. {error.remedies} (`dpe extract --end-sessions` does so), "
            "then run again",
            retryable=True,
        ) from error


@contextmanager
def reporting_server_errors(table: StagingTable) -> Iterator[None]:
    """
    Turn server errors that the data did not cause into ServerErrors.

    Raises:
        ServerError: it ended a session, waited too long for a lock, or ran out of a resource.
    """
    try:
        yield
    except (psycopg.OperationalError, psycopg.InternalError) as error:
        if is_full_disk(error):
            raise ServerError(f"{table.source}: {explained(error)[1]}") from error
        message = error.diag.message_primary or (str(error).splitlines() or [type(error).__name__])[0]
        raise ServerError(
            f"{table.source}: the server gave up ({message}); run again, which also removes what was left unfinished",
            retryable=True,
        ) from error


def _busy(table: StagingTable) -> BusyError:
    return BusyError(f"{table.source}: another extract of this source is running; wait for it to end, then run again")


__all__ = [
    "ensure",
    "join",
    "join_writers",
    "last_words",
    "limit_waiting",
    "patiently",
    "reporting_server_errors",
    "source_lock",
    "source_name",
    "take_source",
    "wait_for_writers",
    "writer_name",
]
