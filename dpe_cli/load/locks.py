"""Locks that keep two extracts of one source apart, and an extract apart from the writers of one that was killed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.errors import Diagnostic

from dpe_cli.errors import BusyError, ServerError

Connection = psycopg.Connection[tuple[object, ...]]

# A killed extract's sessions take a moment to notice; a running one does not let go within that time.
_PATIENCE_SECONDS = 2.0
_LOCK_TIMEOUT = "60s"


def source_key(source: str) -> int:
    """Return the advisory lock key of a source: one extract at a time holds it."""
    return _key("extract", source)


def writer_key(source: str) -> int:
    """Return the advisory lock key that the writers of a source share until their transactions end."""
    return _key("writers", source)


@contextmanager
def source_lock(connection: Connection, source: str) -> Iterator[None]:
    """
    Hold the lock of a source, for the session: the block may commit.

    Raises:
        BusyError: another session holds it.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not _try_lock(connection, source):
        if time.monotonic() > deadline:
            raise BusyError(f"{source}: another extract of this source is running; wait for it to end, then run again")
        time.sleep(0.05)
    try:
        with connection.transaction():
            # Writers whose client was killed: theirs to roll back or to commit, then their slices can be seen as orphans.
            limit_waiting(connection)
            try:
                connection.execute("select pg_advisory_xact_lock(%s)", [writer_key(source)])
            except psycopg.errors.LockNotAvailable as error:
                raise BusyError(f"{source}: writers of an extract that was killed are still at work; run again later") from error
        yield
    finally:
        if not (connection.closed or connection.broken):
            with connection.transaction():
                connection.execute("select pg_advisory_unlock(%s)", [source_key(source)])


@contextmanager
def told(source: str) -> Iterator[None]:
    """
    Say in words what the server does to an extract that is not the fault of its data.

    Raises:
        ServerError: it ended a session, waited too long for a lock, or is out of something.
    """
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise ServerError(
            f"{source}: a session that reads or changes the staging table holds it too long; wait for it or end it, then run again"
        ) from error
    except (psycopg.OperationalError, psycopg.InternalError) as error:
        said = error.diag.message_primary or (str(error).splitlines() or [type(error).__name__])[0]
        raise ServerError(f"{source}: the server gave up ({said}); run again, and what was left unfinished is removed") from error


@contextmanager
def last_words(connection: Connection) -> Iterator[None]:
    """
    Have the error for a lost connection say why the server ended the session.

    What it says between two statements comes as a notice, or stays in the connection; the next statement fails without a word of
    it (libpq, "Notice Processing" and PQerrorMessage).

    Raises:
        psycopg.OperationalError: the connection is lost.
    """
    said: list[str] = []

    def note(notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "FATAL" and notice.message_primary:
            said.append(notice.message_primary)

    connection.add_notice_handler(note)
    try:
        yield
    except psycopg.OperationalError as error:
        if error.sqlstate or not connection.broken:
            raise
        # What was received before the end may not have been looked at yet.
        connection.pgconn.is_busy()
        if connection.pgconn.error_message:
            said += connection.pgconn.get_error_message().splitlines()[:1]
        raise psycopg.OperationalError(said[0] if said else str(error)) from error
    finally:
        connection.remove_notice_handler(note)


def limit_waiting(connection: Connection) -> None:
    """Bound how long the open transaction waits for other sessions' locks."""
    connection.execute("select set_config('lock_timeout', %s, true)", [_LOCK_TIMEOUT])


def _try_lock(connection: Connection, source: str) -> bool:
    with connection.transaction():
        row = connection.execute("select pg_try_advisory_lock(%s)", [source_key(source)]).fetchone()
    return row == (True,)


def _key(kind: str, source: str) -> int:
    digest = hashlib.blake2b(f"dpe {kind} {source}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
