"""No session of the pipeline searches a schema where others may create: a function there could be called instead of PostgreSQL's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from support import dbt_projects, schemas

from dpe_cli.access import checks
from dpe_cli.errors import BuildError
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.contexts import system_context
from dpe_cli.server.server import Server

CALL = "select to_char(time '10:30', 'HH24') as hour"
# PostgreSQL itself has to_char(interval, text) for this call; one for time is a better match.
TRAP = """
    create table public.loot (who text);
    grant all on public.loot to public;
    create function public.to_char(time, text) returns text language plpgsql volatile as $$
    begin
        insert into public.loot values (current_user);
        return pg_catalog.to_char($1::interval, $2);
    end $$
"""
NAMED_LIKE_A_LOGIN = [
    ("admin", "postgres", "dpe_transformer"),
    ("loader", "dpe_loader", "dpe_transformer"),
    ("transformer", "dpe_transformer", "dpe_loader"),
]
PROJECT = {
    "models/core/int_hours.sql": CALL,
    "tests/singular/hours_are_early.sql": "{{ config(severity='warn') }} select hour from {{ ref('int_hours') }} where hour > "
    "to_char(time '08:00', 'HH24')",
}


@pytest.fixture
def trapped(server: Server, reader: Callable[..., str]) -> Iterator[Server]:
    """Give a database in which every role may create in public, as before PostgreSQL 15, and a reader has done so."""
    with server.connect("admin", autocommit=True) as connection:
        connection.execute("grant create on schema public to public")
        connection.execute(sql.SQL("set role {}").format(sql.Identifier(reader(server, "UA"))))
        connection.execute(TRAP.encode())
    yield server
    with server.connect("admin", autocommit=True) as connection:
        assert [] == connection.execute("select distinct who from public.loot").fetchall()


@pytest.mark.parametrize("role", ["admin", "loader", "transformer"])
def test_a_function_of_a_reader_is_not_called_by_dpe(trapped: Server, role: str) -> None:
    """Not by any of its sessions, above all not by the administrator's."""
    with trapped.connect(role) as connection:
        assert ("10",) == connection.execute(CALL).fetchone()


@pytest.mark.parametrize(("role", "schema", "author"), NAMED_LIKE_A_LOGIN)
def test_a_schema_named_like_a_login_is_not_searched(server: Server, role: str, schema: str, author: str) -> None:
    """Though "$user" refers to it: a hook may create one, with a function that is a better match than PostgreSQL's own."""
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(f"create schema {schema}; {TRAP.replace('public.', f'{schema}.')}".encode())
        connection.execute(f"grant usage on schema {schema} to public; alter schema {schema} owner to {author}".encode())
    with server.connect(role) as connection:
        assert ("10",) == connection.execute(CALL).fetchone()
        assert ("pg_catalog, pg_temp",) == connection.execute("select current_setting('search_path')").fetchone()
    with server.connect("admin") as connection:
        assert ("public, pg_temp",) == connection.execute("select dpe.safe_search_path(array[%s, 'public'])", [schema]).fetchone()
        found = [finding for finding in checks.check(connection, ["finance"]) if finding.check_id == "RLS058"]
        assert [(schema, "error")] == [(finding.subject, finding.severity) for finding in found]


def test_a_temporary_view_does_not_blind_the_checks(server: Server) -> None:
    """What a model's code leaves in a session has the names of PostgreSQL's catalog, but the checks do not read it."""
    schemas.create(server, "finance", opened=True)
    with server.connect("transformer", autocommit=True) as connection:
        connection.execute("create table finance.open as select 1 as shop; grant select on finance.open to dpe_reader")
        connection.execute("create temp view pg_class as select * from pg_catalog.pg_class where relname <> 'open'")
        assert ["finance.open"] == [finding.subject for finding in checks.check(connection, ["finance"]) if finding.check_id == "RLS001"]


