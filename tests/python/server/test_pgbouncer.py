"""Through PgBouncer, clients share sessions: readers may, because policies ask for the role and the transaction; dpe and dbt may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from conftest import numbers
from support.pgbouncer import pgbouncer
from support.shop import Shop

from dpe_cli.errors import ServerError
from dpe_cli.server.connection import Connection
from dpe_cli.server.contexts import tenant_context
from dpe_cli.server.server import Server

ORDERS = "select order_id from finance.fct_orders order by 1"
CHOOSE = "select set_config('dpe.tenant_id', %s, true)"


def client(pooler: Server, login: str, *, prepare_threshold: int | None = None) -> Connection:
    """Connect as an application does."""
    parameters: dict[str, str | int] = {"host": pooler.host, "port": pooler.port, "dbname": pooler.database, "user": login}
    return psycopg.connect(**parameters, autocommit=True, prepare_threshold=prepare_threshold)  # type: ignore[arg-type]


def orders(connection: Connection) -> list[int]:
    """Return the ids of the orders that a client sees."""
    return [order for (order,) in connection.execute(ORDERS)]


def process(connection: Connection) -> object:
    """Return the session of PostgreSQL that a client's transaction gets."""
    return connection.execute("select pg_backend_pid()").fetchone()


@pytest.fixture
def directory(scratch: Path) -> Path:
    """Name a directory for a pooler's files that does not exist yet."""
    return scratch / f"pgbouncer-{next(numbers)}"


@pytest.fixture
def logins(shop: Shop, reader: Callable[..., str]) -> tuple[str, str, str]:
    """Create readers: of one shop, of the other, and an application that chooses."""
    return reader(shop.server, "UA"), reader(shop.server, "HA"), reader(shop.server, "*")


@pytest.fixture
def pooler(shop: Shop, logins: tuple[str, str, str], directory: Path) -> Iterator[Server]:
    """Give PgBouncer in transaction mode."""
    with pgbouncer(directory, shop.server, *logins) as pooler:
        yield pooler


def test_each_reader_sees_its_own_rows_through_it(pooler: Server, logins: tuple[str, str, str]) -> None:
    """PgBouncer logs in as each of them; the clients of one share a session, and see the same."""
    ua, ha, _ = logins
    with client(pooler, ua) as first, client(pooler, ua) as second, client(pooler, ha) as other:
        assert process(first) == process(second) != process(other)
        assert ([1, 2], [3], [1, 2]) == (orders(first), orders(other), orders(second))


def test_a_tenant_that_an_application_chooses_ends_with_its_transaction(pooler: Server, logins: tuple[str, str, str]) -> None:
    """Of two clients in one session, neither sees what the other has chosen; also with the contexts of dpe_cli."""
    *_, application = logins
    with client(pooler, application) as one, client(pooler, application) as another:
        with one.transaction():
            one.execute(CHOOSE, ["UA"])
            assert [1, 2] == orders(one)
        assert process(one) == process(another)
        assert ([], []) == (orders(one), orders(another))
        with tenant_context(another, "HA"):
            assert [3] == orders(another)
        assert ([], []) == (orders(one), orders(another))


def test_a_tenant_of_a_session_is_also_that_of_the_next_client(pooler: Server, logins: tuple[str, str, str]) -> None:
    """Of the same login, which may choose that tenant as well: the guide says to choose it for the transaction."""
    *_, application = logins
    with client(pooler, application) as one, client(pooler, application) as another:
        one.execute("set dpe.tenant_id = 'UA'")
        assert [1, 2] == orders(another)


def test_psycopg_has_to_be_told_to_prepare_nothing(pooler: Server, logins: tuple[str, str, str]) -> None:
    """A statement that one client prepared is in the way of the next one; with prepare_threshold=None, there are none."""
    *_, application = logins
    with client(pooler, application) as one, client(pooler, application) as another:
        assert [[]] * 20 == [orders(connection) for _ in range(10) for connection in (one, another)]
    with client(pooler, application, prepare_threshold=0) as one, client(pooler, application, prepare_threshold=0) as another:
        orders(one)
        with pytest.raises(psycopg.errors.DuplicatePreparedStatement):
            orders(another)


@pytest.mark.parametrize(
    ("mode", "ignores", "why"),
    [("transaction", "", r" \(it refuses PGOPTIONS\)"), ("transaction", "options", ""), ("session", "options", "")],
)
def test_dpe_refuses_a_pooler(shop: Shop, directory: Path, mode: str, ignores: str, why: str) -> None:
    """Whatever its mode, before it sets anything in a session that others use; so `dpe env` gives dbt no pooler, either."""
    with pgbouncer(directory, shop.server, "postgres", "dpe_loader", "dpe_transformer", mode=mode, ignores=ignores) as pooler:
        message = f"is a connection pooler, which may share a session among clients{why}; set PGHOST and PGPORT to PostgreSQL itself"
        for attempt in (pooler.environment, lambda: pooler.connect("admin"), lambda: replace(shop, server=pooler).run()):
            with pytest.raises(ServerError, match=message):
                attempt()
        with client(pooler, "postgres") as other:
            assert ('"$user", public',) == other.execute("show search_path").fetchone()
