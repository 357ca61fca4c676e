"""Acting as every role, after each command that creates relations: none sees or writes more than declared, and if one could, it is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from conftest import numbers
from support import dbt_projects
from support.long_tests import LONG, runs_long_tests
from support.protected_project import PROJECT

from dpe_cli.access import actors, checks, matrix, samples
from dpe_cli.access.matrix import Cell
from dpe_cli.blocks.contract import Column, StagingTable
from dpe_cli.cli import main
from dpe_cli.cli.app import App
from dpe_cli.cli.report import Report, show
from dpe_cli.errors import ContextError, UnknownNameError
from dpe_cli.pipeline import protection, run
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.project.source import Source
from dpe_cli.publishing import publication, publisher
from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server
from dpe_cli.sources.options.base import External

LOGIN = f"desk_of_matrix_{next(numbers)}"
# Commands that create relations, in the usual order, and the schemas that exist after each.
COMMANDS = {
    "dbt build": ["build"],
    "dbt build --full-refresh": ["build", "--full-refresh"],
    "dbt seed --full-refresh": ["seed", "--full-refresh"],
    "dbt snapshot": ["snapshot"],
    "dbt test --store-failures": ["test", "--store-failures"],
    "dpe run": ["publish"],
    "dpe run again": ["publish"],
    "dpe run of a part": ["publish", "fct_orders"],
    "dpe run --no-publish": ["build only"],
    "dpe publish --undo": ["undo"],
    "dbt build in place": ["build"],
}
# One of each kind: plain dbt, a publication, one of a part, which has a previous version, a build that waits, and undoing.
SHORT = ("dbt build", "dpe run", "dpe run of a part", "dpe run --no-publish", "dpe publish --undo")
AFTER_EACH = [command if command in SHORT else pytest.param(command, marks=LONG) for command in COMMANDS]


@pytest.fixture(scope="module")
def project(scratch: Path) -> Project:
    """Write a project of relations of every kind."""
    return Project(dbt_projects.make(scratch / "measured", PROJECT))


@pytest.fixture(scope="module")
def login(module_server: Server) -> Iterator[str]:
    """Create a reader: the desk of HA."""
    with module_server.connect("admin", autocommit=True) as connection:
        connection.execute(f"create role {LOGIN} login in role dpe_reader".encode())
        with admin_context(connection, "test"):
            connection.execute("insert into dpe.tenant_access values (%s, 'HA')", [LOGIN])
        yield LOGIN
        connection.execute(f"drop owned by {LOGIN}; drop role {LOGIN}".encode())


def _measure(project: Project, server: Server, login: str) -> list[Cell]:
    return protection.measure_rls(project, server, (), (login,), dbt_projects.Silence())


def _do(project: Project, server: Server, command: list[str]) -> None:
    if command[0] in {"publish", "build only"}:
        options = RunOptions(publishes=command[0] == "publish", documents=False)
        summary = run.run(project, server, command[1:], (), dbt_projects.Silence(), options)
        assert summary.build.not_published is None
    elif command[0] == "undo":
        with publisher.connected(server) as connection:
            publication.undo(connection, project.published_schemas)
    else:
        assert not any(result.has_failed for result in run_dbt(project, server, command))


@pytest.fixture(scope="module")
def states(project: Project, module_server: Server, login: str) -> dict[str, tuple[list[str], list[Cell]]]:
    """Run the commands in turn, and keep the findings of the catalog and of the actors after it."""
    found: dict[str, tuple[list[str], list[Cell]]] = {}
    for name, command in COMMANDS.items():
        if name not in SHORT and not runs_long_tests():
            continue
        _do(project, module_server, command)
        findings = [str(finding) for finding in protection.check_rls(project, module_server)]
        found[name] = (findings, _measure(project, module_server, login))
    return found


@pytest.mark.parametrize("command", AFTER_EACH)
def test_nothing_is_wrong_after(states: dict[str, tuple[list[str], list[Cell]]], command: str) -> None:
    """Neither in the catalog, nor for any actor."""
    findings, cells = states[command]

    assert [] == findings
    assert [] == [fault for cell in cells for fault in cell.faults]


def _rows(cells: list[Cell], relation: str) -> dict[str, int | None]:
    return {f"{cell.actor} {cell.tenant}".strip(): cell.rows for cell in cells if cell.relation == relation}


@pytest.mark.parametrize("command", AFTER_EACH)
@pytest.mark.parametrize(
    "relation", ["finance.fct_orders", "finance.fct_added_orders", "finance.orders", "finance.orders_history", "finance.orders_seen"]
)
def test_a_tenant_sees_its_own_after(states: dict[str, tuple[list[str], list[Cell]]], command: str, relation: str) -> None:
    """Each tenant its own, a login those granted to it, and the builder everything, but only in a context."""
    rows = _rows(states[command][1], relation)

    assert {
        "everybody": None,
        "a stranger": 0,
        # Masked readers cannot use views of a masked column.
        "a masked stranger": None if relation == "finance.orders_seen" else 0,
        "a tenant UA": 2,
        "a tenant HA": 1,
        LOGIN: 1,
        "an auditor": None,
        "the loader, no context": None,
        "the loader, one tenant HA": None,
        "the loader": None,
        "the transformer, no context": 0,
        "the transformer, one tenant HA": 1,
        "the transformer": 3,
        "an administrator, no context": 0,
        "an administrator, one tenant HA": 1,
        "an administrator": 3,
    } == rows


def test_previous_and_next_versions_are_measured(states: dict[str, tuple[list[str], list[Cell]]]) -> None:
    """No reader can enter their schemas."""
    built = _rows(states["dpe run --no-publish"][1], "finance__next.fct_orders")
    before = _rows(states["dpe run of a part"][1], "finance__previous.fct_orders")

    for rows in (built, before):
        assert (None, None, None, 3) == (rows["a stranger"], rows["a tenant UA"], rows[LOGIN], rows["the transformer"])


def test_writes_are_tried(states: dict[str, tuple[list[str], list[Cell]]]) -> None:
    """Readers are denied; the builder is refused a row of another tenant, and can write in a context for all."""
    cells = [cell for cell in states["dbt build"][1] if cell.relation == "finance.fct_orders"]
    writes = {f"{cell.actor} {cell.tenant}".strip(): [cell.writes[write] for write in ("insert", "update", "delete")] for cell in cells}

    assert ["denied"] * 3 == writes["a tenant UA"] == writes[LOGIN] == writes["everybody"] == writes["an administrator"]
    assert ["refused"] * 3 == writes["the transformer, no context"] == writes["the transformer, one tenant HA"]
    assert ["allowed"] * 3 == writes["the transformer"]


def test_measuring_changes_nothing(
    project: Project, module_server: Server, states: dict[str, tuple[list[str], list[Cell]]], login: str
) -> None:
    """What is tried is rolled back."""
    del states
    with module_server.connect("admin") as connection:
        before = connection.execute("select ctid::text, orders::text from finance.fct_orders as orders order by 1").fetchall()
    _measure(project, module_server, login)

    with module_server.connect("admin") as connection:
        assert before == connection.execute("select ctid::text, orders::text from finance.fct_orders as orders order by 1").fetchall()
        assert [] == connection.execute("select from pg_roles where rolname = %s", [actors.NOBODY]).fetchall()


def test_measurements_do_not_conflict(module_server: Server) -> None:
    """Each creates a role of its own, which neither an existing role with the plain name nor a second measurement has."""
    with module_server.connect("admin") as connection, connection.transaction(force_rollback=True):
        connection.execute("create role dpe_matrix_nobody")

        assert [] == matrix.measure(connection, [])


# Code of a model's author that a view or a trigger runs as its reader, and that tries to become the session's login again.
ESCAPE = """
    set role dpe_transformer;
    create function finance.escape() returns boolean language plpgsql as $$
    begin
        perform set_config('role', 'none', true);
        if (select rolsuper from pg_roles where rolname = current_user) then
            raise exception 'code of the pipeline runs as a superuser';
        end if;
        return true;
    exception
        when insufficient_privilege or object_not_in_prerequisite_state or invalid_parameter_value then
            return true;
    end $$;
    create function finance.escape_by_trigger() returns trigger language plpgsql as $$ begin perform finance.escape(); return new; end $$;
    grant execute on function finance.escape() to public;
    create view finance.escapes with (security_invoker = true) as select order_id, shop from finance.fct_orders where finance.escape();
    grant select on finance.escapes to dpe_owner, dpe_reader;
    create trigger escape before insert or update on finance.fct_orders for each row execute function finance.escape_by_trigger();
    reset role
