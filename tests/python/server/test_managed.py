"""
A managed server: its administrator may create roles and databases, but is not a superuser.

The administrator takes a project from `dpe bootstrap` to published tables once per version of PostgreSQL; the tests of this file share it.
The last ones back it up and restore it elsewhere, by the commands of docs/guides/backup.md.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from conftest import VERSIONS, numbers
from support import dbt_projects, guides
from support.demo_project import dpe_here
from support.long_tests import runs_long_tests
from support.shop import SHOP

from dpe_cli.access import grants
from dpe_cli.access.grants import AccessError
from dpe_cli.server.bootstrap import bootstrap_server
from dpe_cli.server.contexts import admin_context, system_context, tenant_context
from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.server.server import Server

DESK = "ua_desk"
# The shop, with a third source: a database, which is read from where the last extract ended. One table by tenant, one that is shared.
PROJECT = {
    **SHOP,
    "models/raw/_crm__sources.yml": """
        sources:
          - name: crm
            schema: raw
            tables:
              - name: customers
                external:
                  location: sqlite:///data/crm.sqlite
                  file_format: sql
                  table: customers
                  disposition: append
                  incremental: {cursor_path: changed_at, key: [customer]}
                config: {meta: {rls: {tenant_column: shop}}}
                columns: [{name: customer, data_type: text}, {name: shop, data_type: text}, {name: changed_at, data_type: date}]
        """,
    "models/finance/dim_customers.sql": "select customer, shop, changed_at from {{ source('crm', 'customers') }}",
    "models/finance/_customers__models.yml": """
        models:
          - name: dim_customers
            config: {meta: {rls: {tenant_column: shop}}}
            columns: [{name: customer, data_type: text}, {name: shop, data_type: text}, {name: changed_at, data_type: date}]
        """,
}
CUSTOMERS = """
    create table customers (customer text, shop text, changed_at text);
    insert into customers values ('Ada', 'UA', '2024-01-01'), ('Bob', 'HA', '2024-01-02');
"""
ORDERS_OF_UA, ORDERS, SHOPS = 2, 3, 2
# The guide's `dpe run`, without the docs site, which takes as long as a build.
SMALL_RUN = 'dpe() { if [ "$*" = run ]; then command dpe run --no-docs; else command dpe "$@"; fi; }\n'


@dataclass(frozen=True)
class Managed:
    """A managed server with the project; `embedded` starts and stops it. The administrator bootstrapped it and ran the project."""

    embedded: EmbeddedServer
    server: Server
    directory: Path
    bootstrapped: subprocess.CompletedProcess[str]
    first_run: subprocess.CompletedProcess[str]

    @property
    def superuser(self) -> Server:
        """The server as its provider reaches it."""
        return replace(self.server, admin_user="postgres")

    def dpe(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run dpe in the project as the administrator."""
        return dpe_here(self.directory, self.server, *arguments)


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
    """Go from an empty server to published tables of the project, as its administrator."""
    name = f"managed-{request.param}-{next(numbers)}"
    embedded = start(scratch / name, request.param)
    server = Server(str(embedded.socket_dir), embedded.port, "warehouse", "manager", is_embedded=False)
    directory = dbt_projects.make(scratch / f"{name}-project", PROJECT)
    with closing(sqlite3.connect(directory / "data" / "crm.sqlite")) as customers:
        customers.executescript(CUSTOMERS)
    try:
        with replace(server, database="postgres").connect("postgres", autocommit=True) as connection:
            connection.execute("create role manager login createrole createdb")
        with replace(server, database="postgres").connect("admin", autocommit=True) as connection:
            connection.execute("create database warehouse")
        bootstrapped = dpe_here(directory, server, "bootstrap")
        first_run = dpe_here(directory, server, "run", "--no-docs")
        yield Managed(embedded, server, directory, bootstrapped, first_run)
    finally:
        embedded.stop()


def test_the_project_is_published(managed: Managed) -> None:
    """CREATEROLE and ownership of the database are enough to bootstrap and to run; a second bootstrap changes nothing."""
    assert (0, True) == (managed.bootstrapped.returncode, " created, 0 already there" in managed.bootstrapped.stdout), managed.bootstrapped
    assert (0, "DPE SUCCESS") == (managed.first_run.returncode, managed.first_run.stdout.splitlines()[-1]), managed.first_run
    assert [] == bootstrap_server(managed.server).created


