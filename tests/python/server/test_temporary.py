"""A session that leaves thousands of temporary objects keeps no session of dpe from making its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import psycopg

from dpe_cli.access import checks
from dpe_cli.errors import ServerError
from dpe_cli.server import temporary
from dpe_cli.server.reserving import reserved
from dpe_cli.server.server import Server

# More than the server can lock at once, with their types and rules. Autovacuum would drop tables, but not views.
MANY = """
    do $$ begin
        for number in 1..1000 loop
            execute format('create temporary view mine_%s as select 1 as one', number + {first});
        end loop;
    end $$
"""
MAKE = "create temporary table mine (one integer)"


def _leave_many(server: Server, login: str) -> int:
    """Make many as a login and end its session; return the session's number."""
    with server.connect(login, autocommit=True) as connection:
        pid, number = connection.info.backend_pid, temporary.number(connection)
        for first in range(0, 4000, 1000):
            connection.execute(MANY.format(first=first).encode())
    while True:
        time.sleep(0.1)
        # Until it has ended, the server may have no room for the locks of any other.
        with suppress(psycopg.errors.OutOfMemory, ServerError), server.connect("admin", autocommit=True) as asking:
            if not asking.execute("select from pg_stat_activity where pid = %s", [pid]).fetchall():
                return number


def test_what_a_session_leaves_keeps_no_session_of_dpe_from_temporary_objects(fresh_server: Server, reader: Callable[..., str]) -> None:
    """Not from its number either, which PostgreSQL gives to another session. An administrator learns of it, and how to drop it."""
    number = _leave_many(fresh_server, reader(fresh_server))
    with ExitStack() as opened:
        for _ in range(10):
            opened.enter_context(fresh_server.connect("transformer", autocommit=True)).execute(MAKE)
    # What dbt does: its sessions begin by themselves.
    with reserved(fresh_server), ExitStack() as opened:
        sessions = [opened.enter_context(fresh_server.open("transformer")) for _ in range(5)]
        assert number not in {temporary.number(session) for session in sessions}

    with fresh_server.connect("admin", autocommit=True) as connection:
        [finding] = [found for found in checks.check(connection, ["raw", "finance"]) if found.subject == f"pg_temp_{number}"]
        assert "RLS069" == finding.check_id
        for (drop,) in connection.execute(finding.fix.partition(": ")[2].removesuffix(" \\gexec").encode()).fetchall():
            connection.execute(str(drop).encode())
        assert set() == temporary.full(connection)
