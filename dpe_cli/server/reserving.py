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
    """Keep the numbers of no use from the sessions that begin within the block, as far as they can be had."""
    with ExitStack() as kept:
        with ExitStack() as opened, suppress(ServerError):
            first = opened.enter_context(server.connect("transformer", autocommit=True, application_name="dpe reserve"))
            left = temporary.left_numbers(first)
            for _ in range(_MOST_SESSIONS if left else 0):
                if not left:
                    break
                session = server.open("transformer", application_name="dpe reserve")
                number = temporary.number(session)
                is_kept = number in left and not temporary.is_usable(session)
                (kept if is_kept else opened).callback(session.close)
                left.discard(number)
        yield