def test_the_administrator_opens_each_context(managed: Managed) -> None:
    """It acts as an administrator, as the pipeline, and as one tenant."""
    orders = "select count(*) from finance.fct_orders"
    with managed.server.connect("admin") as connection:
        with admin_context(connection, "manager"):
            assert (ORDERS,) == connection.execute(orders).fetchone()
        with system_context(connection, actor="test"):
            assert ("dpe_transformer",) == connection.execute("select current_user::text").fetchone()
        with tenant_context(connection, "UA"):
            assert (ORDERS_OF_UA,) == connection.execute(orders).fetchone()


def test_it_grants_access_and_proves_it(managed: Managed) -> None:
    """`dpe access` makes a login that it created a reader; the checks find nothing wrong, and the matrix measures every role."""
    with managed.server.connect("admin", autocommit=True) as connection:
        connection.execute(f"create role {DESK} login; create role {DESK}_masked login".encode())
    granted = managed.dpe("access", "grant", DESK, "UA")
    assert 0 == granted.returncode, granted.stderr
    grants.grant(managed.server, f"{DESK}_masked", ["HA"], until=None, actor="manager", masked=True)
    with managed.server.connect(DESK) as connection:
        assert (ORDERS_OF_UA,) == connection.execute("select count(*) from finance.fct_orders").fetchone()

    checked = managed.dpe("rls", "check", "--output", "json")
    # Only a superuser can create the event trigger.
    findings = {(finding["check_id"], finding["severity"]) for finding in json.loads(checked.stdout)["findings"]}
    assert (0, {("RLS069", "warning")}) == (checked.returncode, findings), checked.stdout
    measured = managed.dpe("rls", "matrix", "--login", DESK, "--output", "json")
    assert 0 == measured.returncode, measured.stdout + measured.stderr
    seen = {(cell["relation"], cell["actor"]): cell["rows"] for cell in json.loads(measured.stdout)["cells"]}
    actors = ("everybody", "a stranger", "a masked stranger", DESK, "an auditor", "an administrator")
    assert (None, 0, 0, ORDERS_OF_UA, None, ORDERS) == tuple(seen["finance.fct_orders", actor] for actor in actors)
    assert (None, *[SHOPS] * 3, None, SHOPS) == tuple(seen["finance.dim_shops", actor] for actor in actors)


def test_a_role_of_someone_else_cannot_be_measured(managed: Managed) -> None:
    """The administrator may not act as it; the error says what to do."""
    if managed.embedded.bin_dir.parent.name == "15":
        pytest.skip("before PostgreSQL 16, CREATEROLE allows an administrator to become any role that is not a superuser")
    with managed.superuser.connect("admin", autocommit=True) as connection:
        connection.execute("create role foreign_desk login in role dpe_reader")
        refused = managed.dpe("rls", "matrix", "--login", "foreign_desk")
        connection.execute("drop role foreign_desk")
    assert 1 == refused.returncode, refused.stdout
    assert re.search('manager: may not act as foreign_desk .*, or run `grant "foreign_desk" to "manager"` as the', refused.stderr), (
        refused.stderr
    )


@dataclass(frozen=True)
class Restored:
    """What the commands of the guide made: another server with the same database. `backup` printed what they did."""

    server: Server
    backup: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def restored(managed: Managed, scratch: Path) -> Iterator[Restored]:
    """Restore the database in a new PostgreSQL 18: from 15 as a superuser, from 18 as an administrator who is not one."""
    is_upgrade = managed.embedded.bin_dir.parent.name == "15"
    if not runs_long_tests():
        pytest.skip("takes long; `make compatibility` runs it, and test_backup.py does the same with a smaller project")
    heading, user = ("As a superuser", "postgres") if is_upgrade else ("On a managed server", "manager")
    embedded = start(scratch / f"restored-{next(numbers)}", "18")
    with managed.superuser.connect("admin", autocommit=True) as connection:
        connection.execute("create role dropped_desk")
        connection.execute("insert into dpe.tenant_access values ('dropped_desk', 'HA')")
        connection.execute("drop role dropped_desk")
        connection.execute("alter database warehouse set work_mem = '16MB'")
    try:
        server = Server(str(embedded.socket_dir), embedded.port, "warehouse", user, is_embedded=False)
        if not is_upgrade:
            with replace(server, database="postgres").connect("postgres", autocommit=True) as connection:
                connection.execute("create role manager login createrole createdb")
        variables = {"OLD": managed.server.host, "NEW": server.host, "PGPORT": str(server.port)}
        said = guides.commands("backup.md", heading)
        backup = guides.run(SMALL_RUN + said, managed.directory, programs=embedded.bin_dir, variables=variables)
        yield Restored(server, backup)
    finally:
        embedded.stop()


