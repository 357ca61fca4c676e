"""Waiting for readers: a publication gives way to them, and tries again until none holds a relation that it swaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dpe_cli.errors import PublishError
from dpe_cli.publishing import swap
from dpe_cli.server import sessions
from dpe_cli.server.connection import Connection
from dpe_cli.server.ending import Ender
from dpe_cli.server.patience import BLOCKED, BlockedError, Waiting, patiently
from dpe_cli.server.relations import find_relation
from dpe_cli.server.sessions import Holder


def for_readers(
    connection: Connection,
    names: Sequence[tuple[str, str]],
    exchange: Callable[[Sequence[int]], None],
    *,
    ender: Ender | None,
    say: Callable[[str], None],
    patience: float,
) -> None:
    """
    Exchange in one transaction, retrying while sessions hold relations of these schemas and names, or anything else that it needs.

    `exchange` gets the oids of the relations that blocked it, the last one first. An `ender` ends the sessions that stay.

    Raises:
        PublishError: they do not release a relation.
    """
    held: list[int] = []

    def attempt() -> None:
        try:
            exchange(held)
        except swap.HeldError as error:
            held[:] = [error.oid, *(oid for oid in held if oid != error.oid)]
            raise

    def holders() -> list[Holder]:
        with connection.transaction():
            found = [found.oid for schema, name in names if (found := find_relation(connection, schema, name))]
            return sessions.holders(connection, {*found, *held})

    try:
        patiently(
            connection,
            attempt,
            Waiting(patience, ender, say),
            purpose="publish",
            blocked=(swap.HeldError, *BLOCKED),
            also=holders,
        )
    except BlockedError as error:
        option = "" if ender else " (or let --end-sessions do so)"
        raise PublishError(f"{error}; nothing was published. {error.remedies}{option}, then run `dpe publish`") from error
