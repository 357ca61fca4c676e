"""
Each target publishes to its own readers, and a target without readers to no reader.

`targets` is one project that was run for three targets in one database: dev for every reader, prod for groups of its own, ci for no reader.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
import yaml
from conftest import Cluster, numbers
from psycopg import sql
from support import dbt_projects
from support.dbt_projects import NAME, Silence

from dpe_cli.access import declared
from dpe_cli.errors import ProjectError
from dpe_cli.pipeline import protection, run
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.contexts import admin_context, tenant_context
from dpe_cli.server.server import Server

TARGETS = ("dev", "prod", "ci")
MODEL = """
    {{{{ config(materialized='{kind}', unique_key='id', contract={{'enforced': false}}, meta={{'rls': {{'tenant_column': 'hotel'}}, 'masked': ['name']}}) }}}}
    select * from (values (1, 'UA', 'Ada'), (2, 'HA', 'Bob')) as t (id, hotel, name)
    """
FILES = {
    "macros/generate_schema_name.sql": """
        {% macro generate_schema_name(custom_schema_name, node) -%}
        {{ target.name }}_{{ custom_schema_name }}
        {%- endmacro %}
        """,
    "models/finance/fct_guests.sql": MODEL.format(kind="table"),
    "models/finance/fct_stays.sql": MODEL.format(kind="incremental"),
    "models/finance/dim_ids.sql": """
        {{ config(materialized='view', contract={'enforced': false}, meta={'rls': {'tenant_column': 'hotel'}}) }}
        select id, hotel from {{ ref('fct_guests') }}
        """,
    "models/finance/dim_rates.sql": """
        {{ config(materialized='table', contract={'enforced': false}, meta={'rls': {'shared': true}, 'masked': ['name']}) }}
        select * from (values (1, 'Weekend'), (2, 'Winter')) as t (id, name)
        """,
}
# Those with tenants, and all.
RELATIONS = ("fct_guests", "fct_stays", "dim_ids")
MODELS = (*RELATIONS, "dim_rates")


@dataclass(frozen=True)
class Targets:
    """A project with three targets, and the roles of prod's readers; `logins` are members of a group each, by the group's name."""

    directory: Path
    database: Server
    group: str
    masked: str
    logins: dict[str, str]
    runs: dict[str, RunSummary]

    def project(self, target: str) -> Project:
        """Return the project as it is for a target."""
        return Project(self.directory, target=target)

    def server(self, target: str) -> Server:
        """Return the server, for sessions that work for a target."""
        return replace(self.database, target=target)

    def run(self, target: str) -> RunSummary:
        """Run the project for a target."""
        return run.run(self.project(target), self.server(target), (), (), Silence(), RunOptions(documents=False))

    def names(self, readers: object) -> None:
        """Let the project name other readers."""
        path = self.directory / "dbt_project.yml"
        settings = yaml.safe_load(path.read_text())
        settings["models"]["+meta"] = {"readers": readers}
        path.write_text(yaml.safe_dump(settings))

    def may_use(self, role: str, schema: str) -> bool:
        """Return whether a role may use a schema."""
        with self.database.connect("admin") as connection:
            return connection.execute("select has_schema_privilege(%s, %s, 'usage')", [role, schema]).fetchone() == (True,)

    def seen(self, login: str, relation: str, columns: str = "id") -> list[object] | None:
        """Return what a login sees of the first column; None if it may not read the relation."""
        with self.database.connect(login) as connection:
            try:
                return [row[0] for row in connection.execute(f"select {columns} from {relation} order by 1".encode())]
            except psycopg.errors.InsufficientPrivilege:
                return None


@pytest.fixture(scope="module")
def published(cluster_18: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    """Run the project for each target."""
    number = next(numbers)
    group, masked = f"prod readers {number}", f"prod_masked_{number}"
    directory = dbt_projects.make(tmp_path_factory.mktemp("targets"), FILES)
    profiles = yaml.safe_load((directory / "profiles.yml").read_text())
    output = profiles["dpe"]["outputs"]["dev"]
    (directory / "profiles.yml").write_text(
        yaml.safe_dump({"dpe": {"target": "dev", "outputs": {target: {**output, "schema": f"{target}_core"} for target in TARGETS}}})
    )
    logins = {"dpe_reader": f"somebody_{number}", group: f"reader_{number}", masked: f"masked_{number}"}
    with cluster_18.new_database() as server:
        with server.connect("admin") as connection:
            for role, parent in {group: "dpe_reader", masked: "dpe_masked_reader"}.items():
                connection.execute(sql.SQL("create role {} in role {}").format(sql.Identifier(role), sql.Identifier(parent)))
            for role, login in logins.items():
                connection.execute(sql.SQL("create role {} login in role {}").format(sql.Identifier(login), sql.Identifier(role)))
            connection.commit()
            with admin_context(connection, "test"):
                for login in logins.values():
                    connection.execute("insert into dpe.tenant_access values (%s, 'UA')", [login])
        found = Targets(directory, server, group, masked, logins, {})
        found.names({"dev": ["dpe_reader", "dpe_masked_reader"], "prod": [masked, group]})
        found.runs.update({target: found.run(target) for target in TARGETS})
        yield found
    with cluster_18.template.connect("admin") as connection:
        for role in (*logins.values(), group, masked):
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


@pytest.fixture
def targets(published: Targets, cluster_18: Cluster, tmp_path: Path) -> Iterator[Targets]:
    """Give a copy of the project and of the database as the runs left them."""
    directory = tmp_path / "targets"
    shutil.copytree(published.directory, directory, symlinks=True)
    with replace(cluster_18, template=published.database).new_database() as server:
        yield replace(published, directory=directory, database=server)


def test_each_target_is_read_by_its_own_readers(published: Targets) -> None:
    """A login sees its tenant's rows in the targets that name one of its groups, and nothing of the others."""
    somebody, reader, masked = published.logins.values()

    assert all(summary.holds for summary in published.runs.values())
    for relation in RELATIONS:
        assert [1] == published.seen(somebody, f"dev_finance.{relation}")
        assert [1] == published.seen(reader, f"dev_finance.{relation}"), "a member of prod's group is a member of dpe_reader, too"
        assert published.seen(somebody, f"prod_finance.{relation}") is None
        assert [1] == published.seen(reader, f"prod_finance.{relation}")
        assert [None] * 3 == [published.seen(login, f"ci_finance.{relation}") for login in (somebody, reader, masked)]


