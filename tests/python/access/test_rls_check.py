"""`dpe rls check` finds whatever makes protection weaker than declared; on what dbt builds it finds nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from support import dbt_projects, single_check
from support.long_tests import runs_long_tests
from support.protected_project import PROJECT
from support.rls_mutations import MUTATIONS, OUTSIDE, READER

from dpe_cli.access import checks, project_checks
from dpe_cli.cli import main
from dpe_cli.cli.app import App
from dpe_cli.cli.report import Report, show
from dpe_cli.errors import ServerError, UsageError
from dpe_cli.outputs import sarif
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.bootstrap import bootstrap
from dpe_cli.server.server import Server

SCHEMAS = ("dpe", "raw", "core", "finance", "quality", "finance__next", "finance__previous")
# Those of sources, and of stored failures.
UNREADABLE = ("raw", "quality")

CHECKS = len(project_checks.all_checks())


@pytest.fixture(scope="module")
def project(scratch: Path) -> Project:
    """Write a project of relations of every kind."""
    return Project(dbt_projects.make(scratch / "checked", PROJECT))


@pytest.fixture(scope="module")
def built(project: Project, module_server: Server) -> Iterator[Server]:
    """Build the project, and create a reader and a role that is not one."""
    results = run_dbt(project, module_server, ["build"])
    assert not any(result.has_failed for result in results)
    with module_server.connect("admin", autocommit=True) as connection:
        connection.execute(f"create role {READER} login in role dpe_reader; create role {OUTSIDE}".encode())
        yield module_server
        connection.execute(f"drop owned by {READER}, {OUTSIDE}; drop role {READER}, {OUTSIDE}".encode())


def _weaken(connection: psycopg.Connection[Any], statements: str) -> None:
    """Apply a mutation, in an administrator's transaction."""
    [(index,)] = connection.execute(
        "select indexrelid::regclass::text from pg_index where indrelid = 'finance.fct_orders'::regclass and not indisunique"
    ).fetchall()
    for name, value in (("index", index), ("database", connection.info.dbname), ("port", str(connection.info.port))):
        statements = statements.replace(f"{{{name}}}", value)
    connection.execute(statements.encode())


def _ids(connection: psycopg.Connection[Any]) -> set[str]:
    return {finding.check_id for finding in checks.check(connection, SCHEMAS, unreadable=UNREADABLE)}


def test_nothing_is_wrong_with_what_dbt_builds(built: Server) -> None:
    """Neither as an administrator nor as the pipeline."""
    for login in ("admin", "transformer"):
        with built.connect(login) as connection:
            assert [] == checks.check(connection, SCHEMAS, unreadable=UNREADABLE)


@dataclass(frozen=True)
class Outcome:
    """What is found after a mutation; of that, what its own fix resolves, and what stays in spite of it."""

    found: list[checks.Finding]
    fixed: list[checks.Finding]
    unresolved: list[checks.Finding]


# Each mutation once, because checking takes a while: by all checks if long tests are run, or else by those that find it.
@pytest.fixture(scope="module")
def after(built: Server) -> Iterator[Callable[..., Outcome]]:
    """Apply a mutation, look for it by some checks, or by all of them, and run each fix that is a statement."""
    with built.connect("admin") as connection:

        @cache
        def measure(statements: str, *check_ids: str) -> Outcome:
            try:
                _weaken(connection, statements)
                found = _found_by(connection, () if runs_long_tests() else check_ids)
                fixable = [] if "{index}" in statements else [finding for finding in found if _statement(finding)]
                fixed = [finding for finding in fixable if _is_resolved(connection, finding)]
            finally:
                connection.rollback()
            return Outcome(found, fixed, [finding for finding in fixable if finding not in fixed])

        yield measure


def _found_by(connection: psycopg.Connection[Any], check_ids: Sequence[str]) -> list[checks.Finding]:
    if not check_ids:
        return checks.check(connection, SCHEMAS, unreadable=UNREADABLE)
    return [finding for check_id in check_ids for finding in single_check.findings(connection, check_id, SCHEMAS, unreadable=UNREADABLE)]


def _statement(finding: checks.Finding) -> str | None:
    """Return the statement that a fix is or begins with."""
    if not finding.fix.startswith(("alter ", "drop ", "revoke ", "create ")) or "…" in finding.fix:
        return None
    return finding.fix.partition(";")[0].partition(", or ")[0].partition(", if ")[0].partition(", and ")[0]


