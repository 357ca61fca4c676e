"""Locks that keep two extracts of one source apart, and an extract apart from the writers of one that was killed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from dpe_cli.errors import BusyError

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
            connection.execute("select pg_advisory_xact_lock(%s)", [writer_key(source)])
        yield
    finally:
        if not (connection.closed or connection.broken):
            with connection.transaction():
                connection.execute("select pg_advisory_unlock(%s)", [source_key(source)])


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
