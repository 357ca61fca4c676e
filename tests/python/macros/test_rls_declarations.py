"""One column, several, the role, or a table of grants decide who may see a row; and no row lacks a tenant."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import yaml
from conftest import Cluster, numbers
from psycopg import sql
from support import dbt_projects
from support.long_tests import LONG

from dpe_cli.access import checks, declared, visibility
from dpe_cli.pipeline import protection, run
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.project.dbt_runner import NodeResult, run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.contexts import admin_context, system_context, tenant_context
from dpe_cli.server.server import Server

CONFIG = "{{{{ config(contract={{'enforced': false}}, meta={{'rls': {rls}}}) }}}}\n"
MASKED = "{{{{ config(contract={{'enforced': false}}, meta={{'rls': {rls}, 'masked': ['hidden']}}) }}}}\n"
ACCESS = "{'access': {'model': 'account_managers.v2', 'column': 'account_id', 'role_column': 'manager', 'key': 'account'}}"
PROJECT = {
    # The shop that sends and the one that receives see a transfer.
    "models/finance/fct_transfers.sql": CONFIG.format(rls="{'tenant_column': ['sender', 'Receiver']}")
    + """
    select * from (values (1, 'UA', 'HA'), (2, 'UA', 'UA'), (3, 'DL', 'HA')) as t (id, sender, "Receiver")
    """,
    "models/finance/account_managers_v2.sql": CONFIG.format(rls="{'role_column': 'manager'}")
    + """
    select manager, account from (values ('{{ var("manager") }}', 'A'), ('somebody else', 'B')) as t (manager, account)
    """,
    # Versions share a name.
    "models/finance/account_managers_v1.sql": CONFIG.format(rls="{'private': true}") + "select 'nobody' as manager, 'A' as account",
    "models/finance/_account_managers.yml": """
        models: [{name: account_managers, versions: [{v: 1}, {v: 2, config: {alias: account_managers}}]}]
        """,
    "models/finance/fct_accounts.sql": CONFIG.format(rls=ACCESS)
    + """
    select * from (values ('A', 1), ('A', 2), ('B', 3)) as t (account_id, amount)
    """,
    "models/finance/fct_guests.sql": "{{ config(contract={'enforced': false}, meta={'rls': {'tenant_column': 'shop'}, 'masked': ['guest']}) }}"
    """
    select * from (values (1, 'HA', 'Ada'), (2, 'DL', 'Bob')) as t (id, shop, guest)
    """,
    # Every comparable type, and every declaration with a mask.
    "models/finance/fct_codes.sql": MASKED.format(rls="{'tenant_column': ['varying', 'Padded one', 'called']}")
    + """
    select 'UA'::varchar(3) as varying, 'HA'::char(4) as "Padded one", 'DL'::name as called, 1 as hidden
    """,
    "models/finance/fct_codes_of_one.sql": MASKED.format(rls="{'tenant_column': 'padded'}") + "select 'HA'::char(4) as padded, 1 as hidden",
    "models/finance/fct_masked_accounts.sql": MASKED.format(rls=ACCESS) + "select 'A'::varchar as account_id, 1 as hidden",
    "models/finance/fct_masked_notes.sql": MASKED.format(rls="{'role_column': 'manager'}") + "select 'x'::varchar as manager, 1 as hidden",
    # Names that a format string would take for placeholders.
    "models/finance/fct_shares.sql": MASKED.replace("meta=", "alias='100%s of all', meta=").format(rls="{'tenant_column': \"50%\"}")
    + """select 'UA'::text as "50%", 1 as "%I", 1 as hidden""",
    "models/finance/dim_masked.sql": MASKED.format(rls="{'shared': true}") + "select 1 as id, 1 as hidden",
}
# A reader's own type named text, with its own functions as casts from and to the real one.
OWN_TYPE = """
    create temp table makes_the_schema ();
    create type pg_temp.text as enum ('x');
    create function pg_temp.from_text(pg_catalog.text) returns pg_temp.text language sql as $$ select 'x'::pg_temp.text $$;
    create function pg_temp.to_text(pg_temp.text) returns pg_catalog.text language plpgsql volatile as $$
    declare
        calls integer := current_setting('own.calls')::integer + 1;
    begin
        perform set_config('own.calls', calls::pg_catalog.text, false);
        return case when calls % 2 = 1 then current_setting('own.granted') else current_setting('own.wanted') end;
    end $$;
    create cast (pg_catalog.text as pg_temp.text) with function pg_temp.from_text(pg_catalog.text) as assignment;
    create cast (pg_temp.text as pg_catalog.text) with function pg_temp.to_text(pg_temp.text) as implicit;