def _is_resolved(connection: psycopg.Connection[Any], finding: checks.Finding) -> bool:
    connection.execute(b"savepoint fixing")
    connection.execute((_statement(finding) or "").encode())
    is_resolved = finding not in single_check.findings(connection, finding.check_id, SCHEMAS, unreadable=UNREADABLE)
    connection.execute(b"rollback to savepoint fixing")
    return is_resolved


@pytest.mark.parametrize(("statements", "check_id"), MUTATIONS.items(), ids=[f"{check}-{text[:60]}" for text, check in MUTATIONS.items()])
def test_what_weakens_protection_is_found(after: Callable[..., Outcome], statements: str, check_id: str) -> None:
    """By its check, with a subject, what is wrong and what to do."""
    found = after(statements, check_id).found

    of_check = [finding for finding in found if finding.check_id == check_id]
    assert of_check, found
    assert all(finding.subject and finding.detail and finding.fix for finding in of_check)


# What can happen to each policy of dpe's own tables.
OF_POLICIES = {
    "drop policy {policy} on {relation}": "lacks the policy {policy}",
    "alter policy {policy} on {relation} to public": "has the policy {policy} for public instead of ",
    "alter policy {policy} on {relation} {clause} (current_user <> '')": "has the policy {policy} with another condition",
}


@pytest.mark.parametrize(("statement", "detail"), OF_POLICIES.items(), ids=["dropped", "for others", "other condition"])
def test_each_policy_of_dpes_own_tables_is_compared(fresh_server: Server, statement: str, detail: str) -> None:
    """The check lists them; a table or policy that bootstrap creates and that it does not list makes this fail."""
    with fresh_server.connect("admin") as connection:
        policies = connection.execute(
            "select format('%I.%I', schemaname, tablename), policyname::text, case when qual is null then 'with check' else 'using' end "
            "from pg_policies where schemaname in ('dpe', 'dpe_locks')"
        ).fetchall()
        tables = connection.execute(
            "select oid::regclass::text from pg_class where relkind in ('r', 'p') and relnamespace::regnamespace::text in ('dpe', 'dpe_locks')"
        ).fetchall()
        for relation, policy, clause in policies:
            connection.execute(statement.format(relation=relation, policy=policy, clause=clause).encode())
        found = checks.check(connection, ["dpe"])
        connection.rollback()

    assert {relation for (relation,) in tables} == {relation for relation, *_ in policies}
    of_check = [finding for finding in found if finding.check_id == "RLS064"]
    for relation, policy, _ in policies:
        assert [finding for finding in of_check if finding.subject == relation and finding.detail.startswith(detail.format(policy=policy))]


def test_a_fix_fixes(after: Callable[..., Outcome]) -> None:
    """If a fix is a statement, running it resolves the finding."""
    outcomes = {statements: after(statements, check_id) for statements, check_id in MUTATIONS.items()}

    assert {} == {statements: outcome.unresolved for statements, outcome in outcomes.items() if outcome.unresolved}
    assert len({finding.check_id for outcome in outcomes.values() for finding in outcome.fixed}) > 10


def test_each_check_is_shown_to_find_something() -> None:
    """A new one has to show what it finds."""
    ids = [check.check_id for check in checks.checks()]

    assert len(ids) == len(set(ids))
    # They need another server version, or rows from another server.
    assert set(ids) == {*MUTATIONS.values(), "RLS031", "RLS052"}


@pytest.mark.parametrize("statements", [text for text, check_id in MUTATIONS.items() if check_id == "RLS075"])
def test_an_extension_of_others_is_one_warning(after: Callable[..., Outcome], statements: str) -> None:
    """However many functions it has: a login that may create in the database does not stop the publications of all."""
    found = after(statements).found

    assert ["RLS075"] == [finding.check_id for finding in found if finding.check_id != "RLS055"], found
    assert {"warning"} == {finding.severity for finding in found}