def test_a_group_of_masked_readers_does_not_see_masked_columns(published: Targets) -> None:
    """It sees the others, and all of the view that leaves them empty."""
    _, reader, masked = published.logins.values()

    for relation in ("prod_finance.fct_guests", "prod_finance.fct_stays"):
        assert ["Ada"] == published.seen(reader, relation, "name")
        assert [1] == published.seen(masked, relation)
        assert published.seen(masked, relation, "name") is None
        assert [None] == published.seen(masked, f"{relation}__masked", "name")


def test_applications_see_what_a_target_publishes_unmasked(targets: Targets) -> None:
    """They act as dpe_tenant, for one tenant at a time; a target with masked readers only, or without readers, does not publish to them."""

    def seen(relation: str) -> list[tuple[int]]:
        with targets.database.connect("transformer") as connection, tenant_context(connection, "UA"):
            return connection.execute(f"select id from {relation}".encode()).fetchall()

    assert [(1,)] == seen("prod_finance.fct_guests")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        seen("ci_finance.fct_guests")
    targets.names({"ci": [targets.masked]})
    assert targets.run("ci").holds
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        seen("ci_finance.fct_guests")


@pytest.mark.parametrize("target", TARGETS)
def test_every_check_knows_the_readers_of_the_target(published: Targets, target: str) -> None:
    """The checks of the catalog, of the project, and the measurement of each role and login."""
    project, server = published.project(target), published.server(target)

    assert [] == protection.check_rls(project, server)
    cells = protection.measure_rls(project, server, ("*_finance.*",), [*published.logins.values()], Silence())
    assert [] == [fault for cell in cells for fault in cell.faults]
    somebody, reader, masked = published.logins.values()
    found = {cell.actor: cell.rows for cell in cells if cell.relation == f"{target}_finance.fct_guests"}
    wanted = {"dev": (1, 1, 1), "prod": (None, 1, 1), "ci": (None, None, None)}
    assert wanted[target] == (found[somebody], found[reader], found[masked])
    assert ("prod" == target) == (f"a stranger in {published.group}" in found)


