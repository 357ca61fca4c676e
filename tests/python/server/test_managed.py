"""
A managed server: its administrator may create roles and databases, but is not a superuser.

A small pipeline is bootstrapped and run there once; the tests of this file share it. They run on each version of PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from conftest import VERSIONS, numbers
from support import dbt_projects
from support.shop import SHOP, Shop

from dpe_cli.access import grants
from dpe_cli.errors import ContextError
from dpe_cli.pipeline import protection
from dpe_cli.server.bootstrap import bootstrap_server
from dpe_cli.server.contexts import admin_context, system_context, tenant_context
from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.server.server import Server

DESK = "ua_desk"


@dataclass(frozen=True)
class Managed:
    """A managed server with the published pipeline; `embedded` starts and stops it, `superuser` is its provider."""

    embedded: EmbeddedServer
    shop: Shop

    @property
    def server(self) -> Server:
        """The server as its administrator reaches it."""
        return self.shop.server

    @property
    def superuser(self) -> Server:
        """The server as its provider reaches it."""
        return replace(self.server, admin_user="postgres")


def start(directory: Path, version: str) -> EmbeddedServer:
    """Start a new server of a version; it keeps nothing durably."""
    bin_dir = VERSIONS[version]
    if bin_dir is not None and not bin_dir.is_dir():
        pytest.skip(f"PostgreSQL {version} is not installed in {bin_dir}")
    embedded = EmbeddedServer(directory, bin_dir)
    embedded.start()
    with psycopg.connect(host=str(embedded.socket_dir), user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute("alter system set fsync = off")
        connection.execute("select pg_reload_conf()")
    return embedded


@pytest.fixture(scope="module", params=list(VERSIONS))
def managed(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Managed]:
    """Go from an empty server to published tables, as its administrator."""
    name = f"managed-{request.param}-{next(numbers)}"
    embedded = start(scratch / name, request.param)
    server = Server(str(embedded.socket_dir), embedded.port, "warehouse", "manager", is_embedded=False)
    try:
        with replace(server, database="postgres").connect("postgres", autocommit=True) as connection:
            connection.execute("create role manager login createrole createdb")
        with replace(server, database="postgres").connect("admin", autocommit=True) as connection:
            connection.execute("create database warehouse")
        report = bootstrap_server(server)
        assert [] == report.present
        shop = Shop(dbt_projects.make(scratch / f"{name}-shop", SHOP), server)
        first = shop.run()
        assert first.build.not_published is None, first
        yield Managed(embedded, shop)
    finally:
        embedded.stop()


def test_an_administrator_need_not_be_a_superuser(managed: Managed) -> None:
    """CREATEROLE and ownership of the database are enough for what was published, the second bootstrap and the contexts."""
    assert [1, 2, 3] == managed.shop.orders()
    assert [] == bootstrap_server(managed.server).created
    with managed.server.connect("admin") as connection:
        with admin_context(connection, "manager"):
            assert [("dpe_tenant", "*")] == connection.execute("select role_name::text, tenant_id from dpe.tenant_access").fetchall()
        with system_context(connection, actor="test"):
            assert ("dpe_transformer",) == connection.execute("select current_user::text").fetchone()
        with tenant_context(connection, "UA"):
            assert [(1,), (2,)] == connection.execute("select order_id from marts.fct_orders order by 1").fetchall()


def test_it_grants_access_and_proves_it(managed: Managed) -> None:
    """`dpe access` makes a login that it created a reader; the checks find nothing wrong, and the matrix measures every role."""
    with managed.server.connect("admin", autocommit=True) as connection:
        connection.execute(f"create role {DESK} login; create role {DESK}_masked login".encode())
    grants.grant(managed.server, DESK, ["UA"], until=None, actor="manager")
    grants.grant(managed.server, f"{DESK}_masked", ["HA"], until=None, actor="manager", masked=True)
    with managed.server.connect(DESK) as connection:
        assert [(1,), (2,)] == connection.execute("select order_id from marts.fct_orders order by 1").fetchall()

    found = protection.check_rls(managed.shop.project, managed.server)
    # Only a superuser can create the event trigger.
    assert {("RLS069", "warning")} == {(finding.check_id, finding.severity) for finding in found}, found
    cells = protection.measure_rls(managed.shop.project, managed.server, (), (DESK,), dbt_projects.Silence())
    assert [] == [fault for cell in cells for fault in cell.faults]
    seen = {cell.actor: cell.rows for cell in cells if cell.relation == "marts.fct_orders"}
    assert (None, 0, 0, 2, None, 3) == tuple(
        seen[actor] for actor in ("everybody", "a stranger", "a masked stranger", DESK, "an auditor", "an administrator")
    )


def test_a_role_of_someone_else_cannot_be_measured(managed: Managed) -> None:
    """The administrator may not act as it; the error says what to do."""
    if managed.embedded.bin_dir.parent.name == "15":
        pytest.skip("before PostgreSQL 16, CREATEROLE allows an administrator to become any role that is not a superuser")
    with managed.superuser.connect("admin", autocommit=True) as connection:
        connection.execute("create role foreign_desk login in role dpe_reader")
        with pytest.raises(
            ContextError, match='manager: may not act as foreign_desk .*, or run `grant "foreign_desk" to "manager"` as the'
        ):
            protection.measure_rls(managed.shop.project, managed.server, (), ("foreign_desk",), dbt_projects.Silence())
        connection.execute("drop role foreign_desk")
