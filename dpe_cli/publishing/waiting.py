"""Waiting for readers: a publication gives way to them, and tries again until none holds a relation that it swaps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psycopg

from dpe_cli.errors import PublishError
from dpe_cli.publishing import swap
from dpe_cli.server import sessions
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import find_relation
from dpe_cli.server.sessions import END_AFTER_SECONDS, Ender, Holder

_SAY_AFTER_SECONDS = 5.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


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
    Exchange in one transaction, retrying while sessions hold relations of these schemas and names.

    `exchange` gets the oids of the relations that blocked it, the last one first. An `ender` ends the sessions that stay.

    Raises:
        PublishError: they do not release a relation.
    """
    started = time.monotonic()
    pause = _FIRST_PAUSE
    has_reported = False
    held: list[int] = []
    first_seen: dict[str, float] = {}
    while True:
        try:
            exchange(held)
        except (swap.HeldError, psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if isinstance(error, swap.HeldError):
                held = [error.oid, *(oid for oid in held if oid != error.oid)]
            now = time.monotonic()
            holders = _holders(connection, names, held)
            # A reader that returns again and again does not count as one that stays: each of its transactions is a new one.
            first_seen = {holder.transaction: first_seen.get(holder.transaction, now) for holder in holders}
            if ender is not None:
                ender.end({holder.pid for holder in holders if holder.pid and now - first_seen[holder.transaction] >= END_AFTER_SECONDS})
            if now - started > patience:
                raise PublishError(_still_held(now - started, holders, ender)) from error
            if now - started > _SAY_AFTER_SECONDS and not has_reported:
                say(f"Waiting to publish: {sessions.describe(holders)}.")
                has_reported = True
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return


def _holders(connection: Connection, names: Sequence[tuple[str, str]], held: Sequence[int]) -> list[Holder]:
    with connection.transaction():
        found = [found.oid for schema, name in names if (found := find_relation(connection, schema, name))]
        return sessions.holders(connection, {*found, *held})


def _still_held(waited: float, holders: Sequence[Holder], ender: Ender | None) -> str:
    refusals = "".join(f"; {refusal}" for refusal in ender.refusals) if ender else ""
    remedies = " ".join(dict.fromkeys(f"{holder.remedy}." for holder in holders)).removesuffix(".") or "End that session"
    option = "" if ender else " (or let --end-sessions do so)"
    blocking = f"after {waited:.0f} s {sessions.describe(holders)} still{refusals}"
    return f"{blocking}; nothing was published. {remedies}{option}, then run `dpe publish`"