"""


@pytest.mark.usefixtures("states")
def test_what_is_measured_runs_nothing_as_the_administrator(project: Project, module_server: Server, login: str) -> None:
    """A superuser acts as each role, and the code of a view or a trigger cannot regain its rights."""
    with module_server.connect("admin", autocommit=True) as connection:
        connection.execute(ESCAPE)
        try:
            relations = {cell.relation: cell for cell in _measure(project, module_server, login)}
        finally:
            connection.execute(
                "drop trigger escape on finance.fct_orders; drop view finance.escapes; "
                "drop function finance.escape_by_trigger; drop function finance.escape"
            )

    assert "finance.escapes" in relations


# What weakens protection, and what the measurement shows.
MUTATIONS = {
    "alter table finance.fct_orders no force row level security": "the transformer, no context sees 3 rows instead of 0",
    "alter table finance.fct_orders disable row level security": "a tenant (UA) sees 3 rows instead of 2",
    "alter policy dpe_reader on finance.fct_orders using (true)": "a masked stranger sees 3 rows instead of 0",
    "alter policy dpe_reader on finance.fct_added_orders using (shop = 'UA')": "a tenant (HA) sees 2 rows instead of 1",
    "grant select (amount) on finance.fct_orders to dpe_masked_reader": "a masked stranger may read the masked column amount",
    "alter policy dpe_reader on finance.fct_added_orders using (true)": "a stranger sees 3 rows instead of 0",
    "drop policy dpe_reader on finance.fct_orders": "a tenant (UA) sees 0 rows instead of 2",
    "drop policy dpe_system on finance.fct_orders; create policy x on finance.fct_orders for select to dpe_transformer using (true)": "the transformer, no context sees 3 rows instead of 0",
    "alter policy dpe_system on finance.fct_orders with check (true)": "the transformer, no context may insert rows",
    "alter policy dpe_system on finance.fct_orders using (true)": "the transformer, no context may delete rows",
    "alter policy dpe_system on finance.fct_orders with check ((select dpe.context_is_open()))": "the transformer, one tenant (HA) may insert a row of another tenant",
    "alter policy dpe_system on finance.fct_orders using ((select dpe.context_is_open()))": "the transformer, one tenant (HA) may delete a row of another tenant",
    "alter policy dpe_admin on finance.fct_orders using (true)": "an administrator, no context sees 3 rows instead of 0",
    "create policy everybody on finance.fct_orders for select using (true)": "the transformer, no context sees 3 rows instead of 0",
    "grant select on finance.fct_orders to public; grant usage on schema finance, dpe to public; alter policy dpe_reader on finance.fct_orders"
    " to public using (true)": "everybody sees 3 rows instead of 0",
    "grant insert on finance.fct_orders to dpe_reader; create policy x on finance.fct_orders for insert to dpe_reader with check (true)": "a stranger may insert rows",
    "grant delete on finance.fct_orders to dpe_reader; create policy x on finance.fct_orders for delete to dpe_reader using (true)": "a tenant (UA) may delete rows",
    "grant truncate on finance.dim_shops to dpe_reader": "a stranger may truncate rows",
    "grant insert (shop) on finance.orders_seen to dpe_reader": "a stranger may insert rows",
    "grant update (amount) on finance.fct_orders to dpe_tenant; create policy x on finance.fct_orders for update to dpe_tenant using (true)": "a tenant (UA) may update rows",
    "alter view finance.orders_seen reset (security_invoker); alter policy dpe_system on finance.fct_orders using (true)": "a stranger sees 3 rows instead of 0",
    "grant select on finance.fct_margins to dpe_reader; create policy x on finance.fct_margins for select to dpe_reader using (true)": "a stranger sees 3 rows instead of 0",
    "alter role dpe_reader bypassrls": "a stranger sees 3 rows instead of 0",
    "create or replace function dpe.visible_tenants() returns text[] language sql stable parallel safe set search_path = pg_catalog"
    " as $$ select array['UA', 'HA'] $$": "a stranger sees 3 rows instead of 0",
    "create or replace function dpe.context_is_open() returns boolean language sql stable parallel safe set search_path = pg_catalog"
    " as $$ select true $$": "an administrator, no context sees",
    "alter function dpe.visible_tenants() security definer": "a tenant (UA) sees 0 rows instead of 2",
    f"alter policy own_entries on dpe.tenant_access using (true); insert into dpe.tenant_access values ('{LOGIN}', 'UA');"
    f" alter policy dpe_reader on finance.fct_orders using (shop = 'UA')": f"{LOGIN} sees 2 rows instead of 3",
    f"insert into dpe.rejects (load_id, source, relation, position, sqlstate, reason, raw) select 0, 's', 's', 1, '22000', 'r', 'raw' where false;"
    f" grant select on dpe.extracts to {LOGIN}; insert into dpe.extracts (source, relation, disposition, actor) values ('s', 's', 'append', 'a');"
    f" create policy x on dpe.extracts for select to {LOGIN} using (true)": f"dpe.extracts: {LOGIN} sees",
}


# The relations that a mutation opens, or one of them.
MUTATED = {f"finance.{name}" for name in ("fct_orders", "fct_added_orders", "orders_seen", "dim_shops", "fct_margins")} | {"dpe.extracts"}


@pytest.mark.parametrize(("statements", "fault"), MUTATIONS.items(), ids=[text[:70] for text in MUTATIONS])
def test_what_a_role_could_do_is_found(
    project: Project, module_server: Server, states: dict[str, tuple[list[str], list[Cell]]], login: str, statements: str, fault: str
) -> None:
    """By trying it, whatever the catalog says. A login that would ignore policies is not measured."""
    del states
    with module_server.connect("admin") as connection:
        connection.execute(statements.encode())
        relations = samples.find_relations(
            connection, project.models.values(), project.sources.values(), ["finance", "dpe"], project.target
        )
        chosen = [relation for relation in relations if str(relation) in MUTATED]
        cells = matrix.measure(connection, chosen, logins=[] if "bypassrls" in statements else [login])
        connection.rollback()

    faults = [found for cell in cells for found in cell.faults]
    assert any(fault in found for found in faults), faults


def test_a_source_does_not_hide_a_models_relation(
    project: Project, module_server: Server, states: dict[str, tuple[list[str], list[Cell]]]
) -> None:
    """One that names the model's relation as its table: the model says who may see it, and that is measured."""
    del states
    table = StagingTable("x.orders", "finance", "fct_orders", (Column("shop", "text"),))
    source = Source("source.shops.x.orders", "x.orders", table, External(location="", file_format="", disposition="append"), None)
    with module_server.connect("admin") as connection:
        relations = samples.find_relations(connection, project.models.values(), [source], ["finance"], project.target)

    assert ["tenant_column"] == [relation.declared for relation in relations if str(relation) == "finance.fct_orders"]