def test_a_cursor_does_not_combine_two_roles(targets: Targets) -> None:
    """One of a login that reads a target, read on as a role of it with other tenants that does not read this target."""
    _, reader, _ = targets.logins.values()
    team = f"team_{next(numbers)}"
    with targets.database.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create role {0} in role dpe_reader; grant {0} to {1}").format(*map(sql.Identifier, (team, reader))))
    try:
        with targets.database.connect("admin") as connection, admin_context(connection, "test"):
            connection.execute("insert into dpe.tenant_access values (%s, 'HA')", [team])
        for relation in MODELS:
            with targets.database.connect(reader) as connection:
                connection.execute(f"declare held cursor for select id from prod_finance.{relation}".encode())
                connection.execute(sql.SQL("set local role {}").format(sql.Identifier(team)))
                assert [] == connection.execute("fetch all from held").fetchall()
    finally:
        with targets.database.connect("admin", autocommit=True) as connection:
            connection.execute("delete from dpe.tenant_access where role_name = %s::regrole", [team])
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(team)))


# A cursor that a reader opens on rows one by one, so that each step may be the first one to need what a policy asks; and one such step.
OPENED = """
    create function {schema}.opened() returns void language plpgsql security definer as $$
    declare stepped refcursor := 'stepped';
    begin
        set local enable_indexscan = off;
        set local enable_bitmapscan = off;
        set local enable_memoize = off;
        open stepped no scroll for
            select shown.name
            from unnest(array[2, 1]) as wanted (id)
            left join lateral (select * from prod_finance.{relation} where id = wanted.id offset 0) as shown on true;
    end $$
"""
ADVANCED = """
    create function {schema}.advanced() returns void language plpgsql security definer as $$
    declare stepped refcursor := 'stepped';
    begin
        move next from stepped;
    end $$
"""


@pytest.mark.parametrize("relation", ["fct_guests", "fct_stays", "dim_rates"])
def test_no_steps_of_a_cursor_by_different_roles_show_masked_columns(targets: Targets, relation: str) -> None:
    """One that a reader of prod opens, that a reader of dev advances, and of which a masked reader of prod fetches the rest."""
    somebody, reader, masked = targets.logins.values()
    schema = f"desk_{next(numbers)}"
    with targets.database.connect("admin", autocommit=True) as connection:
        connection.execute(f"create schema {schema}; grant create, usage on schema {schema} to public".encode())
    for login, function in {reader: OPENED, somebody: ADVANCED}.items():
        with targets.database.connect(login, autocommit=True) as connection:
            connection.execute(function.format(schema=schema, relation=relation).encode())
    with targets.database.connect(masked) as connection:
        connection.execute(f"select {schema}.opened()".encode())
        connection.execute(f"select {schema}.advanced()".encode())
        assert [(None,)] == connection.execute("fetch all from stepped").fetchall()