"""


@pytest.fixture(scope="module")
def manager(module_server: Server) -> Iterator[str]:
    """Create a reader: the desk of HA, which manages account A."""
    name = f"manager_{next(numbers)}"
    with module_server.connect("admin") as connection:
        connection.execute(sql.SQL("create role {} login in role dpe_reader").format(sql.Identifier(name)))
        connection.commit()
        with admin_context(connection, "test"):
            connection.execute("insert into dpe.tenant_access values (%s, 'HA')", [name])
    yield name
    with module_server.connect("admin") as connection:
        connection.execute(sql.SQL("drop owned by {name}; drop role {name}").format(name=sql.Identifier(name)))


@pytest.fixture(scope="module")
def published(scratch: Path, module_server: Server, manager: str) -> tuple[Project, Server]:
    """Write the project, and publish it for the first time."""
    project = Project(dbt_projects.make(scratch / "declarations", PROJECT), variables=f"{{manager: {manager}}}")
    summary = run.run(project, module_server, (), (), dbt_projects.Silence(), RunOptions(documents=False))
    assert summary.build.not_published is None
    return project, module_server


@pytest.fixture
def project(published: tuple[Project, Server]) -> Project:
    """Give the project."""
    return published[0]


@pytest.fixture
def server(published: tuple[Project, Server], cluster_18: Cluster) -> Iterator[Server]:
    """Give a copy of the database as the first publication left it."""
    with replace(cluster_18, template=published[1]).new_database() as server:
        yield server


def _column(server: Server, login: str, query: str) -> list[object]:
    with server.connect(login) as connection:
        return [value for (value,) in connection.execute(query.encode())]


def test_a_row_may_belong_to_several_tenants(project: Project, server: Server, manager: str) -> None:
    """Each of them sees it, once."""
    query = "select id from finance.fct_transfers order by id"

    assert [1, 3] == _column(server, manager, query)
    with server.connect("transformer") as connection, tenant_context(connection, "UA"):
        assert [(1,), (2,)] == connection.execute(query.encode()).fetchall()
    cells = protection.measure_published(project, server, dbt_projects.Silence())
    visible_rows = {
        visible.who: visible.rows
        for visible in visibility.of_models(cells, project.models.values(), project.target)
        if "transfers" in visible.relation
    }
    assert {"HA": 2, "DL": 1, "UA": 2, "a stranger": 0, "its owner, no context": 0} == visible_rows


def test_what_is_declared_is_what_is_checked(project: Project, server: Server) -> None:
    """Each policy matches its declaration, for each kind and type of column, in the checks of the catalog and of a build."""
    with server.connect("transformer") as connection:
        assert [] == checks.check(connection, protection.protected_schemas(connection, project))
        made = {model.unique_id: model.schema for model in project.models.values()}
        assert [] == declared.differences(connection, project.manifest, project.target, made)


@pytest.mark.parametrize("others", [pytest.param([], marks=LONG), ["dpe_masked_reader"]], ids=["one role", "several"])
def test_what_is_declared_is_what_is_checked_if_only_some_roles_read(
    project: Project, server: Server, manager: str, tmp_path: Path, others: list[str]
) -> None:
    """Neither dpe_reader nor everyone who is masked: each policy asks for these roles, whatever the kind of declaration."""
    directory, group = tmp_path / "some", f"50%s of O'Neil's {next(numbers)}"
    shutil.copytree(project.directory, directory, symlinks=True)
    settings = yaml.safe_load((directory / "dbt_project.yml").read_text())
    settings["models"]["+meta"] = {"readers": {"dev": [group, *others]}}
    (directory / "dbt_project.yml").write_text(yaml.safe_dump(settings))
    some = Project(directory, variables=f"{{manager: {manager}}}")
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} in role dpe_reader").format(sql.Identifier(group)))
        try:
            assert not any(result.has_failed for result in run_dbt(some, server, ["run"]))
            with server.connect("transformer") as building:
                found = checks.check(building, protection.protected_schemas(building, some))
                made = {model.unique_id: model.schema for model in some.models.values()}
                found += declared.differences(building, some.manifest, some.target, made)
                policies = building.execute(
                    "select polrelid::regclass::text, pg_get_expr(polqual, polrelid) from pg_policy "
                    "where polname in ('dpe_reader', 'dpe_mask') and polrelid::regclass::text like 'finance.%'"
                ).fetchall()
        finally:
            connection.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(group)))
    assert [] == found
    assert [] == [(relation, condition) for relation, condition in policies if group.replace("'", "''") not in condition]
    assert len(policies) > len(PROJECT)


def test_what_no_file_declares_is_found(project: Project, server: Server) -> None:
    """Though dbt says that it built it: there is nothing to compare it with."""
    with server.connect("transformer") as connection:
        (finding,) = declared.differences(connection, project.manifest, project.target, {"model.shops.unknown": "finance__next"})

    assert "model.shops.unknown: was built, but no file of the project declares it" in str(finding)


def test_a_declaration_that_is_required_but_missing_counts_as_private(project: Project, server: Server) -> None:
    """Though an earlier one is published: the checks say what it shows too much, rather than break."""
    manifest = copy.deepcopy(dict(project.manifest))
    manifest["nodes"]["model.shops.fct_accounts"]["config"]["meta"] = {"rls": "required"}

    with server.connect("transformer") as connection:
        found = declared.differences(connection, manifest, project.target, {"model.shops.fct_accounts": "finance"})

    assert "has the policy dpe_reader, which its declaration, private, does not call for" in {finding.detail for finding in found}
    assert any("is granted to dpe_reader, which neither meta.readers nor grants names" in finding.detail for finding in found)


def test_a_table_of_grants_decides(server: Server, manager: str) -> None:
    """A reader sees the rows of the keys that it was granted there, and only its own grants."""
    assert [1, 2] == _column(server, manager, "select amount from finance.fct_accounts order by 1")
    assert ["A"] == _column(server, manager, "select account from finance.account_managers")
    with server.connect("transformer") as connection, system_context(connection, actor="test"):
        assert (3,) == connection.execute("select count(*) from finance.fct_accounts").fetchone()


def test_a_new_version_of_the_grants_counts_at_once(project: Project, server: Server, manager: str, tmp_path: Path) -> None:
    """Even if it is published alone, without the tables whose rows it grants. A cursor that was opened before fails."""
    moved = PROJECT["models/finance/account_managers_v2.sql"].replace("'A'", "'C'").replace("'somebody else'", f"'{manager}'")
    directory = shutil.copytree(project.directory, tmp_path / "moved", symlinks=True)
    dbt_projects.write(directory, {"models/finance/account_managers_v2.sql": moved})

    with server.connect(manager) as reading:
        reading.execute("declare found cursor for select amount from finance.fct_accounts")
        run.run(
            Project(directory, variables=f"{{manager: {manager}}}"),
            server,
            ("account_managers",),
            (),
            dbt_projects.Silence(),
            RunOptions(documents=False),
        )
        with pytest.raises(psycopg.errors.SerializationFailure):
            reading.execute("fetch all from found")

    assert [3] == _column(server, manager, "select amount from finance.fct_accounts")


def test_without_a_table_of_grants_nothing_is_seen(server: Server, manager: str) -> None:
    """The reader gets neither an error nor a row."""
    with server.connect("admin") as connection:
        connection.execute("drop table finance.account_managers")

    assert [] == _column(server, manager, "select amount from finance.fct_accounts")


# What can happen to the table of grants, or to what a view of that name reads, after a query began: before it, after it, and whether the
# query fails. Otherwise it sees the grants.
COPIED = "create table finance.{0} as select * from finance.{1}; grant select on finance.{0} to dpe_reader;"
SWAPPED = "alter table finance.account_managers rename to earlier; alter table finance.newer rename to account_managers;"
VIEWED = (
    "alter table finance.account_managers rename to earlier;"
    "create view finance.account_managers with (security_invoker = true) as select * from finance.earlier;"
    "grant select on finance.account_managers to dpe_reader;"
)
AFTERWARDS = {
    "built and published": ("", COPIED.format("newer", "account_managers") + SWAPPED, True),
    "published": (COPIED.format("newer", "account_managers"), SWAPPED, False),
    "emptied and filled": (
        COPIED.format("newer", "account_managers"),
        "truncate finance.account_managers; insert into finance.account_managers select * from finance.newer",
        True,
    ),
    "dropped": ("", "drop table finance.account_managers", True),
    "changed": ("", "update finance.account_managers set account = 'C'", False),
    "a view": (VIEWED, "", False),
    "a view that reads another table": (
        VIEWED,
        COPIED.format("newer", "earlier")
        + "create or replace view finance.account_managers with (security_invoker = true) as select * from finance.newer;"
        "drop table finance.earlier",
        True,
    ),
    "a view of a table that was emptied and filled": (
        VIEWED + COPIED.format("newer", "earlier"),
        "truncate finance.earlier; insert into finance.earlier select * from finance.newer",
        True,
    ),
}


@pytest.mark.parametrize("what", list(AFTERWARDS))
def test_a_query_over_a_new_version_of_the_grants_fails(server: Server, manager: str, what: str) -> None:
    """If it began before that version was built; it must not return nothing, as if nothing had been granted."""
    before, after, fails = AFTERWARDS[what]
    with server.connect("admin", autocommit=True) as connection, server.connect(manager) as reading:
        connection.execute(before.encode() or b"select")
        reading.execute("declare found cursor for select amount from finance.fct_accounts order by 1")
        connection.execute(after.encode() or b"select")

        if fails:
            with pytest.raises(
                psycopg.errors.SerializationFailure,
                match='"account_managers": a new version was published while this query ran; run it again',
            ):
                reading.execute("fetch all from found")
        else:
            assert [(1,), (2,)] == reading.execute("fetch all from found").fetchall()


@pytest.mark.usefixtures("manager")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("query", "granted", "wanted"),
    [
        ("select id from finance.fct_transfers", "HA", "UA"),
        ("select shop from finance.fct_guests", "HA", "DL"),
        ("select shop from finance.fct_guests__masked", "HA", "DL"),
        ("select account_id from finance.fct_accounts", "A", "B"),
    ],
)
def test_types_of_a_reader_decide_nothing(
    server: Server, reader: Callable[..., str], *, query: str, granted: str, wanted: str, masked: bool
) -> None:
    """
    A reader names its own type `text`, which PostgreSQL would find before the built-in one, and casts a tenant to another one.

    (PostgreSQL documentation, "search_path".) It still sees only what it was granted.
    """
    login = reader(server, "HA")
    with server.connect("admin") as connection:
        connection.execute(sql.SQL("update finance.account_managers set manager = {} where account = 'A'").format(login))
        if masked:
            connection.execute(sql.SQL("revoke dpe_reader from {0}; grant dpe_masked_reader to {0}").format(sql.Identifier(login)))
    expected = set(_column(server, login, query))
    assert expected
    seen: set[object] = set()
    with psycopg.connect(replace(server, admin_user=login).url(), autocommit=True) as connection:
        connection.execute(f"set own.granted = '{granted}'; set own.wanted = '{wanted}'; set max_parallel_workers_per_gather = 0")
        connection.execute(OWN_TYPE)
        for calls in (0, 1):
            for chosen in ("", wanted):
                connection.execute(f"set own.calls = '{calls}'; set dpe.tenant_id = '{chosen}'")
                with suppress(psycopg.Error):
                    seen.update(value for (value,) in connection.execute(query.encode()))

    assert seen <= expected


@pytest.mark.parametrize("table", ["fct_transfers", "account_managers", "fct_accounts"])
def test_the_session_is_evaluated_once_per_query(server: Server, manager: str, table: str) -> None:
    """Not once per row: the sub-select is an InitPlan, and the compared columns are indexed."""
    plan = "\n".join(map(str, _column(server, manager, f"explain select * from finance.{table}")))
    conditions = [line for line in plan.splitlines() if "Filter:" in line or "Cond:" in line]

    assert "InitPlan" in plan
    assert conditions
    assert not [line for line in conditions if "dpe." in line], plan


@pytest.mark.parametrize(
    ("table", "columns"),
    [("fct_transfers", {"sender", "Receiver"}), ("account_managers", {"manager"}), ("fct_accounts", {"account_id"})],
)
def test_compared_columns_are_indexed(server: Server, table: str, columns: set[str]) -> None:
    """Each column by an index that starts with it."""
    query = "select attname::text from pg_index inner join pg_attribute on attrelid = indrelid and attnum = indkey[0] where indrelid = "

    assert columns == set(_column(server, "transformer", f"{query} 'finance.{table}'::regclass"))


ENDING = "$dpe$; select 1/0; --"
# Its columns too, and the id of its rule; the first one is a table, the second one is built from a copy of what is published.
NAMED = {
    f"models/finance/fct_named_{kind}.sql": f"""
        {{{{ config(alias="{kind}{ENDING}", materialized="{kind}", contract={{'enforced': false}}, unique_key='id',
            meta={{'rls': {{'tenant_column': "shop{ENDING}"}}, 'masked': {{'table': ["note{ENDING}"], 'incremental': []}}['{kind}']}}) }}}}
        select 1 as id, 'UA'::text as "shop{ENDING}", 'secret' as "note{ENDING}"
        """
    for kind in ("table", "incremental")
} | {
    "models/finance/_named.yml": f"""
        models:
          - name: fct_named_table
            columns:
              - name: id
                data_tests:
                  - not_null:
                      name: named_rows_have_an_id
                      config: {{meta: {{rule: "R{ENDING}", on_failure: quarantine, quarantine: {{max_rows: 9}}}}}}
        """
}


def test_a_name_ends_no_block_of_dpe(cluster_18: Cluster, tmp_path: Path) -> None:
    """Names of relations and columns, and ids of rules, may hold what ends a text of SQL."""
    project = Project(dbt_projects.make(tmp_path, NAMED))
    with cluster_18.new_database() as server:
        # The second one builds on what the first one published.
        for _ in range(2):
            summary = run.run(project, server, (), (), dbt_projects.Silence(), RunOptions(documents=False))
            assert [] == [(result.name, result.message) for result in summary.build.results if result.has_failed]
            assert summary.build.not_published is None

        with server.connect("transformer") as connection, system_context(connection, actor="test"):
            shown = sql.SQL("select {}, {} from finance.{}").format(
                *map(sql.Identifier, (f"shop{ENDING}", f"note{ENDING}", f"table{ENDING}__masked"))
            )
            assert [("UA", None)] == connection.execute(shown).fetchall()


@pytest.fixture(scope="module")
def without_a_tenant(scratch: Path, cluster_18: Cluster) -> Iterator[tuple[Server, dict[str, NodeResult]]]:
    """Build tables and incremental models with a row without a tenant, or with an empty one, after a version in which all rows have one."""
    text = CONFIG.format(rls="{'tenant_column': 'shop'}") + "{{{{ config(materialized='{kind}') }}}} select 1 as id, {shop} as shop"
    text = text.replace("{{{{", "{{").replace("}}}}", "}}")
    shops = {"": "null", "empty_": "''"}
    models = {
        f"models/finance/{prefix}{kind}s.sql": text.replace("{kind}", kind).replace("{shop}", "'UA'::text")
        for kind in ("table", "incremental")
        for prefix in shops
    }
    directory = dbt_projects.make(scratch / "nobodys", models)
    with cluster_18.new_database() as server:
        assert {"success"} == {result.status for result in run_dbt(Project(directory), server, ["run"])}
        dbt_projects.write(
            directory, {name: model.replace("'UA'", shops["empty_" if "empty_" in name else ""]) for name, model in models.items()}
        )
        yield server, {result.name: result for result in run_dbt(Project(directory), server, ["run"])}


@pytest.mark.parametrize("name", ["tables", "incrementals", "empty_tables", "empty_incrementals"])
def test_a_row_without_a_tenant_fails_the_build(without_a_tenant: tuple[Server, dict[str, NodeResult]], name: str) -> None:
    """No reader could see it, so its absence would go unnoticed; the earlier version stays."""
    server, results = without_a_tenant

    assert results[name].has_failed
    assert [1] == [count for (count,) in _in_context(server, f"select count(*) from finance.{name} where shop = 'UA'")]


def test_a_missing_tenant_is_reported(without_a_tenant: tuple[Server, dict[str, NodeResult]]) -> None:
    """With what to do."""
    message = without_a_tenant[1]["tables"].message

    assert "finance.tables: has rows without a shop, its tenant column" in message
    assert "Filter them out, give them a tenant, or quarantine them" in message
    for name in ("empty_tables", "empty_incrementals"):
        assert f"finance.{name}: has rows with an empty shop, its tenant column" in without_a_tenant[1][name].message
        assert "Filter them out, give them a tenant, or quarantine them" in without_a_tenant[1][name].message


def _in_context(server: Server, query: str) -> list[psycopg.rows.TupleRow]:
    with server.connect("transformer") as connection, system_context(connection, actor="test"):
        return connection.execute(query.encode()).fetchall()
