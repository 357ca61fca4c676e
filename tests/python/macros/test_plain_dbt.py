"""Plain dbt in a shell without the variables of `dpe env`: it builds nothing, and the first thing that it says is what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cluster, numbers
from dbt.cli.main import dbtRunner
from psycopg import sql
from support import dbt_projects
from support.long_tests import LONG, pairs

from dpe_cli.pipeline import run
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.project.project import Project
from dpe_cli.server.server import Server

# What dbt writes before a message of a hook; the message itself begins with what to do.
FIRST = re.compile(
    r"(Runtime Error\n\s*)?Compilation Error in (operation|macro) [^\n]+\n\s*run `dpe dbt …` instead of `dbt …`, or `eval \"\$\(dpe env\)\"` first"
)
PROJECT = {
    "models/finance/totals.sql": "select 1 as amount",
    "models/finance/_finance__models.yml": """
        models:
          - name: totals
            config: {meta: {rls: {shared: true}}}
            columns: [{name: amount, data_type: integer, data_tests: [not_null]}]
        """,
    "models/finance/_sources.yml": """
        sources:
          - {name: raw, schema: raw, tables: [{name: orders}]}
        """,
    "models/core/raw_orders.sql": "select * from {{ source('raw', 'orders') }}",
    "seeds/shops.csv": "shop\nHA\n",
    "snapshots/kept.yml": """
        snapshots:
          - name: kept
            relation: ref('totals')
            config: {unique_key: amount, strategy: check, check_cols: all}
        """,
}
COMMANDS = ("build", "run", "test", "seed", "snapshot", "docs generate")
STRANGER, TRANSFORMER, ADMINISTRATOR = "a stranger", "dbt's login", "an administrator"


@pytest.fixture(scope="module")
def built(cluster_18: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Server, str]]:
    """Give a project that dpe has run, its server, and the name of a login that is not dpe's."""
    directory = dbt_projects.make(tmp_path_factory.mktemp("plain"), PROJECT)
    stranger = f"stranger_{next(numbers)}"
    with cluster_18.new_database() as server:
        with server.connect("admin", autocommit=True) as connection:
            connection.execute(sql.SQL("create role {} login").format(sql.Identifier(stranger)))
            connection.execute("create schema raw; create table raw.orders as select 1 as order_id")
            connection.execute("grant usage on schema raw to dpe_transformer; grant select on raw.orders to dpe_transformer")
        assert run.run(Project(directory), server, (), (), dbt_projects.Silence(), RunOptions(documents=False)).holds
        yield directory, server, stranger
        with server.connect("admin", autocommit=True) as connection:
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(stranger)))


def _dbt(built: tuple[Path, Server, str], patch: pytest.MonkeyPatch, session: str, command: str, options: str | None = None) -> str:
    """Run dbt in a shell without dpe's variables, or only with some PGOPTIONS, and return what it says first."""
    directory, server, stranger = built
    users = {STRANGER: stranger, TRANSFORMER: "dpe_transformer", ADMINISTRATOR: server.admin_user}
    for name, value in {**server.environment(), "PGUSER": users[session], "PGOPTIONS": options or ""}.items():
        patch.setenv(name, value)
    places = ["--project-dir", str(directory), "--profiles-dir", str(directory)]
    outcome = dbtRunner().invoke([*command.split(), *places, "--log-level", "none"])
    assert not outcome.success
    return str(outcome.exception).strip()


@pytest.mark.parametrize(("session", "command"), pairs([STRANGER, TRANSFORMER], COMMANDS))
def test_plain_dbt_says_first_what_to_do(
    built: tuple[Path, Server, str], monkeypatch: pytest.MonkeyPatch, session: str, command: str
) -> None:
    """However dbt is started, and whoever it connects as."""
    message = _dbt(built, monkeypatch, session, command)

    assert FIRST.match(message), message


def test_another_login_is_told_the_same(built: tuple[Path, Server, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The session may work for the project, as another role than dpe's macros need."""
    message = _dbt(built, monkeypatch, STRANGER, "build", "-c dpe.project=shops -c dpe.target=dev")

    assert FIRST.match(message), message
    assert f"dbt is connected as {built[2]}, and dpe's macros need dpe_transformer" in message


@pytest.mark.parametrize("session", [STRANGER, pytest.param(TRANSFORMER, marks=LONG), pytest.param(ADMINISTRATOR, marks=LONG)])
def test_plain_dbt_creates_no_schema(built: tuple[Path, Server, str], monkeypatch: pytest.MonkeyPatch, session: str) -> None:
    """It creates the missing ones before it calls any hook, and dpe_transformer could not use that of another role."""
    directory, server, _ = built
    with server.connect("admin", autocommit=True) as connection:
        connection.execute("drop schema finance cascade")
        message = _dbt(built, monkeypatch, session, "run")
        assert FIRST.match(message), message
        assert [(None,)] == connection.execute("select to_regnamespace('finance')").fetchall()
    assert run.run(Project(directory), server, (), (), dbt_projects.Silence(), RunOptions(documents=False)).holds
