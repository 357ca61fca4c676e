"""The sessions that publish: one build at a time, and nothing is published or undone meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from dpe_cli.errors import LockLostError, PublishError
from dpe_cli.publishing import old_versions
from dpe_cli.server import contexts, lock_rows
from dpe_cli.server.connection import Connection
from dpe_cli.server.lock_rows import BUILD, Lock, TakenError
from dpe_cli.server.patience import limit_waiting
from dpe_cli.server.relations import NEXT
from dpe_cli.server.server import Server

ACTOR = "dpe publish"


def connected(server: Server) -> Connection:
    """Connect as the role that publishes."""
    return server.connect("transformer", application_name=ACTOR)


@dataclass(frozen=True)
class Building:
    """A running build: its connection, and the lock that another session holds for it."""

    connection: Connection
    lock: Lock


@contextmanager
def building(server: Server, schemas: Sequence[str]) -> Iterator[Building]:
    """
    Exclude other builds for the duration of the block, empty the shadow schemas of the published ones, and drop what dbt left in these.

    Raises:
        PublishError: another build is running.
    """
    with connected(server) as aside, ExitStack() as stack:
        try:
            lock = stack.enter_context(lock_rows.held(aside, BUILD, actor=ACTOR))
        except TakenError as error:
            raise _busy("run again") from error
        with connected(server) as connection:
            # The session is idle while dbt works; a rollback would undo the setting.
            connection.execute("set idle_session_timeout = 0")
            connection.commit()
            # This build does not publish what an earlier one left.
            with alone(connection, lock):
                old_versions.clear(connection, [schema + NEXT for schema in schemas])
                old_versions.remove_backups(connection, schemas)
                old_versions.sweep(connection, schemas)
            yield Building(connection, lock)


@contextmanager
def alone(connection: Connection, lock: Lock | None) -> Iterator[None]:
    """
    Open a transaction during which no build runs, except that of the `lock`, which has to be held until the transaction ends.

    Raises:
        PublishError: another build is running, or the lock is lost, so that one may be running.
    """
    try:
        with contexts.system_context(connection, actor=ACTOR):
            if lock is None:
                lock_rows.take(connection, BUILD)
            else:
                lock.check()
            limit_waiting(connection)
            yield
            if lock is not None:
                lock.check()
    except TakenError as error:
        raise _busy("publish or undo") from error
    except LockLostError as error:
        raise PublishError(str(error)) from error


def _busy(what_to_do: str) -> PublishError:
    """Refuse to disturb a build: its work so far would be lost."""
    return PublishError(f"another `dpe run` is building; wait for it to end, then {what_to_do}", retryable=True)
