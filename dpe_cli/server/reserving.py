"""Reserving: while dbt runs, dpe's own sessions keep the numbers with which no session can make temporary objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from dpe_cli.errors import ServerError
from dpe_cli.server import temporary
from dpe_cli.server.server import Server

# How many sessions are opened to get these numbers: PostgreSQL decides which one it gives out next.
_MOST_SESSIONS = 20


@contextmanager
def reserved(server: Server) -> Iterator[None]:
    """Keep the full numbers from the sessions that begin within the block, as far as they can be had."""
    with ExitStack() as kept:
        with ExitStack() as opened, suppress(ServerError):
            first = opened.enter_context(server.connect("transformer", autocommit=True, application_name="dpe reserve"))
            full = temporary.full(first)
            for _ in range(_MOST_SESSIONS if full else 0):
                if not full:
                    break
                session = server.open("transformer", application_name="dpe reserve")
                number = temporary.number(session)
                (kept if number in full else opened).callback(session.close)
                full.discard(number)
        yield