def test_each_of_these_is_found_by_the_catalog_too(module_server: Server, states: dict[str, tuple[list[str], list[Cell]]]) -> None:
    """Except entries of the access list, which are not a mistake."""
    del states
    with module_server.connect("admin") as connection:
        for statements in MUTATIONS:
            connection.execute(statements.encode())
            assert checks.check(connection, ["dpe", "finance"]), statements
            connection.rollback()


@pytest.fixture
def app(project: Project, module_server: Server, states: dict[str, tuple[list[str], list[Cell]]]) -> App:
    """Give what commands are given."""
    del states
    app = App(given_project_dir=project.directory)
    app.server = module_server
    return app


def _dpe(app: App, *arguments: str) -> Report:
    return cast("Report", main.cli.main(args=["rls", "matrix", *arguments], standalone_mode=False, obj=app))


def test_the_command_shows_who_sees_how_much(app: App, login: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the relations that are named."""
    status = show(_dpe(app, "finance.fct_orders", "finance.dim_*", "--login", login), "text")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    assert (0, "2 relations, 31 measurements: every role sees and writes exactly what is declared") == (status, lines[0])
    assert ["finance.dim_shops - 2 2 2 2 - 0 - 2 2", "finance.fct_orders - 0 0 UA 2; HA 1 1 - 0 - 3 3"] == lines[-2:]


def test_the_command_fails_if_a_role_sees_too_much(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    """And names the role and the relation."""
    with app.server.connect("admin", autocommit=True) as connection:
        connection.execute("alter table finance.fct_orders no force row level security")
        try:
            status = show(_dpe(app, "finance.fct_orders"), "text")
        finally:
            connection.execute("alter table finance.fct_orders force row level security")

    assert 1 == status
    assert "finance.fct_orders: the transformer, no context sees 3 rows instead of 0" in capsys.readouterr().out


def test_what_does_not_exist_is_reported(app: App) -> None:
    """A relation, or a login."""
    with pytest.raises(UnknownNameError, match=r"finance\.nothing: no relation matches"):
        _dpe(app, "finance.nothing")
    for name in ("nobody_here", "none", ""):
        with pytest.raises(ContextError, match=f"^{name}: the role does not exist; correct --login"):
            _dpe(app, "finance.fct_orders", "--login", name)


# Logins that cannot be measured, by what they have in common with the pipeline's administrators.
PRIVILEGED = {
    "superuser": "is a superuser",
    "bypassrls": "bypasses row-level security",
    "replication": "may replicate all rows",
    "createrole": "may change other roles (CREATEROLE)",
    "in role pg_execute_server_program": "may become pg_execute_server_program, which reads, writes or runs files of the server",
    "noinherit in role postgres": "may become postgres, which is a superuser",
}


@pytest.mark.parametrize(("attribute", "reason"), PRIVILEGED.items())
def test_a_login_that_cannot_be_measured_is_refused_with_the_reason(app: App, attribute: str, reason: str) -> None:
    """The code of models would run with its rights, or policies do not apply to it."""
    with app.server.connect("admin", autocommit=True) as connection:
        connection.execute(f"create role root_of_matrix login {attribute}".encode())
        try:
            with pytest.raises(ContextError) as refused:
                _dpe(app, "finance.fct_orders", "--login", LOGIN, "--login", "root_of_matrix")
        finally:
            connection.execute("drop role root_of_matrix")

    assert str(refused.value) == (
        f"root_of_matrix: cannot be measured, because it {reason}, and the code of models would run with its rights; "
        "give --login a role that only reads"
    )