@pytest.mark.parametrize(
    ("statement", "detail"),
    [
        ("", "which only the event trigger of dpe refuses"),
        (
            "; alter event trigger dpe_refuse_to_readers disable",
            "in any schema, because the event trigger that would refuse them is missing (RLS069)",
        ),
    ],
    ids=["refused", "not refused"],
)
def test_a_role_that_may_create_in_the_database_is_named_with_what_refuses_it(
    after: Callable[..., Outcome], statement: str, detail: str
) -> None:
    """Only a superuser can create the event trigger."""
    found = after(f"grant create on database {{database}} to {OUTSIDE}{statement}", "RLS055").found

    assert [f"lets {OUTSIDE} create schemas and extensions, {detail}"] == [
        finding.detail for finding in found if finding.check_id == "RLS055"
    ]


def test_extensions_of_administrators_and_of_models_are_not_findings(built: Server) -> None:
    """In a schema for them, in PostgreSQL's own, and in one of the project."""
    with built.connect("admin") as connection:
        connection.execute(
            "create extension citext schema finance; create extension intarray schema pg_catalog; create extension lo schema public"
        )
        connection.execute(
            "do $$ begin execute format('grant create on database %I to dpe_transformer', current_database()); end $$;"
            " set local role dpe_transformer; create extension hstore schema finance; reset role"
        )
        assert set() == _ids(connection)
        connection.rollback()


@pytest.mark.parametrize(
    ("version", "is_found"), [("150013", True), ("150014", False), ("160009", True), ("170006", False), ("180000", False)]
)
def test_a_server_with_a_known_leak_is_found(built: Server, version: str, is_found: bool) -> None:  # noqa: FBT001
    """Before the minor release that fixed it."""
    [leak] = [check for check in checks.checks() if check.check_id == "RLS031"]
    query = leak.query.replace("current_setting('server_version_num')", f"'{version}'")
    with built.connect("admin") as connection, psycopg.RawCursor(connection) as cursor:
        assert is_found == bool(cursor.execute(query.encode()).fetchall())


@pytest.mark.parametrize(
    "index", ["(amount)", "(shop, order_id)", "(shop) where amount > 5", "using hash (amount)", "using brin (shop, amount)"]
)
def test_an_index_that_shows_no_order_is_not_a_finding(built: Server, index: str) -> None:
    """Of masked columns only, of others only, or without an order."""
    with built.connect("admin") as connection:
        connection.execute(f"create index on finance.fct_orders {index}".encode())
        assert [] == single_check.findings(connection, "RLS074", SCHEMAS, unreadable=UNREADABLE)
        connection.rollback()


def test_an_administrator_who_is_not_a_superuser_is_not_a_finding(built: Server) -> None:
    """A role that manages dpe can act as its roles, which does not make it a reader."""
    with built.connect("admin") as connection:
        connection.execute(
            "create role manager_of_checks login createrole; grant dpe_owner, dpe_transformer, dpe_tenant to manager_of_checks;"
            # From PostgreSQL 16 on, the creator of a role is a member of it.
            "grant dpe_reader, dpe_masked_reader, dpe_tenant, dpe_auditor to manager_of_checks with admin true, inherit false, set false"
        )
        assert set() == _ids(connection)
        # As the matrix does to act as each.
        connection.execute("grant dpe_reader, dpe_masked_reader, dpe_auditor to manager_of_checks with inherit false, set true")
        assert set() == _ids(connection)
        connection.rollback()


def test_who_can_only_grant_the_readers_roles_is_neither(built: Server) -> None:
    """A help desk, for example, that can neither read nor become a role that does."""
    with built.connect("admin") as connection:
        connection.execute(
            "create role desk_of_checks; grant dpe_reader, dpe_masked_reader to desk_of_checks with admin true, inherit false, set false"
        )
        assert set() == _ids(connection)
        connection.rollback()


def test_an_administrator_who_reads_keeps_what_it_administers_with(built: Server) -> None:
    """The advice is to revoke the reader's role, because without dpe's roles `dpe access` could do nothing."""
    with built.connect("admin") as connection:
        connection.execute("create role manager_of_checks login createrole; grant dpe_owner, dpe_reader to manager_of_checks")
        fixes = {finding.fix for finding in checks.check(connection, SCHEMAS, unreadable=UNREADABLE)}
        connection.rollback()
    assert {"revoke dpe_reader from manager_of_checks; give administrators a login of their own"} == fixes


