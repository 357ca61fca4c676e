"""`dpe rls check` finds whatever makes protection weaker than what was declared; on what dbt builds it finds nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import dbt_projects
import psycopg
import pytest
from conftest import numbers
from protected_project import PROJECT

from dpe_cli import main, rls_check
from dpe_cli.app import App
from dpe_cli.bootstrap import bootstrap
from dpe_cli.dbt_runner import run_dbt
from dpe_cli.errors import UsageError
from dpe_cli.postgres import Server
from dpe_cli.project import Project
from dpe_cli.report import Report, show

SCHEMAS = ("dpe", "staging", "intermediate", "marts", "quality", "marts__next", "marts__previous")
READER = f"reader_of_checks_{next(numbers)}"
OUTSIDE = f"outside_{next(numbers)}"

# What an administrator may do in one statement or two, by mistake or not; and the check that has to find it.
MUTATIONS = {
    "alter table marts.fct_orders disable row level security": "RLS003",
    "create table marts.copied as select * from marts.fct_orders": "RLS001",
    "create table intermediate.copied as select * from marts.fct_orders": "RLS001",
    "alter table marts.fct_orders no force row level security": "RLS002",
    "alter table dpe.rejects no force row level security": "RLS002",
    "alter table marts.orders_history no force row level security": "RLS002",
    "alter table quality.large_orders no force row level security": "RLS002",
    "alter table dpe.rejects disable row level security": "RLS003",
    "alter table marts.orders disable row level security": "RLS003",
    "alter table quality.large_orders disable row level security": "RLS003",
    "drop policy dpe_system on quality.large_orders; drop policy dpe_admin on quality.large_orders": "RLS004",
    "create policy everybody on marts.fct_orders for select using (false)": "RLS005",
    "create policy everybody on dpe.rejects for select using (source = 'shop')": "RLS005",
    "alter policy dpe_reader on marts.fct_orders to public": "RLS005",
    "alter policy dpe_reader on marts.fct_orders using (true)": "RLS006",
    "alter policy dpe_reader on marts.orders_history using (true)": "RLS006",
    "create policy dpe_reader on marts.fct_margins for select to dpe_reader using (true)": "RLS006",
    "create policy more on dpe.loads for select to dpe_reader using (true)": "RLS006",
    "drop policy dpe_system on marts.fct_orders; create policy dpe_system on marts.fct_orders for all to dpe_transformer"
    " using ((select dpe.every_tenant_is_open()) or shop = any ((select dpe.visible_tenants())::text[]))": "RLS007",
    "alter policy dpe_system on marts.fct_orders with check (true)": "RLS008",
    "alter policy dpe_system on marts.dim_shops with check (true)": "RLS008",
    "create policy cheap on marts.fct_orders for select to dpe_reader using (amount < 15)": "RLS009",
    f"create policy friends on marts.fct_orders for select to {READER} using (shop = 'HA')": "RLS009",
    f"create policy friends on dpe.rule_failures for select to {READER} using (test_id <> '')": "RLS009",
    "alter policy dpe_reader on marts.fct_orders using (shop = any ((select dpe.visible_tenants())::text[]) or amount < 15)": "RLS010",
    "alter policy dpe_reader on marts.fct_orders using (shop is not null)": "RLS010",
    "alter policy dpe_reader on marts.fct_orders using (shop <> all ((select dpe.visible_tenants())::text[]))": "RLS010",
    "alter policy dpe_system on marts.fct_orders using ((select dpe.context_is_open()))": "RLS010",
    "alter policy dpe_system on marts.fct_orders using (shop = 'UA')": "RLS010",
    "alter policy dpe_admin on marts.fct_orders using (true)": "RLS010",
    "alter policy dpe_system on marts.dim_shops using (true)": "RLS010",
    "alter policy dpe_reader on marts.dim_shops using (false)": "RLS010",
    "alter policy dpe_system on marts.fct_orders with check ((select dpe.context_is_open()))": "RLS010",
    f"alter policy dpe_system on marts.fct_orders to dpe_transformer, {READER}": "RLS010",
    f"alter policy dpe_reader on marts.fct_orders to dpe_reader, {OUTSIDE}": "RLS010",
    "drop policy dpe_reader on marts.fct_orders": "RLS011",
    "drop policy dpe_admin on marts.fct_orders": "RLS011",
    "drop policy dpe_system on marts.fct_orders": "RLS011",
    "comment on policy dpe_system on marts.fct_orders is null": "RLS011",
    "create policy dpe_reader on marts.fct_margins for select to dpe_reader using (shop = 'UA')": "RLS012",
    "grant select on marts.fct_orders to public": "RLS013",
    "grant select (amount) on marts.fct_orders to public": "RLS013",
    "grant select on dpe.rejects to public": "RLS013",
    "grant usage on schema intermediate to public": "RLS013",
    "grant insert on marts.fct_orders to dpe_reader": "RLS014",
    f"grant update on marts.fct_orders to {READER}": "RLS014",
    "grant truncate on marts.dim_shops to dpe_reader": "RLS014",
    "grant references on marts.dim_shops to dpe_tenant": "RLS014",
    "grant insert on dpe.tenant_access to dpe_reader": "RLS014",
    "grant create on schema marts to dpe_reader": "RLS015",
    f"grant create on schema staging to {READER}": "RLS015",
    "grant select on marts.fct_margins to dpe_reader": "RLS016",
    "grant select on dpe.rule_failures to dpe_reader": "RLS016",
    f"grant select on quality.large_orders to {READER}": "RLS016",
    "grant select on staging.stg_orders to dpe_reader": "RLS016",
    "alter role dpe_reader bypassrls": "RLS017",
    "alter role dpe_transformer superuser": "RLS017",
    f"alter role {READER} bypassrls": "RLS017",
    "create role bypassing bypassrls; grant bypassing to dpe_reader": "RLS018",
    f"create role bypassing superuser; grant bypassing to {READER}": "RLS018",
    "create role bypassing bypassrls; create role between; grant bypassing to between; grant between to dpe_loader": "RLS018",
    f"grant dpe_transformer to {READER}": "RLS019",
    f"grant dpe_owner to {READER}": "RLS019",
    f"grant dpe_tenant to {READER}": "RLS019",
    "alter table marts.fct_orders alter column shop drop not null": "RLS020",
    "drop index {index}": "RLS021",
    "create unique index on marts.fct_orders (order_id)": "RLS022",
    "create policy narrow on marts.fct_orders as restrictive for select to dpe_reader"
    " using (shop <> (select current_setting('shop.hidden')))": "RLS023",
    "create function marts.setting() returns text language sql stable as $$ select current_setting('shop.hidden') $$": "RLS023",
    "alter policy dpe_reader on marts.fct_orders using (shop = any (dpe.visible_tenants()))": "RLS024",
    "create policy narrow on marts.fct_orders as restrictive for select to dpe_reader using (dpe.chosen_tenant() is null)": "RLS024",
    "alter view marts.orders_seen reset (security_invoker)": "RLS025",
    "alter view staging.stg_orders set (security_invoker = false)": "RLS025",
    "create view public.leak as select * from marts.fct_orders": "RLS025",
    "create materialized view marts.leak as select * from marts.fct_orders": "RLS026",
    "create materialized view public.leak as select * from marts.fct_orders": "RLS026",
    "create foreign data wrapper nowhere; create server nowhere foreign data wrapper nowhere;"
    " create foreign table marts.far (id integer) server nowhere": "RLS027",
    "create function marts.leak() returns bigint language sql security definer as $$ select count(*) from marts.fct_orders $$": "RLS028",
    "alter function dpe.visible_tenants() security definer reset search_path": "RLS028",
    "create function marts.leak() returns bigint language sql security definer set search_path = '' as"
    " $$ select count(*) from marts.fct_orders $$": "RLS029",
    "create table staging.parts (id integer) partition by list (id);"
    " create table staging.part partition of staging.parts for values in (1); grant select on staging.part to dpe_transformer": "RLS030",
    "alter default privileges for role dpe_transformer grant select on tables to dpe_reader": "RLS032",
    "alter default privileges for role dpe_transformer in schema marts grant select on tables to public": "RLS032",
    "alter role dpe_transformer set dpe.actor = 'always'": "RLS033",
    "alter role dpe_reader set row_security = off": "RLS033",
    "create publication everything for table marts.fct_orders": "RLS034",
    f"alter table marts.fct_orders owner to {READER}": "RLS035",
    f"alter schema marts owner to {READER}": "RLS035",
    "create function public.copy() returns trigger language plpgsql as $$ begin return null; end $$;"
    " create trigger copying after insert on marts.fct_orders for each row execute function public.copy()": "RLS036",
    "create rule also as on insert to marts.fct_orders do also notify orders": "RLS036",
    "create or replace function dpe.visible_tenants() returns text[] language sql stable parallel safe set search_path = pg_catalog"
    " as $$ select array['UA', 'HA'] $$": "RLS037",
    "create or replace function dpe.context_is_open() returns boolean language sql stable parallel safe set search_path = pg_catalog"
    " as $$ select true $$": "RLS037",
    "alter function dpe.visible_tenants() security definer": "RLS037",
    "alter function dpe.visible_tenants() volatile": "RLS037",
    "alter function dpe.visible_tenants() parallel unsafe": "RLS037",
    f"alter function dpe.every_tenant_is_open() owner to {READER}": "RLS037",
    "grant select on marts.fct_orders to dpe_masked_reader": "RLS038",
    "grant select (amount) on marts.fct_orders to dpe_masked_reader": "RLS038",
    f"grant dpe_masked_reader to {READER}": "RLS039",
    "alter policy dpe_reader on marts.fct_orders to dpe_masked_reader": "RLS010",
    "create role gone; insert into dpe.tenant_access values ('gone', 'UA'); drop role gone": "RLS060",
    "insert into dpe.tenant_access values ('dpe_reader', 'UA')": "RLS061",
    f"grant pg_read_all_data to {READER}; insert into dpe.tenant_access values ('{READER}', 'UA')": "RLS061",
}


@pytest.fixture(scope="module")
def project(scratch: Path) -> Project:
    """Write a project of relations of every kind."""
    return Project(dbt_projects.make(scratch / "checked", PROJECT))


@pytest.fixture(scope="module")
def built(project: Project, module_server: Server) -> Iterator[Server]:
    """Build the project, and make a reader and a role that is none."""
    results = run_dbt(project, module_server, ["build"])
    assert not any(result.has_failed for result in results)
    with module_server.connect("admin", autocommit=True) as connection:
        connection.execute(f"create role {READER} login in role dpe_reader; create role {OUTSIDE}".encode())
        yield module_server
        connection.execute(f"drop owned by {READER}, {OUTSIDE}; drop role {READER}, {OUTSIDE}".encode())


def _ids(connection: psycopg.Connection[Any]) -> set[str]:
    return {finding.check_id for finding in rls_check.check(connection, SCHEMAS)}


def test_nothing_is_wrong_with_what_dbt_builds(built: Server) -> None:
    """Neither for an administrator who looks nor for the pipeline."""
    for login in ("admin", "transformer"):
        with built.connect(login) as connection:
            assert [] == rls_check.check(connection, SCHEMAS)


@pytest.mark.parametrize(("statements", "check_id"), MUTATIONS.items(), ids=[f"{check}-{text[:60]}" for text, check in MUTATIONS.items()])
def test_what_weakens_protection_is_found(built: Server, statements: str, check_id: str) -> None:
    """By the check that is for it, with a subject, what is wrong and what to do."""
    with built.connect("admin") as connection:
        [(index,)] = connection.execute(
            "select indexrelid::regclass::text from pg_index where indrelid = 'marts.fct_orders'::regclass and not indisunique"
        ).fetchall()
        connection.execute(statements.replace("{index}", index).encode())
        found = rls_check.check(connection, SCHEMAS)
        connection.rollback()

    of_check = [finding for finding in found if finding.check_id == check_id]
    assert of_check, found
    assert all(finding.subject and finding.detail and finding.fix for finding in of_check)


def test_a_fix_fixes(built: Server) -> None:
    """Where a fix is a statement, it is one that puts right what was found."""
    fixed = set()
    with built.connect("admin") as connection:
        for statements in MUTATIONS:
            if "{index}" in statements:
                continue
            connection.execute(statements.encode())
            for finding in rls_check.check(connection, SCHEMAS):
                if finding.fix.startswith(("alter ", "drop ", "revoke ", "create ")) and "…" not in finding.fix:
                    statement = finding.fix.partition(";")[0].partition(", or ")[0].partition(", if ")[0].partition(", and ")[0]
                    connection.execute(b"savepoint fixing")
                    connection.execute(statement.encode())
                    if finding not in rls_check.check(connection, SCHEMAS):
                        fixed.add(finding.check_id)
                    else:
                        raise AssertionError(f"{statements}: {finding}")
                    connection.execute(b"rollback to savepoint fixing")
            connection.rollback()
    assert len(fixed) > 10


def test_each_check_is_shown_to_find_something() -> None:
    """One that is added has to show what it finds."""
    ids = [check.check_id for check in rls_check.checks()]

    assert len(ids) == len(set(ids))
    assert set(ids) == {*MUTATIONS.values(), "RLS031"}


@pytest.mark.parametrize(
    ("version", "is_found"), [("150013", True), ("150014", False), ("160009", True), ("170006", False), ("180000", False)]
)
def test_a_server_with_a_known_leak_is_found(built: Server, version: str, is_found: bool) -> None:  # noqa: FBT001
    """Below the minor release that fixed it."""
    [leak] = [check for check in rls_check.checks() if check.check_id == "RLS031"]
    query = leak.query.replace("current_setting('server_version_num')", f"'{version}'")
    with built.connect("admin") as connection, psycopg.RawCursor(connection) as cursor:
        assert is_found == bool(cursor.execute(query.encode()).fetchall())


def test_an_administrator_who_is_no_superuser_is_no_finding(built: Server) -> None:
    """Who manages dpe may act as its roles, and is no reader by that."""
    with built.connect("admin") as connection:
        connection.execute(
            "create role manager_of_checks login createrole; grant dpe_owner, dpe_transformer, dpe_tenant to manager_of_checks"
        )
        assert set() == _ids(connection)
        connection.rollback()


def test_bootstrap_puts_functions_right(built: Server) -> None:
    """As the fix says."""
    with built.connect("admin") as connection:
        connection.execute(next(text for text in MUTATIONS if "array['UA', 'HA']" in text).encode())
        assert "RLS037" in _ids(connection)
        bootstrap(connection)
        assert set() == _ids(connection)
        connection.rollback()


@pytest.fixture
def app(built: Server, project: Project) -> App:
    """Give what commands are given."""
    app = App(given_project_dir=project.directory)
    app.server = built
    return app


def _dpe(app: App, *arguments: str) -> Report:
    return cast("Report", main.cli.main(args=["rls", "check", *arguments], standalone_mode=False, obj=app))


def test_the_command_succeeds_where_nothing_is_wrong(app: App) -> None:
    """And says how much it looked for."""
    report = _dpe(app)

    assert (0, f"{len(rls_check.checks())} checks found nothing") == (report.exit_status, report.headline)


@pytest.fixture
def weakened(built: Server) -> Iterator[None]:
    """Weaken a published table and an internal one, and add what is a warning only."""
    with built.connect("admin", autocommit=True) as connection:
        connection.execute("alter table marts.fct_orders no force row level security; alter table dpe.loads no force row level security")
        connection.execute("create unique index orders_once on marts.fct_orders (order_id)")
        yield
        connection.execute("alter table marts.fct_orders force row level security; alter table dpe.loads force row level security")
        connection.execute("drop index marts.orders_once")


@pytest.mark.usefixtures("weakened")
def test_the_command_fails_where_something_is_wrong(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors first, each with what puts it right."""
    report = _dpe(app)
    status = show(report, "text")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    assert (1, f"{len(rls_check.checks())} checks: 2 errors, 1 warning") == (status, lines[0])
    assert lines[-3].startswith("RLS002 error dpe.loads does not force row-level security")
    assert lines[-2].endswith("alter table marts.fct_orders force row level security")
    assert lines[-1].startswith("RLS022 warning marts.fct_orders has the unique index orders_once")


@pytest.mark.usefixtures("weakened")
def test_sarif_names_the_file_of_a_model(app: App, tmp_path: Path) -> None:
    """And the project's for what is not the project's."""
    path = tmp_path / "new" / "rls.sarif"

    _dpe(app, "--sarif", str(path))

    [run] = json.loads(path.read_text(encoding="utf-8"))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(rls_check.checks()) == len(rules)
    found = {
        (
            result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"],
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
            result["level"],
            rules[result["ruleIndex"]]["id"],
        )
        for result in run["results"]
    }
    assert {
        ("dpe.loads", "dbt_project.yml", "error", "RLS002"),
        ("marts.fct_orders", "models/marts/fct_orders.sql", "error", "RLS002"),
        ("marts.fct_orders", "models/marts/fct_orders.sql", "warning", "RLS022"),
    } == found


def test_sarif_that_cannot_be_written_is_said(app: App, tmp_path: Path) -> None:
    """With the option's name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--sarif: .*rls.sarif cannot be written"):
        _dpe(app, "--sarif", str(tmp_path / "file" / "rls.sarif"))
