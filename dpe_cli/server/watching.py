"""Watching: while a command waits for locks, report which sessions block it and, if wanted, end them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import psycopg

from dpe_cli.errors import ServerError
from dpe_cli.server import sessions
from dpe_cli.server.ending import Ender
from dpe_cli.server.server import Server
from dpe_cli.server.sessions import Stays

# Most work is done before this.
_FIRST_LOOK_SECONDS = 2.0
# Shorter than an attempt to take a lock, which gives up and comes back (patience.py).
_PAUSE_SECONDS = 0.2
# The applications of dbt's sessions, and of those of an extract.
DBT, EXTRACT = "^dbt$", "^dpe extract "


@contextmanager
def watching(
    server: Server, role: Literal["loader", "transformer"], application: str, *, ender: Ender | None, say: Callable[[str], None]
) -> Iterator[None]:
    """
    Watch what blocks sessions of a role whose application name matches a pattern, for the duration of the block.

    A transaction that blocks one for END_AFTER_SECONDS is reported and, with an `ender`, its session ended.
    """
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(server, role, application, ender, say, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(server: Server, role: str, application: str, ender: Ender | None, say: Callable[[str], None], over: threading.Event) -> None:
    if over.wait(_FIRST_LOOK_SECONDS):
        return
    stays = Stays()
    reported: set[str] = set()
    try:
        with server.connect(role, autocommit=True, application_name="dpe watch") as connection:
            while True:
                staying = stays.of(sessions.blocking(connection, application=application))
                if new := [stay for stay in staying if stay.transaction not in reported]:
                    say(f"Waiting: {sessions.describe(new)}.")
                    reported |= {stay.transaction for stay in new}
                    if ender is not None:
                        _end(ender, {holder.pid for holder in new if holder.pid}, say)
                if over.wait(_PAUSE_SECONDS):
                    return
    except (ServerError, psycopg.Error) as error:
        # Whatever ends this session ends the work as well, or does not matter to it.
        say(f"Warning: no longer watching for blocking sessions ({(str(error).splitlines() or [type(error).__name__])[0]})")


def _end(ender: Ender, pids: set[int], say: Callable[[str], None]) -> None:
    before = len(ender.ended)
    ender.end(pids)
    for session in ender.ended[before:]:
        say(f"Ended {session}.")
    for refusal in ender.refusals:
        say(f"Warning: {refusal}")