def test_a_database_of_another_version_has_to_be_bootstrapped(built: Server) -> None:
    """If a function that the checks call is missing, none of them can run."""
    with built.connect("admin") as connection:
        connection.execute("drop function dpe.open_schemas")
        with pytest.raises(ServerError, match=r"function dpe\.open_schemas\(name\[\]\) does not exist; run `dpe bootstrap`"):
            checks.check(connection, SCHEMAS, unreadable=UNREADABLE)
        connection.rollback()


def test_bootstrap_repairs_functions(built: Server) -> None:
    """As the fix says."""
    with built.connect("admin") as connection:
        connection.execute(next(text for text in MUTATIONS if "array['UA', 'HA']" in text).encode())
        assert "RLS037" in _ids(connection)
        bootstrap(connection)
        assert set() == _ids(connection)
        connection.rollback()


@pytest.fixture
def app(built: Server, project: Project) -> App:
    """Give the commands' context."""
    app = App(given_project_dir=project.directory)
    app.server = built
    return app


def _dpe(app: App, *arguments: str) -> Report:
    return cast("Report", main.cli.main(args=["rls", "check", *arguments], standalone_mode=False, obj=app))


def test_the_command_succeeds_if_nothing_is_wrong(app: App) -> None:
    """And says how many checks it ran."""
    report = _dpe(app)

    assert (0, f"{CHECKS} checks found nothing") == (report.exit_status, report.headline)


@pytest.fixture
def weakened(built: Server) -> Iterator[None]:
    """Weaken a published table and an internal one, and add something that is only a warning."""
    with built.connect("admin", autocommit=True) as connection:
        connection.execute("alter table finance.fct_orders no force row level security; alter table dpe.loads no force row level security")
        connection.execute("create unique index orders_once on finance.fct_orders (order_id)")
        yield
        connection.execute("alter table finance.fct_orders force row level security; alter table dpe.loads force row level security")
        connection.execute("drop index finance.orders_once")


@pytest.mark.usefixtures("weakened")
def test_the_command_fails_if_something_is_wrong(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors first, each with its fix."""
    report = _dpe(app)
    status = show(report, "text")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    assert (1, f"{CHECKS} checks: 2 errors, 1 warning") == (status, lines[0])
    assert lines[-3].startswith("RLS002 error dpe.loads does not force row-level security")
    assert lines[-2].endswith("alter table finance.fct_orders force row level security")
    assert lines[-1].startswith("RLS022 warning finance.fct_orders has the unique index orders_once")


@pytest.mark.usefixtures("weakened")
def test_sarif_names_the_file_of_a_model(app: App, tmp_path: Path) -> None:
    """And the project file for relations that are not the project's."""
    path = tmp_path / "new" / "rls.sarif"

    _dpe(app, "--sarif", str(path))

    [run] = json.loads(path.read_text(encoding="utf-8"))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [check.check_id for check in project_checks.all_checks()] == [rule["id"] for rule in rules]
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
        ("finance.fct_orders", "models/finance/fct_orders.sql", "error", "RLS002"),
        ("finance.fct_orders", "models/finance/fct_orders.sql", "warning", "RLS022"),
    } == found


def test_sarif_names_a_file_by_a_uri() -> None:
    """Whatever its name: a URI has neither spaces nor control characters."""
    finding = checks.Finding("RLS002", "error", "finance.a\x1b[2J\n", "does not force row-level security", "alter it\u202e")
    files = {finding.subject: "models/finance/a b\x1b\u202e.sql"}

    runs: Any = sarif.document(checks.checks(), [finding], files, otherwise="dbt_project.yml")["runs"]
    [run] = runs

    [result] = run["results"]
    [location] = result["locations"]
    assert "models/finance/a%20b%1B%E2%80%AE.sql" == location["physicalLocation"]["artifactLocation"]["uri"]
    assert r"finance.a\x1b[2J⏎" == location["logicalLocations"][0]["fullyQualifiedName"]
    assert r"finance.a\x1b[2J⏎: does not force row-level security; alter it\u202e" == result["message"]["text"]


def test_sarif_that_cannot_be_written_is_reported(app: App, tmp_path: Path) -> None:
    """With the option's name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--sarif: .*rls.sarif cannot be written"):
        _dpe(app, "--sarif", str(tmp_path / "file" / "rls.sarif"))