def test_a_function_of_a_reader_is_not_called_by_dbt(trapped: Server, tmp_path: Path) -> None:
    """Neither when it builds or tests, nor when a test's failing rows are stored."""
    project = Project(dbt_projects.make(tmp_path / "hours", PROJECT))

    results = run_dbt(project, trapped, ["build"])

    assert ["success", "warn"] == [result.status for result in results]
    with trapped.connect("transformer") as connection, system_context(connection, actor="test"):
        assert [({"hour": "10"},)] == connection.execute("select failing_row from dpe.rule_failures").fetchall()


def test_a_session_that_searches_such_a_schema_is_refused_by_dbt(trapped: Server, tmp_path: Path) -> None:
    """Before it builds anything: only part of this shell's variables are those of `dpe env`."""
    directory = dbt_projects.make(tmp_path / "hours", PROJECT)
    options = f"-c dpe.actor=dbt -c dpe.project={trapped.project} -c dpe.target={trapped.target}"
    variables = {**os.environ, **trapped.environment(), "PGOPTIONS": options, "DBT_PROFILES_DIR": str(directory)}

    done = subprocess.run(
        [Path(sys.executable).with_name("dbt"), "build"], cwd=directory, env=variables, check=False, capture_output=True, text=True
    )

    assert done.returncode != 0
    assert "public: others may create functions in this schema" in done.stdout


def test_schemas_of_administrators_are_searched(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """By dbt: names of extensions are found as before, even if their schema has to be quoted; others' schemas are omitted."""
    with server.connect("admin", autocommit=True) as connection:
        connection.execute('create schema "of extensions"; create schema "of dpe" authorization dpe_owner')
        connection.execute("create role somebody; create schema of_somebody authorization somebody")
        connection.execute("create schema of_many; grant create on schema of_many to somebody")
        connection.execute('grant usage on schema "of extensions", "of dpe", of_somebody, of_many to dpe_loader, dpe_transformer')
    monkeypatch.setenv("PGOPTIONS", r'-c search_path="of\ extensions",of_somebody,public,of_many,"of\ dpe" -c statement_timeout=7s')
    try:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        # Connections of dbt, and of dpe in such a shell.
        for connected, path in (
            (psycopg.connect(), '"of extensions", public, "of dpe", pg_temp'),
            (server.connect("loader"), "pg_catalog, pg_temp"),
        ):
            with connected as connection:
                found = connection.execute("select current_setting('search_path'), current_setting('statement_timeout')").fetchone()
                assert (path, "7s") == found
    finally:
        with server.connect("admin", autocommit=True) as connection:
            connection.execute("drop owned by somebody; drop role somebody")


def test_a_database_that_is_not_bootstrapped_is_reported(server: Server, tmp_path: Path) -> None:
    """Also one that an older dpe has bootstrapped."""
    with server.connect("admin", autocommit=True) as connection:
        connection.execute("drop function dpe.safe_search_path; drop function dpe.open_schemas")

    with pytest.raises(BuildError, match="the database is not bootstrapped for this version of dpe; run `dpe bootstrap`"):
        run_dbt(Project(dbt_projects.make(tmp_path / "hours", PROJECT)), server, ["build"])


@pytest.mark.parametrize("role", ["admin", "loader", "transformer"])
def test_code_that_a_query_calls_replaces_no_statement(server: Server, role: str) -> None:
    """However often dpe repeats a query: a named statement in its session could be replaced, and would run with its rights."""
    with server.connect(role) as connection:
        connection.execute(
            """
            create function pg_temp.meddle() returns void language plpgsql as $$
            declare
                prepared text;
            begin
                for prepared in select name from pg_prepared_statements loop
                    execute format('deallocate %I', prepared);
                    execute format('prepare %I (text) as select ''meddled with''', prepared);
                end loop;
            end $$
            """
        )
        for _ in range(10):
            assert [("asked",)] == connection.execute("select %s from pg_temp.meddle()", ["asked"]).fetchall()
