"""Sources that other tools load, and dbt reads where they are: what belongs to these tools' logins runs nothing as dpe_transformer."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Cluster
from support import dbt_projects

from dpe_cli.access import matrix
from dpe_cli.access.actors import TRANSFORMERS_ROLES
from dpe_cli.access.samples import MeasuredRelation
from dpe_cli.errors import BuildError, DpeError, ProjectError
from dpe_cli.pipeline import protection, validate
from dpe_cli.pipeline import run as pipeline
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.quality import reconcile_config, reconciliation
from dpe_cli.server.relations import find_relation
from dpe_cli.server.server import Server

# A tool's login, without any role of dpe.
TOOL = "hoover"
PROJECT = {
    "models/finance/fct_orders.sql": "select 1 as order_id, 'UA'::text as shop, 10 as amount union all select 2, 'HA', 4711",
    "models/core/stg_shops.sql": "select shop, city from {{ source('tool', 'shops') }}",
    "models/finance/dim_shops.sql": "select shop, city from {{ ref('stg_shops') }}",
    "models/finance/_finance.yml": """
        sources:
          - name: tool
            schema: tool
            tables: [{name: shops}, {name: unused}]
        models:
          - name: fct_orders
            config: {meta: {rls: {tenant_column: shop}}}
            columns: [{name: order_id, data_type: integer}, {name: shop, data_type: text}, {name: amount, data_type: integer}]
          - name: dim_shops
            config: {meta: {rls: {tenant_column: shop}, reconcile: {from: stg_shops}}}
            columns: [{name: shop, data_type: text}, {name: city, data_type: text}]
        """,
}
LOADED = """
    create table tool.shops (shop text, city text); insert into tool.shops values ('UA', 'x');
    create table tool.loot (row text); create sequence tool.leak;
    create function tool.noted() returns trigger language plpgsql as 'begin return new; end';
    create function tool.one_more(integer, text) returns integer language sql as 'select coalesce($1, 0) + 1';
    create aggregate tool.counted(text) (sfunc = tool.one_more, stype = integer)
"""
# What a tool's function does once dpe_transformer runs it: copy rows of all tenants to where the tool reads them.
VOLATILE = """
    create function tool.spy() returns boolean language plpgsql as $$
    begin
        if current_user = 'dpe_transformer' then
            insert into tool.loot select fct_orders::text from finance.fct_orders;
            update finance.dim_shops set city = 'forged';
        end if;
        return true;
    end $$;
"""
# A function in an index may not write, but a rollback does not restore the sequence.
IMMUTABLE = """
    create function tool.spy() returns boolean language plpgsql immutable as $$
    begin
        if current_user = 'dpe_transformer' then
            perform setval('tool.leak', (select sum(amount) from finance.fct_orders));
        end if;
        return true;
    end $$;
