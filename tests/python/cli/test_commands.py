"""`dpe db`, `bootstrap`, `env` and `dbt`, as a person runs them at a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from support.demo_project import run_here
from support.result_schemas import check, command_of

from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.server.server import Server

PROFILES = """
dpe:
  target: dev
  outputs:
    dev: &dev
      type: postgres
      host: "{{ env_var('PGHOST') }}"
      port: "{{ env_var('PGPORT') | int }}"
      dbname: "{{ env_var('PGDATABASE') }}"
      user: "{{ env_var('PGUSER') }}"
      password: ""
      schema: core
    prod:
      <<: *dev
      schema: production
"""

Dpe = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def project(scratch: Path) -> Iterator[Path]:
    """Make an empty dbt project, and stop its server at the end."""
    directory = scratch / "a project"
    directory.mkdir()
    (directory / "dbt_project.yml").write_text("name: dpe\nprofile: dpe\n")
    (directory / "profiles.yml").write_text(PROFILES)
    yield directory
    EmbeddedServer(directory / ".dpe" / "postgres").stop()


@pytest.fixture
def dpe(project: Path) -> Dpe:
    """Run dpe in the project."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        if "dbt" in arguments:
            # It gives its process to dbt.
            variables = os.environ | {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false"} | environment
            program = [sys.executable, "-m", "dpe_cli", *arguments]
            return subprocess.run(program, capture_output=True, text=True, cwd=project, env=variables, check=False)
        done = run_here(project, *arguments, **environment)
        if "json" in arguments:
            check(command_of(arguments), json.loads(done.stdout))
        return done

    return run


def test_the_server_is_started_inspected_and_stopped(dpe: Dpe, project: Path) -> None:
    """Status is right at each step, with an exit status for scripts."""
    assert 1 == dpe("db", "status").returncode
    assert not (project / ".dpe").exists()

    started = dpe("db", "start")
    assert (0, "") == (started.returncode, started.stderr)
    assert "The embedded PostgreSQL was started." in started.stdout
    assert "was already running" in dpe("db", "start").stdout
    assert {"is_running": True, "is_embedded": True, "session_count": 0}.items() <= json.loads(
        dpe("db", "status", "--output", "json").stdout
    ).items()

    assert "was stopped" in dpe("db", "stop").stdout
    assert {"stopped": False} == json.loads(dpe("db", "stop", "--output", "json").stdout)
    assert {"is_running": False, "is_embedded": True} == json.loads(dpe("--output", "json", "db", "status").stdout)


def test_the_url_is_that_of_a_running_server(dpe: Dpe) -> None:
    """Any command that needs the server starts it; only the URL is printed."""
    dpe("db", "stop")

    url = dpe("db", "url").stdout.removesuffix("\n")

    with psycopg.connect(url) as connection:
        assert ("postgres", "dpe") == connection.execute("select session_user::text, current_database()::text").fetchone()


def test_bootstrap_reports_what_it_did(dpe: Dpe, server: Server) -> None:
    """On any server, from anywhere; existing objects are kept."""
    environment = {"PGHOST": server.host, "PGDATABASE": server.database, "PGUSER": "postgres"}

    again = dpe("bootstrap", **environment)
    assert 0 == again.returncode
    assert f"database {server.database}: nothing created, " in again.stdout

    with server.connect("admin", autocommit=True) as connection:
        connection.execute("drop policy auditor_reads on dpe.loads")
    assert ["policy auditor_reads on dpe.loads"] == json.loads(dpe("bootstrap", "--output", "json", **environment).stdout)["created"]


def test_a_bootstrap_counts_what_it_created(dpe: Dpe, server: Server) -> None:
    """Per kind; --verbose shows the names, and JSON has them."""
    environment = {"PGHOST": server.host, "PGDATABASE": server.database, "PGUSER": "postgres"}
    policies = ["auditor_reads on dpe.loads", "auditor_reads on dpe.extracts"]
    shown = []
    for options in ((), ("--verbose",)):
        with server.connect("admin", autocommit=True) as connection:
            for policy in policies:
                connection.execute(f"drop policy {policy}".encode())
        shown.append(dpe("bootstrap", *options, **environment).stdout)

    assert [True, True] == ["2 things created, " in text for text in shown]
    assert ["Created", "policy  2"] == shown[0].splitlines()[2:4]
    assert [False, True] == ["auditor_reads on dpe.extracts" in text for text in shown]


def test_the_exports_are_for_a_shell(dpe: Dpe, project: Path) -> None:
    """A shell that evaluates them can run dbt, even if the path contains a space."""
    exports = dpe("env", DPE_TRANSFORMER_PASSWORD="hush").stdout
    script = f'{exports}\necho "$PGHOST|$PGUSER|$PGOPTIONS"'

    options = (
        "-c dpe.actor=dbt -c dpe.project=dpe -c dpe.target=dev -c search_path=public,\\ pg_temp -c deadlock_timeout=60s -c lock_timeout=600s "
        "-c standard_conforming_strings=on -c quote_all_identifiers=off -c client_encoding=UTF8"
    )
    assert f"{project}/.dpe/postgres/socket|dpe_transformer|{options}\n" == subprocess.check_output(["sh", "-c", script], text=True)
    assert "hush" not in exports
    assert "dpe_transformer" == json.loads(dpe("env", "--output", "json").stdout)["PGUSER"]


def test_an_unbootstrapped_server_is_refused(dpe: Dpe, server: Server) -> None:
    """The message names the command."""
    done = dpe("env", PGHOST=server.host, PGDATABASE="postgres")

    assert 1 == done.returncode
    assert "database postgres is not bootstrapped for this version of dpe; run `dpe bootstrap`" in done.stderr


def test_dbt_runs_with_the_connection_and_the_options_set(dpe: Dpe) -> None:
    """
    As the transformer, on the project's server.

    `dpe --target prod dbt …` and `dpe dbt … --target prod` are the same, also for the ledger, and dbt's exit status is ours.
    """
    inline = [
        "show",
        "--inline",
        "select '{{ target.schema }}-{{ var(\"a\") }}-' || dpe.target() as given, current_user as who, dpe.actor() as actor",
    ]

    before = dpe("--target", "prod", "--vars", "{a: 1}", "dbt", "--quiet", *inline)
    after = dpe("--vars", "{a: 1}", "dbt", "--quiet", *inline, "--target", "prod")
    assert [True, True] == ["| production-1-prod | dpe_transformer | dbt   |" in done.stdout for done in (before, after)], before.stdout
    assert 2 == dpe("dbt", "--quiet", *inline, "--target", "nonsense").returncode


def test_help_after_dbt_is_dbts(dpe: Dpe) -> None:
    """And needs no server."""
    dpe("db", "stop")

    assert "Usage: dbt build" in dpe("dbt", "build", "--help").stdout
    without = dpe("dbt")
    assert "Usage: dbt [OPTIONS] [COMMAND]" in without.stdout + without.stderr
    assert "Error" not in without.stderr
    assert 1 == dpe("db", "status").returncode