# What belongs to the database, and is not in it: privileges, settings, and privileges of what is created later.
OF_DATABASE = """
    select datname, privileges.grantee::regrole::text, string_agg(privileges.privilege_type, ' ' order by privileges.privilege_type), setconfig::text
    from pg_database
    cross join lateral aclexplode(datacl) as privileges
    left join pg_db_role_setting on setdatabase = pg_database.oid
    where datname = current_database()
    group by datname, privileges.grantee, setconfig
    union all
    select 'by default', defaclrole::regrole::text, defaclobjtype::text, defaclacl::text
    from pg_default_acl
    order by 1, 2
"""


def rows(server: Server) -> dict[str, int]:
    """Count the rows of each table of the database, as a superuser, so that no policy hides one."""
    tables = "select oid::regclass::text from pg_class where relkind = 'r' and relnamespace::regnamespace::text !~ '^(pg_|information_)'"
    with replace(server, admin_user="postgres").connect("admin") as connection:
        names = [str(name) for (name,) in connection.execute(tables.encode())]
        counts = {name: connection.execute(f"select count(*) from {name}".encode()).fetchone() for name in names}
    return {name: int(count[0]) for name, count in counts.items() if count}


def test_a_backup_is_restored_elsewhere_by_the_commands_of_the_guide(managed: Managed, restored: Restored) -> None:
    """Each of them succeeds, `dpe rls check` and the next `dpe run` included, and no row is lost, in slices of staging neither."""
    assert 0 == restored.backup.returncode, restored.backup.stdout + restored.backup.stderr
    # Only a superuser can create the event triggers, which a managed server lacks.
    found_nothing = " checks found nothing" if restored.server.admin_user == "postgres" else " checks: 0 errors, 2 warnings"
    for said in ("The database was restored from a dump.", found_nothing, "7 rows in 3 staging tables match the ledger", "\nDPE SUCCESS\n"):
        assert said in restored.backup.stdout, restored.backup.stdout
    before, after = rows(managed.server), rows(restored.server)
    kept = {name: count for name, count in before.items() if name.startswith(("raw.", "finance.", "dpe.tenant_access"))}
    assert any("__" in name for name in kept)
    assert kept == {name: after.get(name) for name in kept}
    with managed.superuser.connect("admin") as old, restored.server.connect("admin") as new:
        expected = old.execute(OF_DATABASE.encode()).fetchall()
        assert {"dpe_transformer", "dpe_loader", "dpe_owner"} <= {grantee for _, grantee, _, _ in expected}
        assert expected == new.execute(OF_DATABASE.encode()).fetchall()


def test_a_restored_database_grants_as_before(restored: Restored) -> None:
    """The access list holds by role name; the entry of a dropped role was removed before the dump, which would name it by a number."""
    with restored.server.connect(DESK) as connection:
        assert (ORDERS_OF_UA,) == connection.execute("select count(*) from finance.fct_orders").fetchone()
    with restored.server.connect("admin") as connection, admin_context(connection, "test"):
        assert 0 == connection.execute("select from dpe.tenant_access where role_name not in (select oid from pg_roles)").rowcount


def test_after_an_upgrade_from_15_the_administrator_gets_its_rights_back(managed: Managed, restored: Restored) -> None:
    """By the statements of the guide, because since PostgreSQL 16 CREATEROLE does not extend to roles that others created."""
    if restored.server.admin_user == "manager":
        pytest.skip("the administrator created the roles on the new server")
    server = replace(restored.server, admin_user="manager")
    with server.connect("admin", autocommit=True) as connection:
        connection.execute("create role ha_desk login")
    with pytest.raises(AccessError, match="manager is not allowed to make it one; run `grant dpe_reader to ha_desk` as a superuser"):
        grants.grant(server, "ha_desk", ["HA"], until=None, actor="manager")

    with restored.server.connect("admin", autocommit=True) as connection:
        connection.execute(guides.commands("backup.md", "Upgrade PostgreSQL", "sql").encode())

    grants.grant(server, "ha_desk", ["HA"], until=None, actor="manager")
    measured = dpe_here(managed.directory, server, "rls", "matrix", "--login", "ha_desk")
    assert 0 == measured.returncode, measured.stdout + measured.stderr
