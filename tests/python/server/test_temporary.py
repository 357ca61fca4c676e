"""What a session leaves in its temporary schema keeps no session of dpe from making temporary objects."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import psycopg
import pytest
from support.long_tests import newest_unless_long

from dpe_cli.access import checks
from dpe_cli.errors import ServerError
from dpe_cli.server import temporary
from dpe_cli.server.connection import Connection
from dpe_cli.server.reserving import reserved
from dpe_cli.server.server import Server

# More than the server can lock at once: objects with their types and rules, or what depends on a few objects. Autovacuum would drop tables.
VIEWS = """
    do $$ begin
        for number in 1..1000 loop
            execute format('create temporary view mine_%s as select 1 as one', number + {first});
        end loop;
    end $$
"""


def _checks(count: int) -> str:
    return " ".join(f"constraint check_{number} check (value > 0)" for number in range(count))


OTHERS = """
    create temporary view shown as select 1 as one;
    create type pg_temp.pair as (one integer, "other one" integer);
    do $$ begin
        for number in 1..300 loop
            execute format('create function pg_temp.%I(shown) returns pg_temp.pair language sql as ''select 1, 2''', 'f ' || number);
        end loop;
    end $$
"""
MANY = {
    "views": [VIEWS.format(first=first) for first in range(0, 4000, 1000)],
    "what depends on a few objects": [f'create domain pg_temp."domain on a" as integer {_checks(17_000)}', OTHERS],
}
MAKE = "create temporary table mine (one integer)"


def _wait_for_the_end(server: Server, pid: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        time.sleep(0.1)
        # Until it has ended, the server may have no room for the locks of any other.
        with suppress(psycopg.errors.OutOfMemory, ServerError), server.connect("admin", autocommit=True) as asking:
            if not asking.execute("select from pg_stat_activity where pid = %s", [pid]).fetchall():
                return
    pytest.fail("the session does not end")


@contextmanager
def _session(server: Server, number: int) -> Iterator[Connection]:
    """Give a new session with this number. PostgreSQL 17 and later give out all others before it."""
    with ExitStack() as opened:
        others: deque[Connection] = deque()
        for _ in range(300):
            session = opened.enter_context(server.open("transformer"))
            if number == temporary.number(session):
                session.execute("set statement_timeout = '3s'")
                yield session
                return
            # Before, the numbers that were given back last come first.
            others.append(session)
            if len(others) > 10:
                others.popleft().close()
    pytest.fail(f"no session has the number {number}")


@newest_unless_long
@pytest.mark.parametrize("statements", MANY.values(), ids=MANY)
def test_what_a_session_leaves_keeps_no_session_of_dpe_from_temporary_objects(
    fresh_server: Server, reader: Callable[..., str], statements: list[str]
) -> None:
    """Not from its number either, which PostgreSQL gives to another session. An administrator learns of it, and how to drop it."""
    with fresh_server.connect(reader(fresh_server), autocommit=True) as connection:
        pid, number = connection.info.backend_pid, temporary.number(connection)
        for statement in statements:
            connection.execute(statement.encode())
    _wait_for_the_end(fresh_server, pid)

    with ExitStack() as opened:
        for _ in range(10):
            opened.enter_context(fresh_server.connect("transformer", autocommit=True)).execute(MAKE)
    # What dbt does: its sessions begin by themselves.
    with reserved(fresh_server), ExitStack() as opened:
        sessions = [opened.enter_context(fresh_server.open("transformer")) for _ in range(5)]
        assert number not in {temporary.number(session) for session in sessions}
    with _session(fresh_server, number) as session:
        assert not temporary.is_usable(session)

    with fresh_server.connect("admin", autocommit=True) as connection:
        [finding] = [found for found in checks.check(connection, ["raw", "finance"]) if found.subject == f"pg_temp_{number}"]
        assert "RLS069" == finding.check_id
        command = finding.fix.partition(": ")[2]
        assert f"`{command}`" == temporary.remedy(finding.subject).partition(": ")[2]
        drops = [str(drop) for (drop,) in connection.execute(command.removesuffix(" \\gexec").encode()).fetchall()]
        # One by one, as psql runs them, would take longer.
        for first in range(0, len(drops), 200):
            connection.execute("; ".join(drops[first : first + 200]).encode())
        assert number not in temporary.left_numbers(connection)


def test_a_session_is_not_used_if_another_one_holds_what_its_number_has_left(fresh_server: Server) -> None:
    """It would wait for that one. Once it need not wait, it drops the objects, and can be used."""
    with fresh_server.connect("admin", autocommit=True) as holding:
        with fresh_server.connect("transformer", autocommit=True) as connection:
            pid, number = connection.info.backend_pid, temporary.number(connection)
            connection.execute(MAKE)
        _wait_for_the_end(fresh_server, pid)
        # As if the session had not been able to drop it.
        holding.execute(f"create domain pg_temp_{number}.left_over as integer".encode())
        with holding.transaction():
            holding.execute(f"comment on domain pg_temp_{number}.left_over is 'held'".encode())
            with _session(fresh_server, number) as session:
                assert not temporary.is_usable(session)
        with _session(fresh_server, number) as session:
            assert temporary.is_usable(session)
            session.execute(MAKE)
            assert [(None,)] == holding.execute(f"select to_regtype('pg_temp_{number}.left_over')".encode()).fetchall()
