"""
Locks: rows of `dpe_locks.locks`, which only the pipeline's own logins can lock. A row's name says what one session at a time may do.

A lock lasts as long as the transaction that took it. Work that commits more than once under a lock uses a separate session, whose
only task is a transaction that stays open (`held`); if dpe is killed, the server ends that session, which frees the lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg import sql

from dpe_cli.errors import LockLostError, ServerError
from dpe_cli.server import contexts, sessions
from dpe_cli.server.connection import Connection

# The sessions of a killed dpe take a moment to end; a session that is working keeps its lock for longer than that.
PATIENCE = "2s"
# Servers may end sessions that leave a transaction open, which is all that this one does.
_STAY = "select set_config('application_name', %s, true), set_config('idle_in_transaction_session_timeout', '0', true)"
_STAY_SINCE_17 = "select set_config('transaction_timeout', '0', true)"


class TakenError(Exception):
    """Another session holds the lock."""


@dataclass(frozen=True)
class Lock:
    """Locks that the session of `connection` holds, in a transaction that stays open; `name` is theirs, for people."""

    name: str
    connection: Connection

    def check(self) -> None:
        """
        Check that the lock is still held, before committing what it protects.

        Raises:
            LockLostError: the server has ended the session that held it, so that another one may hold it now.
        """
        try:
            with sessions.last_words(self.connection):
                self.connection.execute("select 1")
        except psycopg.OperationalError as error:
            reason = (str(error).splitlines() or ["the connection is lost"])[0]
            raise LockLostError(
                f"{self.name}: the session that held the lock has ended ({reason}); nothing was committed, run again"
            ) from error


@contextmanager
def held(connection: Connection, names: Sequence[str], *, actor: str) -> Iterator[Lock]:
    """
    Hold locks for the duration of the block, in a transaction of a connection that the block does not use.

    Takes them in their order, which has to be the same everywhere: otherwise two sessions could wait for each other.

    Raises:
        TakenError: another session holds one of them.
    """
    name = ", ".join(names)
    with ExitStack() as transaction:
        transaction.enter_context(contexts.system_context(connection, actor=actor))
        connection.execute(_STAY, [f"dpe lock: {name}"])
        if connection.info.server_version >= 170_000:
            connection.execute(_STAY_SINCE_17)
        for each in names:
            take(connection, each)
        try:
            yield Lock(name, connection)
        finally:
            # If it was lost, the work has failed because of that, or was already done.
            with suppress(psycopg.OperationalError):
                transaction.close()


def ensure(connection: Connection, names: Collection[str], *, actor: str) -> None:
    """Insert missing rows in a separate transaction: other sessions would wait for an uncommitted row."""
    with contexts.system_context(connection, actor=actor):
        connection.execute("insert into dpe_locks.locks (name) select unnest(%s::text[]) on conflict do nothing", [list(names)])


def take(connection: Connection, name: str, *, patience: str = PATIENCE) -> None:
    """
    Lock a row for the open transaction, in its context; from then on the transaction waits at most `patience` for any lock.

    Raises:
        TakenError: another session holds the lock.
    """
    _lock(connection, name, "for update", patience)


def share(connection: Connection, name: str, *, patience: str = PATIENCE) -> None:
    """
    Lock a row for the open transaction, in its context, shared with others that do the same. Otherwise like `take`.

    Raises:
        TakenError: another session holds the lock for itself.
    """
    _lock(connection, name, "for share", patience)


def _lock(connection: Connection, name: str, strength: Literal["for update", "for share"], patience: str) -> None:
    connection.execute("select set_config('lock_timeout', %s, true)", [patience])
    try:
        found = connection.execute(
            sql.SQL("select name from dpe_locks.locks where name = %s {}").format(sql.SQL(strength)), [name]
        ).fetchall()
    except psycopg.errors.LockNotAvailable as error:
        raise TakenError(name) from error
    if not found:
        raise ServerError(f"dpe_locks.locks: has no row {name!r}; run `dpe bootstrap`")