@pytest.mark.parametrize("relation", ["fct_guests", "dim_rates"])
def test_a_readers_view_does_not_show_a_target_to_others(targets: Targets, relation: str) -> None:
    """PostgreSQL checks the privilege of its owner, but the policies apply to the role that reads it."""
    somebody, reader, _ = targets.logins.values()
    schema = sql.Identifier(f"desk_{next(numbers)}")
    passed_on = sql.SQL("{}.passed_on").format(schema)
    with targets.database.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create schema {0}; grant create, usage on schema {0} to public").format(schema))
    with targets.database.connect(reader, autocommit=True) as connection:
        connection.execute(sql.SQL("create view {} as select id from prod_finance.{}").format(passed_on, sql.Identifier(relation)))
        assert (1,) in connection.execute(sql.SQL("select id from {}").format(passed_on)).fetchall()
    with targets.database.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("grant select on {} to public").format(passed_on))
    with targets.database.connect(somebody) as connection:
        assert [] == connection.execute(sql.SQL("select id from {}").format(passed_on)).fetchall()


def test_who_is_no_longer_named_no_longer_reads(targets: Targets) -> None:
    """From the next build on, also a table that is kept between builds."""
    _, reader, masked = targets.logins.values()
    targets.names({"prod": [targets.masked]})
    assert targets.run("prod").holds

    for relation in RELATIONS:
        assert targets.seen(reader, f"prod_finance.{relation}") is None
        assert [1] == targets.seen(masked, f"prod_finance.{relation}")
    assert [False, True] == [targets.may_use(role, "prod_finance") for role in (targets.group, targets.masked)]


def test_who_may_read_nothing_in_a_schema_may_not_use_it(targets: Targets) -> None:
    """Nor name what is in it, after a build by plain dbt either."""
    assert targets.may_use(targets.group, "prod_finance")
    targets.names({})

    results = run_dbt(targets.project("prod"), targets.server("prod"), ["run"])

    assert ["success"] * len(MODELS) == [result.status for result in results]
    assert [False] * 3 == [targets.may_use(role, "prod_finance") for role in (targets.group, targets.masked, "dpe_tenant")]


def test_a_grant_to_others_is_found(targets: Targets) -> None:
    """Readers of another target are others; so are masked readers of a column that its model masks."""
    with targets.database.connect("admin") as connection:
        connection.execute("grant select on prod_finance.fct_stays to dpe_reader")
        connection.execute(sql.SQL("grant select (name) on prod_finance.fct_guests to {}").format(sql.Identifier(targets.masked)))
        connection.execute("grant select on prod_finance.dim_ids to dpe_auditor")
        connection.commit()

    project = targets.project("prod")
    made = {f"model.{NAME}.{name}": "prod_finance" for name in RELATIONS}
    with targets.server("prod").connect("transformer") as connection:
        found = declared.differences(connection, project.manifest, "prod", made)
    assert {
        "prod_finance.fct_stays": "is granted to dpe_reader, which neither meta.readers nor grants names for this target",
        "prod_finance.fct_guests": "shows masked readers the column name, which meta.masked hides",
        "prod_finance.dim_ids": "is granted to dpe_auditor, which neither meta.readers nor grants names for this target",
    } == {finding.subject: finding.detail for finding in found}


def test_policies_that_ask_less_are_errors_until_the_next_run(targets: Targets) -> None:
    """As earlier versions of dpe made them: compared with the project's files. The version that the run replaces is no error then."""
    with targets.database.connect("admin") as connection:
        connection.execute(
            "alter policy dpe_mask on prod_finance.fct_guests using (hotel = any ("
            "(select case when pg_has_role('dpe_masked_reader', 'usage') then null else dpe.visible_tenants() end)::text[]));"
            "alter policy dpe_reader on prod_finance.dim_rates using (true);"
            "alter policy dpe_mask on prod_finance.dim_rates using (not (select pg_has_role('dpe_masked_reader', 'usage')))"
        )
        connection.commit()
    project, server = targets.project("prod"), targets.server("prod")

    assert [("RLS071", "dim_rates"), ("RLS071", "dim_rates"), ("RLS071", "fct_guests")] == [
        (finding.check_id, finding.subject.removeprefix("prod_finance.")) for finding in protection.check_rls(project, server)
    ]
    assert targets.run("prod").holds
    assert [] == protection.check_rls(project, server)


