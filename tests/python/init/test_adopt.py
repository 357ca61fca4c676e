"""`dpe init --here` adopts an existing dbt project, shaped like real ones (tests/python/init/existing), without guessing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import Cluster
from psycopg import sql
from support import demo_project

from dpe_cli.server.server import Server

EXISTING = Path(__file__).with_name("existing")
# The programs of this environment.
PROGRAMS = Path(sys.executable).parent
ANSWERS = ("--rls", "fct_orders=country", "--rls", "revenue_by_country=shared", "--readers", "dev")


@dataclass(frozen=True)
class Warehouse:
    """A copy of the project, built by plain dbt as the role `analytics`, whose tables the role `dashboard` reads."""

    directory: Path
    server: Server
    variables: Mapping[str, str]

    def init(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `dpe init --here`, in a shell as it was before dpe."""
        return self.run(sys.executable, "-m", "dpe_cli", "init", "--here", *arguments)

    def plan(self, *arguments: str) -> dict[str, object]:
        """Return the plan as JSON."""
        ran = self.init("--output", "json", *arguments)
        assert 0 == ran.returncode, ran.stdout + ran.stderr
        return json.loads(ran.stdout)  # type: ignore[no-any-return]

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project."""
        environment = {**os.environ, **self.variables, **variables}
        return subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True, check=False)

    def rows(self) -> dict[str, int]:
        """Count the rows of all relations in the schemas of the project."""
        with self.server.connect("admin") as connection:
            names = connection.execute(
                "select schemaname, tablename from pg_tables where schemaname like 'dbt\\_dev%%' and schemaname not like '%%\\_\\_%%'"
                " union select schemaname, viewname from pg_views where schemaname like 'dbt\\_dev%%' and schemaname not like '%%\\_\\_%%'"
            ).fetchall()
            return {
                f"{schema}.{name}": connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(schema, name))).fetchall()[
                    0
                ][0]
                for schema, name in names
            }

    def texts(self) -> dict[str, str]:
        """Return every file of the project, without what dbt and dpe keep for themselves."""
        return {
            str(path.relative_to(self.directory)): path.read_text()
            for path in sorted(self.directory.rglob("*"))
            if path.is_file() and not {".dpe", "dbt_packages", "target", "logs"} & set(path.relative_to(self.directory).parts)
        }


@pytest.fixture
def warehouse(cluster_18: Cluster, tmp_path: Path) -> Iterator[Warehouse]:
    """Load the sources with another tool into a database that does not know dpe, and build the project with plain dbt."""
    directory = tmp_path / "bicycles"
    shutil.copytree(EXISTING, directory)
    server = replace(cluster_18.template, database="bicycles", project="bicycles")
    with replace(server, database="postgres").connect("admin", autocommit=True) as connection:
        connection.execute("create role analytics login; create role dashboard login")
        connection.execute("create database bicycles owner analytics")
    with server.connect("analytics", autocommit=True) as connection:
        connection.execute((EXISTING / "warehouse.sql").read_text().encode())
    variables = {"WAREHOUSE_HOST": server.host, "WAREHOUSE_PORT": str(server.port), "WAREHOUSE_DATABASE": server.database}
    made = Warehouse(directory, server, variables)
    try:
        for command in ("deps", "build"):
            ran = made.run(str(PROGRAMS / "dbt"), command)
            assert 0 == ran.returncode, ran.stdout
        yield made
    finally:
        with replace(server, database="postgres").connect("admin", autocommit=True) as connection:
            connection.execute("drop database bicycles with (force)")
            connection.execute("drop role analytics, dashboard")


def _administer(server: Server, statements: object) -> None:
    assert isinstance(statements, list)
    with server.connect("admin", autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_an_existing_project_is_adopted(warehouse: Warehouse) -> None:
    """With three answers: `dpe run` and plain dbt pass, no row is lost, and every relation is protected."""
    before = warehouse.rows()
    done = warehouse.plan("--write", *ANSWERS)
    assert 0 == demo_project.dpe(warehouse.directory, warehouse.server, "bootstrap").returncode
    _administer(warehouse.server, done["statements"])

    ran = demo_project.dpe(warehouse.directory, warehouse.server, "run")

    assert (0, "DPE SUCCESS") == (ran.returncode, ran.stdout.rstrip().splitlines()[-1]), ran.stdout + ran.stderr
    assert before == warehouse.rows()