"""
# Each way to have the function run, and what is said about it.
WAYS = {
    "policy": (
        VOLATILE + "alter table tool.shops enable row level security; create policy mine on tool.shops using (tool.spy())",
        "the policy mine on tool.shops, of hoover",
    ),
    "view": (
        VOLATILE + "alter table tool.shops rename to shops_; create view tool.shops as select * from tool.shops_ where tool.spy()",
        "the view tool.shops, of hoover",
    ),
    "view_that_runs_a_string": (
        (
            "alter table tool.shops rename to shops_; create view tool.shops as"
            " select shop, query_to_xml('select * from finance.fct_orders', true, true, '')::text as city from tool.shops_"
        ),
        "the view tool.shops, of hoover",
    ),
    "index": (
        IMMUTABLE + "create index shops_spied on tool.shops ((tool.spy()))",
        "the function tool.spy() in the index shops_spied of tool.shops, of hoover",
    ),
    "index_of_child": (
        IMMUTABLE + "create table tool.child () inherits (tool.shops); create index spied on tool.child ((tool.spy()))",
        "the function tool.spy() in the index spied of tool.child, of hoover",
    ),
    "type": (
        (
            "create type tool.town as enum ('x', 'y'); alter table tool.shops rename to shops_;"
            " create table tool.shops (shop text, city tool.town)"
        ),
        "the type tool.town, of hoover",
    ),
    "domain": (
        VOLATILE + "create domain tool.town as text check (tool.spy()); alter table tool.shops rename to shops_;"
        " create table tool.shops (shop text, city tool.town[])",
        "the function tool.spy() in the column city of tool.shops, of hoover; the type tool.town, of hoover; the type tool.town[], of hoover",
    ),
    "row_of_another_table": (
        (
            "create table tool.towns (name text); alter table tool.shops rename to shops_;"
            " create table tool.shops (shop text, city tool.towns)"
        ),
        "the type tool.towns, of hoover",
    ),
    "cast": (
        (
            "create function tool.shown(tool.shops) returns text language sql as 'select 1::text';"
            " create cast (tool.shops as text) with function tool.shown(tool.shops)"
        ),
        "the cast from tool.shops to text by tool.shown(tool.shops), of hoover",
    ),
}
# A view of an administrator leads to them as well.
OF_ADMINISTRATOR = {
    "function": ("where tool.spy()", "the function tool.spy(), of hoover"),
    "aggregate": (
        "where (select tool.counted(shop) from tool.shops_) > 0",
        "the function tool.counted(text), of hoover; the function tool.one_more(integer,text), of hoover",
    ),
}
HARMLESS = """
    alter table tool.shops add seen timestamptz default clock_timestamp();
    create trigger spied before insert on tool.shops for each row execute function tool.noted();
    alter table tool.shops enable row level security;
    create policy for_dpe on tool.shops to dpe_transformer using (true);
    create policy own on tool.shops to hoover using (length(shop) > 1);
    create index on tool.shops (lower(shop))