EXAMPLE = "{prod: [dpe_reader, dpe_masked_reader]}"
WRONG = {
    "dpe_reader": f"meta.readers is dpe_reader; write the roles of each target, such as {EXAMPLE}",
    "{dev: dpe_reader}": f"meta.readers.dev is dpe_reader; write a list of roles, such as {EXAMPLE}",
    "{prod: [1]}": f"meta.readers.prod is [1]; write a list of roles, such as {EXAMPLE}",
    "{dev: [nobody_of_that_name]}": "nobody_of_that_name: the role does not exist, but meta.readers names it",
    "{dev: [pg_monitor]}": "pg_monitor: the role does not inherit from dpe_reader, so that no policy shows it a row, but meta.readers names it",
    "{dev: [dpe_auditor]}": "dpe_auditor: the role is not only a reader: policies do not bind it as they bind readers, but meta.readers names it",
    "{dev: [dpe_transformer]}": "dpe_transformer: the role is not only a reader",
}


@pytest.fixture(scope="module")
def refused(published: Targets, cluster_18: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Build a model with each of these, and return the messages."""
    directory = tmp_path_factory.mktemp("refused") / "targets"
    shutil.copytree(published.directory, directory, symlinks=True)
    model = "{{ config(contract={'enforced': false}, meta={'rls': {'shared': true}, 'readers': %s}) }} select 1 as id"
    dbt_projects.write(
        directory, {f"models/finance/wrong_{number}.sql": model % repr(yaml.safe_load(readers)) for number, readers in enumerate(WRONG)}
    )
    with replace(cluster_18, template=published.database).new_database() as database:
        results = run_dbt(Project(directory), replace(database, target="dev"), ["run", "--select", "wrong_*"])
    return {readers: result.message for readers, result in zip(WRONG, sorted(results, key=lambda result: result.name), strict=True)}


@pytest.mark.parametrize("readers", WRONG)
def test_what_cannot_be_a_reader_is_refused(refused: dict[str, str], readers: str) -> None:
    """By the build, with what to do."""
    assert WRONG[readers] in refused[readers]


def test_a_role_is_not_a_reader_and_a_masked_reader(targets: Targets) -> None:
    """Nobody could say whether its members see masked columns."""
    with targets.database.connect("admin") as connection:
        connection.execute(sql.SQL("grant dpe_masked_reader to {}").format(sql.Identifier(targets.group)))
        connection.commit()
    try:
        (result,) = run_dbt(targets.project("prod"), targets.server("prod"), ["run", "--select", "fct_guests"])
    finally:
        with targets.database.connect("admin") as connection:
            connection.execute(sql.SQL("revoke dpe_masked_reader from {}").format(sql.Identifier(targets.group)))
            connection.commit()

    assert f"{targets.group}: the role is both a reader and a masked reader, but meta.readers names it" in result.message


def test_which_targets_publish_to_readers_is_never_guessed(targets: Targets) -> None:
    """A model that readers may see, without a word on targets, is refused: by `dpe run` before it loads, and by plain dbt."""
    path = targets.directory / "dbt_project.yml"
    settings = yaml.safe_load(path.read_text())
    del settings["models"]["+meta"]
    path.write_text(yaml.safe_dump(settings))
    missing = (
        "nothing says which targets publish it to readers; write it under models: in dbt_project.yml, such as "
        f"+meta: {{readers: {EXAMPLE}}}"
    )

    with pytest.raises(ProjectError) as refused:
        targets.run("dev")
    (result,) = run_dbt(targets.project("dev"), targets.server("dev"), ["run", "--select", "fct_stays"])

    assert str(refused.value).count(missing) == len(MODELS)
    assert missing in result.message
