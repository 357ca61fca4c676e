"""
A managed server: its administrator may create roles and databases, but is not a superuser.

The administrator takes the demo from `dpe bootstrap` to published tables once per version of PostgreSQL; the tests of this file share it.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from conftest import VERSIONS, numbers
from support import demo_project
from support.demo_project import WeatherApi, dpe

from dpe_cli.access import grants
from dpe_cli.server.bootstrap import bootstrap_server
from dpe_cli.server.contexts import admin_context, system_context, tenant_context
from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.server.server import Server

DESK = "jfk_desk"
# A part of the demo that loads in seconds, from its files, its API and its database: one table by tenant, and one that is shared.
SELECTION = ("+fct_departure_weather", "+dim_weather_stations")
HOURS_OF_JFK, HOURS, STATIONS = 6_935, 19_486, 3


@dataclass(frozen=True)
class Managed:
    """A managed server with the demo; `embedded` starts and stops it. The administrator bootstrapped it and ran the demo."""

    embedded: EmbeddedServer
    server: Server
    directory: Path
    api: WeatherApi
    bootstrapped: subprocess.CompletedProcess[str]
    first_run: subprocess.CompletedProcess[str]

    @property
    def superuser(self) -> Server:
        """The server as its provider reaches it."""
        return replace(self.server, admin_user="postgres")

    def dpe(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run dpe in the demo as the administrator."""
        return dpe(self.directory, self.server, *arguments, **self.api.variables)


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
    """Go from an empty server to published tables of the demo, as its administrator."""
    name = f"managed-{request.param}-{next(numbers)}"
    embedded = start(scratch / name, request.param)
    server = Server(str(embedded.socket_dir), embedded.port, "warehouse", "manager", is_embedded=False)
    directory = demo_project.copy(scratch / f"{name}-demo")
    try:
        with replace(server, database="postgres").connect("postgres", autocommit=True) as connection:
            connection.execute("create role manager login createrole createdb")
        with replace(server, database="postgres").connect("admin", autocommit=True) as connection:
            connection.execute("create database warehouse")
        with demo_project.weather_api(directory.with_name(f"{name}-api.log")) as api:
            bootstrapped = dpe(directory, server, "bootstrap")
            first_run = dpe(directory, server, "run", "--no-docs", *SELECTION, **api.variables)
            yield Managed(embedded, server, directory, api, bootstrapped, first_run)
    finally:
        embedded.stop()


def test_the_demo_is_published(managed: Managed) -> None:
    """CREATEROLE and ownership of the database are enough to bootstrap and to run; a second bootstrap changes nothing."""
    assert (0, True) == (managed.bootstrapped.returncode, " created, 0 already there" in managed.bootstrapped.stdout), managed.bootstrapped
    assert (0, "DPE SUCCESS") == (managed.first_run.returncode, managed.first_run.stdout.splitlines()[-1]), managed.first_run
    assert [] == bootstrap_server(managed.server).created


def test_the_administrator_opens_each_context(managed: Managed) -> None:
    """It acts as an administrator, as the pipeline, and as one tenant."""
    hours = "select count(*) from marts.fct_departure_weather"
    with managed.server.connect("admin") as connection:
        with admin_context(connection, "manager"):
            assert (HOURS,) == connection.execute(hours).fetchone()
        with system_context(connection, actor="test"):
            assert ("dpe_transformer",) == connection.execute("select current_user::text").fetchone()
        with tenant_context(connection, "JFK"):
            assert (HOURS_OF_JFK,) == connection.execute(hours).fetchone()


def test_it_grants_access_and_proves_it(managed: Managed) -> None:
    """`dpe access` makes a login that it created a reader; the checks find nothing wrong, and the matrix measures every role."""
    with managed.server.connect("admin", autocommit=True) as connection:
        connection.execute(f"create role {DESK} login; create role {DESK}_masked login".encode())
    granted = managed.dpe("access", "grant", DESK, "JFK")
    assert 0 == granted.returncode, granted.stderr
    grants.grant(managed.server, f"{DESK}_masked", ["LGA"], until=None, actor="manager", masked=True)
    with managed.server.connect(DESK) as connection:
        assert (HOURS_OF_JFK,) == connection.execute("select count(*) from marts.fct_departure_weather").fetchone()

    checked = managed.dpe("rls", "check", "--output", "json")
    # Only a superuser can create the event trigger.
    findings = {(finding["check_id"], finding["severity"]) for finding in json.loads(checked.stdout)["findings"]}
    assert (0, {("RLS069", "warning")}) == (checked.returncode, findings), checked.stdout
    measured = managed.dpe("rls", "matrix", "--login", DESK, "--output", "json")
    assert 0 == measured.returncode, measured.stdout + measured.stderr
    seen = {(cell["relation"], cell["actor"]): cell["rows"] for cell in json.loads(measured.stdout)["cells"]}
    actors = ("everybody", "a stranger", "a masked stranger", DESK, "an auditor", "an administrator")
    assert (None, 0, 0, HOURS_OF_JFK, None, HOURS) == tuple(seen["marts.fct_departure_weather", actor] for actor in actors)
    assert (None, *[STATIONS] * 3, None, STATIONS) == tuple(seen["marts.dim_weather_stations", actor] for actor in actors)


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