"""


@dataclass(frozen=True)
class Place:
    """A project that reads what a tool loads, and its server."""

    directory: Path
    server: Server

    @property
    def project(self) -> Project:
        """The project, read again."""
        return Project(self.directory)

    def run(self) -> RunSummary:
        """Run the pipeline without the docs site."""
        return pipeline.run(self.project, self.server, (), (), dbt_projects.Silence(), RunOptions(documents=False))

    def as_tool(self, statements: str) -> None:
        """Run statements as the tool."""
        with tool(self.server) as connection:
            connection.execute(statements.encode())

    def as_admin(self, statements: str) -> None:
        """Run statements as the administrator."""
        with self.server.connect("admin", autocommit=True) as connection:
            connection.execute(statements.encode())

    def harm(self) -> list[tuple[Any, ...]]:
        """Return what the tool has got, and what it has forged in published rows."""
        with self.server.connect("admin") as connection:
            return [*self.committed(), *connection.execute("select last_value from tool.leak where is_called").fetchall()]

    def committed(self) -> list[tuple[Any, ...]]:
        """Return that of it which a rollback would have undone."""
        with self.server.connect("admin") as connection:
            return [
                *connection.execute("select * from tool.loot").fetchall(),
                *connection.execute("select * from finance.dim_shops where city <> 'x'").fetchall(),
            ]

    def findings(self) -> list[str]:
        """Return what `dpe rls check` finds about sources."""
        return [
            f"{finding.subject}: {finding.detail}"
            for finding in protection.check_rls(self.project, self.server)
            if finding.check_id == "RLS076"
        ]


@contextlib.contextmanager
def tool(server: Server) -> Iterator[psycopg.Connection[Any]]:
    """Open a session of the tool's login, that commits each statement."""
    with psycopg.connect(host=server.host, port=server.port, dbname=server.database, user=TOOL, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def first_run(cluster_18: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run a project once, which reads a plain table of a tool that an administrator lets dpe_transformer read."""
    with cluster_18.new_database() as server:
        made = Place(dbt_projects.make(tmp_path_factory.mktemp("tool"), PROJECT), server)
        made.as_admin(f"create role {TOOL} login; create schema tool authorization {TOOL}; grant usage on schema tool to dpe_transformer")
        try:
            made.as_admin(f"alter default privileges for role {TOOL} in schema tool grant all on tables to dpe_transformer")
            made.as_admin(f"alter default privileges for role {TOOL} in schema tool grant all on sequences to dpe_transformer")
            made.as_tool(LOADED)
            assert made.run().holds
            yield made
        finally:
            made.as_admin(f"drop owned by {TOOL} cascade; drop role {TOOL}")


@pytest.fixture
def place(cluster_18: Cluster, first_run: Place, tmp_path: Path) -> Iterator[Place]:
    """Give a copy of the project and its database, as the first run left them."""
    directory = tmp_path / "project"
    shutil.copytree(first_run.directory, directory, symlinks=True)
    with replace(cluster_18, template=first_run.server).new_database() as server:
        yield Place(directory, server)


@pytest.mark.parametrize("way", WAYS)
def test_code_of_the_owner_of_a_source_does_not_run_as_the_pipeline(place: Place, way: str) -> None:
    """`dpe run`, plain dbt and `dpe validate` refuse to read the source, and `dpe rls check` finds it."""
    statements, said = WAYS[way]
    place.as_tool(statements)

    with pytest.raises(ProjectError) as refused:
        place.run()
    with pytest.raises(BuildError) as refused_by_dbt:
        run_dbt(place.project, place.server, ["build"])
    with pytest.raises(ProjectError):
        validate.validate(place.project, place.server, None, dbt_projects.Silence())

    assert f"tool.shops: reading it would run code of others with the rights of dpe_transformer ({said})" in str(refused.value)
    assert said in str(refused_by_dbt.value)
    assert [f"tool.shops: reading it would run code of others with the rights of dpe_transformer ({said})"] == place.findings()
    assert [] == place.harm()


@pytest.mark.parametrize("way", OF_ADMINISTRATOR)
def test_code_behind_an_administrators_view_is_found(place: Place, way: str) -> None:
    """Its own code is the administrator's, but not that of a tool which it calls."""
    condition, said = OF_ADMINISTRATOR[way]
    place.as_tool(VOLATILE + "alter table tool.shops rename to shops_")
    place.as_admin("create view tool.shops as select * from tool.shops_; grant select on tool.shops to dpe_transformer")
    assert [] == place.findings()

    place.as_admin(f"create or replace view tool.shops as select * from tool.shops_ {condition}")

    assert [f"tool.shops: reading it would run code of others with the rights of dpe_transformer ({said})"] == place.findings()


def test_a_plain_table_of_a_tool_is_read(place: Place) -> None:
    """
    What runs only when rows are written runs as the role that writes them.

    A policy without code, one of another role, one that is off, and an index by PostgreSQL's own functions run none.
    """
    place.as_tool("create policy own on tool.shops using (length(shop) > 1)")
    assert [] == place.findings()

    place.as_tool(f"drop policy own on tool.shops; {HARMLESS}")

    assert place.run().holds
    assert [] == place.findings()


LEADING = {
    "model": {"models/finance/dim_shops.sql": "select shop, city from {{ source('tool', 'shops') }}"},
    "ephemeral": {
        "models/core/stg_shops.sql": "{{ config(materialized='ephemeral') }} select shop, city from {{ source('tool', 'shops') }}"
    },
}


@pytest.mark.parametrize("way", LEADING)
def test_a_source_is_found_behind_what_a_model_uses(place: Place, way: str) -> None:
    """It is refused before the model is built."""
    dbt_projects.write(place.directory, LEADING[way])
    place.as_tool(WAYS["index"][0])

    with pytest.raises(ProjectError, match="reading it would run code of others"):
        pipeline.run(place.project, place.server, ["dim_shops"], (), dbt_projects.Silence(), RunOptions(documents=False))
    with pytest.raises(BuildError, match="reading it would run code of others"):
        run_dbt(place.project, place.server, ["run", "--select", "dim_shops"])

    assert [] == place.harm()


# Names that PostgreSQL folds, because dbt does not quote them: of the source, and of the whole project.
UNQUOTED = {
    "source": ("quoting: {schema: false, identifier: false}", ""),
    "project": ("", "quoting: {database: false, schema: false, identifier: false}"),
}


@pytest.mark.parametrize("of", UNQUOTED)
def test_a_source_is_found_by_the_name_that_postgresql_stores(place: Place, of: str) -> None:
    """Whatever case the project writes it in."""
    of_source, of_project = UNQUOTED[of]
    for name, old, new in (
        ("models/finance/_finance.yml", "schema: tool\n", f"schema: TOOL\n    {of_source}\n"),
        ("models/finance/_finance.yml", "{name: shops}", "{name: shops, identifier: Shops}"),
        ("dbt_project.yml", "profile: dpe\n", f"profile: dpe\n{of_project}\n"),
    ):
        path = place.directory / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    place.as_tool(WAYS["policy"][0])

    with pytest.raises(ProjectError, match="tool.shops: reading it would run code of others"):
        place.run()
    with pytest.raises(BuildError, match="tool.shops: reading it would run code of others"):
        run_dbt(place.project, place.server, ["build"])

    assert [] == place.harm()


def test_the_freshness_of_such_a_source_is_not_asked(place: Place) -> None:
    """dbt would query the source for it."""
    models = place.directory / "models" / "finance" / "_finance.yml"
    freshness = "{name: shops, config: {loaded_at_field: now(), freshness: {warn_after: {count: 1, period: day}}}}"
    models.write_text(models.read_text().replace("{name: shops}", freshness))
    place.as_tool(WAYS["policy"][0])

    with contextlib.suppress(DpeError):
        run_dbt(place.project, place.server, ["source", "freshness"])

    assert [] == place.harm()


def test_a_source_that_is_not_read_stops_no_other_model(place: Place) -> None:
    """A run of what does not read it publishes, and says at its end what is wrong."""
    place.as_tool(WAYS["policy"][0])

    summary = pipeline.run(place.project, place.server, ["fct_orders"], (), dbt_projects.Silence(), RunOptions(documents=False))

    assert summary.build.not_published is None
    assert not summary.holds
    assert [] == place.harm()


@pytest.mark.parametrize("way", ["policy", "view", "index"])
def test_what_reads_code_of_others_under_any_name_is_not_committed(place: Place, way: str) -> None:
    """A model that names the relation itself, without `source()`, is found by what its transaction has read."""
    dbt_projects.write(place.directory, {"models/core/stg_shops.sql": "select shop, city from tool.shops"})
    place.as_tool(WAYS[way][0])

    with contextlib.suppress(DpeError):
        summary = place.run()
        assert summary.build.not_published is not None

    assert [] == place.committed()


def test_a_view_of_such_a_source_is_not_measured(place: Place) -> None:
    """Nor is it reconciled: both would run the code."""
    place.as_tool(WAYS["policy"][0])

    cells = protection.measure_rls(place.project, place.server, ["core.stg_shops"], [], dbt_projects.Silence())
    declared = reconcile_config.declared(place.project.manifest, place.project.sources)
    with place.server.connect("transformer") as connection:
        reconciled = reconciliation.reconcile_models(connection, declared)

    said = "reading it would run code of others: the policy mine on tool.shops, of hoover"
    [fault] = [fault for cell in cells for fault in cell.faults]
    assert f"core.stg_shops: {said}" in fault
    assert [said in why for why in reconciled.uncounted.values()] == [True]
    assert [] == place.harm()


# A policy for one role runs only if somebody reads as this role. A rollback does not restore the sequence.
FOR_A_ROLE = """
    create function tool.leaked() returns void language sql security definer as $$ select setval('tool.leak', 4711) $$;
    create function tool.spy() returns boolean language plpgsql as $$ begin perform tool.leaked(); return true; end $$;
    alter table tool.shops enable row level security;
    create policy for_dpe on tool.shops to dpe_transformer, dpe_owner using (true);
"""
GROUP, LOGIN = "hoovers_readers", "hoovers_clerk"
SHARED_VIEW = f"""
    create role {GROUP} in role dpe_reader; create role {LOGIN} login in role dpe_reader;
    create view finance.dim_towns with (security_invoker) as select * from tool.shops;
    alter view finance.dim_towns owner to dpe_transformer;
    grant usage on schema tool, finance to public; grant select on tool.shops, finance.dim_towns to public;
"""


@pytest.fixture
def shared_view(place: Place) -> Iterator[MeasuredRelation]:
    """Publish a view of the tool's table to everybody, besides a group of readers and a login."""
    place.as_admin(SHARED_VIEW)
    with place.server.connect("admin") as connection:
        found = find_relation(connection, "finance", "dim_towns")
    assert found is not None
    yield MeasuredRelation(found.oid, "finance", "dim_towns", "v", "shared", readers=(GROUP,))
    place.as_admin(f"drop owned by {GROUP}, {LOGIN}; drop role {GROUP}, {LOGIN}")


@pytest.mark.parametrize("temporary", ["granted", "revoked"])
def test_no_policy_for_a_role_that_is_measured_runs(place: Place, shared_view: MeasuredRelation, temporary: str) -> None:
    """Whichever role the policy is for: the session behind it is the transformer's or an administrator's."""
    if temporary == "revoked":
        database = place.server.database
        place.as_admin(f"revoke temporary on database {database} from public; grant temporary on database {database} to dpe_transformer")
    place.as_tool(FOR_A_ROLE)

    for role in ("public", "dpe_reader", "dpe_tenant", "dpe_masked_reader", "dpe_auditor", "dpe_loader", GROUP, LOGIN):
        place.as_tool(f"create policy spying on tool.shops to {role} using (tool.spy())")
        with place.server.connect("transformer") as connection:
            of_run = matrix.measure(connection, [shared_view], roles=TRANSFORMERS_ROLES, writes=())
        with place.server.connect("admin") as connection:
            of_matrix = matrix.measure(connection, [shared_view], logins=[LOGIN])
        said = {str(cell.problem).partition(":")[2] for cell in of_matrix}
        assert {" reading it would run code of others: the policy spying on tool.shops, of hoover"} == said, role
        if role in {"public", *TRANSFORMERS_ROLES}:
            assert [cell.problem for cell in of_run] == [cell.problem for cell in of_matrix]
        assert [] == place.harm(), role
        place.as_tool("drop policy spying on tool.shops")


def test_no_trigger_of_others_runs_in_a_measurement(place: Place) -> None:
    """An administrator's measurement says that the loader may write such a table, but does not try it: the loader sees all staged rows."""
    place.as_tool(
        "create function tool.leaked() returns trigger language plpgsql security definer as"
        " $$ begin perform setval('tool.leak', 4711); return new; end $$;"
        " create trigger spying before insert or update or delete on tool.shops for each row execute function tool.leaked()"
    )
    place.as_admin("grant usage on schema tool to dpe_loader; grant select, insert, update, delete on tool.shops to dpe_loader")
    with place.server.connect("admin") as connection:
        found = find_relation(connection, "tool", "shops")
        assert found is not None
        cells = matrix.measure(connection, [MeasuredRelation(found.oid, "tool", "shops", "r", "private")])

    assert {"allowed"} == {outcome for cell in cells if cell.actor == "the loader" for outcome in list(cell.writes.values())[:3]}
    assert [] == place.harm()
