"""The sessions that publish: one build of a schema at a time, and nothing is published or undone in it meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from dpe_cli.errors import LockLostError, PublishError
from dpe_cli.publishing import old_versions
from dpe_cli.server import contexts, lock_rows
from dpe_cli.server.connection import Connection
from dpe_cli.server.lock_rows import Lock, TakenError
from dpe_cli.server.patience import limit_waiting
from dpe_cli.server.relations import NEXT
from dpe_cli.server.server import Server

ACTOR = "dpe publish"
_BUILD = "build "


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
    Exclude other builds into these schemas for the duration of the block, of other projects and targets as well.

    Empties the shadow schemas, and drops what dbt left in the published ones.

    Raises:
        PublishError: another build is running.
    """
    with connected(server) as aside, ExitStack() as stack:
        names = _locks(schemas)
        lock_rows.ensure(aside, names, actor=ACTOR)
        try:
            lock = stack.enter_context(lock_rows.held(aside, names, actor=ACTOR))
        except TakenError as error:
            raise _busy(error, "run again") from error
        with connected(server) as connection:
            # The session is idle while dbt works; a rollback would undo the setting.
            connection.execute("set idle_session_timeout = 0")
            connection.commit()
            # This build does not publish what an earlier one left.
            with alone(connection, lock, schemas):
                old_versions.clear(connection, [schema + NEXT for schema in schemas])
                old_versions.remove_backups(connection, schemas)
                old_versions.sweep(connection, schemas)
            yield Building(connection, lock)


@contextmanager
def alone(connection: Connection, lock: Lock | None, schemas: Iterable[str]) -> Iterator[None]:
    """
    Open a transaction during which no build into these schemas runs, except that of the `lock`, which has to be held until its end.

    Raises:
        PublishError: another build is running, or the lock is lost, so that one may be running.
    """
    names = _locks(schemas)
    if lock is None:
        lock_rows.ensure(connection, names, actor=ACTOR)
    try:
        with contexts.system_context(connection, actor=ACTOR):
            if lock is None:
                for name in names:
                    lock_rows.take(connection, name)
            else:
                lock.check()
            limit_waiting(connection)
            yield
            if lock is not None:
                lock.check()
    except TakenError as error:
        raise _busy(error, "publish or undo") from error
    except LockLostError as error:
        raise PublishError(str(error)) from error


def _locks(schemas: Iterable[str]) -> list[str]:
    """Return the names of the locks of published schemas, in the order in which every session takes them."""
    return [f"{_BUILD}{schema}" for schema in sorted(set(schemas))]


def _busy(taken: TakenError, what_to_do: str) -> PublishError:
    """Refuse to disturb a build: its work so far would be lost."""
    schema = str(taken).removeprefix(_BUILD)
    return PublishError(f"another `dpe run` is building in the schema {schema}; wait for it to end, then {what_to_do}", retryable=True)
