"""Hooks are SQL by a model's author that runs as the pipeline: if they change the model's protection, its build fails."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from conftest import Cluster, numbers
from psycopg import sql
from support import dbt_projects, schemas

from dpe_cli.access import checks
from dpe_cli.errors import BuildError
from dpe_cli.init.adopt import refused
from dpe_cli.pipeline import protection
from dpe_cli.project import package
from dpe_cli.project.dbt_runner import NodeResult, run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server

OUTSIDER = f"outsider_{next(numbers)}"
TABLES, KEPT = ("table", "incremental"), ("incremental", "snapshot", "seed")
# What a hook can do to protection, to which kinds of relation, and the message.
HARMFUL: dict[str, tuple[tuple[str, ...], str]] = {
    f"grant select on {{{{ this }}}} to {OUTSIDER}": (("table", "view", *KEPT), f"privileges of {OUTSIDER}: select"),
    "grant select on {{ this }} to public": (("table", "view", *KEPT), "privileges of every role (PUBLIC): select"),
    f"grant select (amount) on {{{{ this }}}} to {OUTSIDER}": (TABLES, f"privileges of {OUTSIDER} on column amount: select"),
    "grant truncate on {{ this }} to dpe_reader": (KEPT, "privileges of dpe_reader: select, truncate (declared: select)"),
    "create policy wide on {{ this }} for select to dpe_reader using (true)": (
        ("table", *KEPT),
        "policy wide: for select to dpe_reader using (true)",
    ),
    "alter policy dpe_reader on {{ this }} using (true)": (
        KEPT,
        "policy dpe_reader: for select to dpe_masked_reader, dpe_reader using (true)",
    ),
    "drop policy dpe_reader on {{ this }}": (KEPT, "policy dpe_reader is gone"),
    "alter table {{ this }} disable row level security": (KEPT, "row-level security: off, forced (declared: enabled, forced)"),
    "alter table {{ this }} no force row level security": (KEPT, "row-level security: enabled (declared: enabled, forced)"),
    "alter table {{ this }} inherit core.parent": (
        TABLES,
        "a part of core.parent: whose policies decide who sees its rows",
    ),
    "create table core.{{ this.identifier }}_part () inherits ({{ this }})": (TABLES, "whose rows appear in it"),
    "alter view {{ this }} set (security_invoker = false)": (("view",), "option security_invoker: false (declared: true)"),
    "alter table {{ this }} owner to dpe_tenant": (("incremental",), "owner: dpe_tenant (declared: dpe_transformer)"),
}
REPLACE = (
    "create table finance.other_rows as select * from {{ this }}; drop table {{ this }}; "
    "alter table finance.other_rows rename to {{ this.identifier }}; grant select on {{ this }} to public"
)
HARMFUL |= {
    "grant select on {{ this }} to public; commit; begin": (("table", "incremental"), "privileges of every role (PUBLIC): select"),
    REPLACE: (("table",), "another relation is in its place"),
    f"{REPLACE}; select 1": (("incremental",), "it was dropped"),
}
# Autovacuum, and every session that plans a query of the table, would run the function.
CALLED = (
    "create function core.of_{{ this.identifier }}(integer) returns integer language sql immutable as 'select $1'; "
    "{} core.of_{{ this.identifier }}(amount)"
)
HARMFUL |= {
    CALLED.replace("{}", f"create {what}").replace("(amount)", f"(amount){rest}"): (TABLES, said)
    for what, rest, said in (
        ("index called_{{ this.identifier }} on {{ this }} ((", "))", "code in the index called_"),
        ("statistics {{ this.schema }}.called_{{ this.identifier }} on (", ") from {{ this }}", "code in the statistics called_"),
    )
}
# A composite type whose column has such a function.
PAIR = (
    "create function core.of_{{ this.identifier }}(integer) returns boolean language sql immutable as 'select $1 > 0'; "
    "create domain core.domain_{{ this.identifier }} as integer check (core.of_{{ this.identifier }}(value)); "
    "create type core.pair_{{ this.identifier }} as (number core.domain_{{ this.identifier }}); "
)
TO_PAIR = "(('(' || amount || ')')::core.pair_{{ this.identifier }})"
HARMFUL |= {
    f"{PAIR}create statistics {{{{ this.schema }}}}.called_{{{{ this.identifier }}}} on ({TO_PAIR}::text), shop from {{{{ this }}}}": (
        TABLES,
        "code in the statistics called_",
    ),
    f"{PAIR}alter table {{{{ this }}}} add constraint called check ({TO_PAIR} is not null)": (TABLES, "code in the constraint called"),
}
# What a hook may do without harm.
HARMLESS = "create index on {{ this }} (amount); comment on table {{ this }} is 'of the hook'; analyze {{ this }}"
META = "meta={'rls': {'tenant_column': 'shop'}}, contract={'enforced': false}"
ROWS = "select * from (values (1, 'UA', 10), (2, 'UA', 20), (3, 'HA', 30)) as t (id, shop, amount)"


def _files(name: str, kind: str, hook: str) -> dict[str, str]:
    """Write a model, seed or snapshot with a hook."""
    hook = hook.replace('"', '\\"')
    if kind in {"seed", "snapshot"}:
        # dbt renders YAML before there is a `this`.
        hook = hook.replace("{{ this }}", f"finance.{name}")
    if kind == "seed":
        config = f'{{schema: finance, column_types: {{shop: text}}, meta: {{rls: {{tenant_column: shop}}}}, post-hook: "{hook}"}}'
        return {
            f"seeds/{name}.csv": "id,shop,amount\n1,UA,10\n2,HA,20\n",
            f"seeds/_{name}.yml": f"seeds:\n  - name: {name}\n    config: {config}\n",
        }
    if kind == "snapshot":
        config = (
            "{schema: finance, unique_key: id, strategy: check, check_cols: all, meta: {rls: {tenant_column: shop}}, "
            f'post-hook: "{hook}"}}'
        )
        return {f"snapshots/{name}.yml": f"snapshots:\n  - name: {name}\n    relation: ref('rows_of_shops')\n    config: {config}\n"}
    return {f"models/finance/{name}.sql": f'{{{{ config(materialized="{kind}", post_hook="{hook}", {META}) }}}}\n{ROWS}\n'}


CASES = {f"harmed_{number}_{kind}": (kind, hook, said) for number, (hook, (kinds, said)) in enumerate(HARMFUL.items(), 1) for kind in kinds}
# dbt inserts into a table with a contract before it is protected, so that PostgreSQL shows the failing row. A value in it has lines that
# look like the parts of a message of PostgreSQL and dbt.
REFUSING_ROWS = {
    "models/finance/refusing_rows.sql": """
        select
            'HA'::text as shop,
            concat_ws(chr(10), 'x', '  HINT:  run it', '  CONTEXT:  of it', '  compiled code at it.sql')::text as note,
            4711 as amount
        """,
    "models/finance/_refusing_rows.yml": """
        models:
          - name: refusing_rows
            config: {materialized: table, meta: {rls: {tenant_column: shop}}}
            columns:
              - {name: shop, data_type: text}
              - {name: note, data_type: text}
              - {name: amount, data_type: integer, constraints: [{type: check, expression: amount < 99}]}
        """,
}
# Not a relation, so that it needs no protection.
FUNCTION = {
    "functions/is_positive.sql": "select amount > 0",
    "functions/_functions.yml": """
        functions:
          - name: is_positive
            config: {schema: core}
            arguments: [{name: amount, data_type: integer}]
            returns: {data_type: boolean}
        """,
}
ROWS_OF_SHOPS = {"models/core/rows_of_shops.sql": ROWS}
# dbt's message is a comparison of rows.
UNIT_TEST = {
    "models/core/amounts.sql": "select shop, amount from {{ ref('rows_of_shops') }}",
    "models/core/_amounts.yml": """
        unit_tests:
          - name: amounts_are_other_ones
            model: amounts
            given: [{input: ref('rows_of_shops'), format: sql, rows: "select 'HA' as shop, 4711 as amount"}]
            expect: {rows: [{shop: HA, amount: 1}]}
        """,
}


@contextmanager
def _outsider(server: Server) -> Iterator[None]:
    schemas.create(server, "core", "finance")
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login in role dpe_reader").format(sql.Identifier(OUTSIDER)))
        connection.execute("create table core.parent (id integer, shop text, amount integer)")
        connection.execute("alter table core.parent owner to dpe_transformer; grant dpe_tenant to dpe_transformer")
        connection.execute("grant create on schema finance to dpe_tenant")
    try:
        yield
    finally:
        with server.connect("admin", autocommit=True) as connection:
            connection.execute(sql.SQL("drop owned by {name}; drop role {name}").format(name=sql.Identifier(OUTSIDER)))


@pytest.fixture(scope="module")
def outsider(module_server: Server) -> Iterator[Server]:
    """Create a reader without a tenant, and a table that others may inherit from."""
    with _outsider(module_server):
        yield module_server


@pytest.fixture(scope="module")
def harmed(scratch: Path, outsider: Server) -> dict[str, NodeResult]:
    """Build a project in which each model, seed and snapshot has a hook that harms its protection."""
    files = dict(ROWS_OF_SHOPS)
    for name, (kind, hook, _) in CASES.items():
        files |= _files(name, kind, hook)
    files |= REFUSING_ROWS | UNIT_TEST
    project = Project(dbt_projects.make(scratch / "harmed", files))
    return {result.name: result for result in run_dbt(project, outsider, ["build"])}


@pytest.mark.parametrize("name", CASES)
def test_a_hook_that_harms_protection_fails_the_build(harmed: dict[str, NodeResult], name: str) -> None:
    """With the model's name, and what the hook did."""
    result = harmed[name]

    assert result.has_failed
    assert f"{name}: a hook changed " in result.message
    assert CASES[name][2] in result.message
    assert "name readers in meta.readers, other roles in grants" in result.message


def test_nothing_of_what_a_hook_harmed_is_committed(harmed: dict[str, NodeResult], outsider: Server) -> None:
    """As if it had never been built."""
    del harmed
    with outsider.connect("admin") as connection:
        assert [] == connection.execute("select relname from pg_class where relname ~ '^harmed_' and relkind in ('r', 'v')").fetchall()


def test_a_message_about_a_model_holds_no_row(harmed: dict[str, NodeResult]) -> None:
    """
    PostgreSQL shows the failing row in a detail, which is left out with all that follows, because a value may look like the end of it.

    dbt shows rows that a unit test compares.
    """
    result = harmed["refusing_rows"]

    assert "violates check constraint" in result.message
    assert "models/finance/refusing_rows.sql" in result.message.splitlines()[-1]
    assert [] == [part for part in ("4711", "run it", "of it", " it.sql") if part in result.message]
    assert (
        "the rows differ from the expected ones; `dpe dbt test --select amounts_are_other_ones` shows them"
        == harmed["amounts_are_other_ones"].message
    )


@pytest.fixture(scope="module")
def careful(scratch: Path, cluster_18: Cluster) -> Iterator[tuple[Project, Server]]:
    """Build a project whose hooks are harmless, in a database of its own."""
    files = dict(ROWS_OF_SHOPS)
    for kind in ("table", "incremental", "snapshot", "seed"):
        files |= _files(f"careful_{kind}", kind, HARMLESS)
    files |= _files("plain_table", "table", "")
    files |= FUNCTION
    files |= _files("careful_view", "view", "comment on view {{ this }} is 'of the hook'")
    project = Project(dbt_projects.make(scratch / "careful", files))
    with cluster_18.new_database() as server:
        for _ in range(2):
            assert [] == [result.message for result in run_dbt(project, server, ["build"]) if result.has_failed]
        yield project, server


def test_a_hook_that_leaves_protection_alone_is_allowed(careful: tuple[Project, Server]) -> None:
    """Indexes, comments, statistics, on each kind of relation, however often it is built."""
    project, server = careful
    with server.connect("transformer") as connection:
        assert [] == checks.check(connection, protection.protected_schemas(connection, project))
        rows = connection.execute("select count(*), count(distinct declaration) from dpe.protected_relations").fetchall()
        assert [(0, 0)] == rows
    with server.connect("admin") as connection:
        found = connection.execute("select count(*) from pg_description where description = 'of the hook' and objsubid = 0").fetchone()
    assert (5,) == found


def test_a_function_of_dbt_is_built(careful: tuple[Project, Server]) -> None:
    """It has no rows, so it needs no protection; readers cannot call it."""
    _, server = careful
    with server.connect("admin") as connection:
        [(acl,)] = connection.execute("select proacl::text from pg_proc where proname = 'is_positive'").fetchall()
    assert "{dpe_transformer=X/dpe_transformer}" == acl


@pytest.fixture
def copied(careful: tuple[Project, Server], cluster_18: Cluster, tmp_path: Path) -> Iterator[tuple[Path, Server]]:
    """Give a copy of that project and its database."""
    project, server = careful
    directory = shutil.copytree(project.directory, tmp_path / "copy", symlinks=True)
    with replace(cluster_18, template=server).new_database() as copy:
        yield directory, copy


def _wide(server: Server, relation: str, reader: str) -> bool:
    """Return whether a reader without a tenant sees rows."""
    with server.connect(reader, autocommit=True) as connection:
        try:
            return connection.execute(sql.SQL("select from {} limit 1").format(sql.Identifier(*relation.split(".")))).rowcount > 0
        except psycopg.errors.InsufficientPrivilege:
            return False


WIDE = {"sql": "create policy wide on {{ this }} for select to dpe_reader using (true)", "transaction": False}
NOT_TO_BE_CLOSED = (
    "create schema own; create table own.kept (one integer); grant create on schema own to dpe_tenant; "
    "insert into dpe.protected_relations (relation_id, node, declaration, protection, invocation_id) "
    "select oid, 'model.shops.a', 'x', dpe.protection_of(oid), '{{ invocation_id }}' from pg_class where oid = 'own.kept'::regclass; commit; "
    "begin; grant select on own.kept to public; alter table own.kept owner to dpe_tenant; commit"
)
LATE: dict[str, tuple[object, str]] = {
    "after the commit": (
        {"sql": "alter table {{ this }} disable row level security", "transaction": False},
        "row-level security: off, forced (declared: enabled, forced)",
    ),
    "with constraints that do not wait": (
        "set constraints all immediate; grant select on {{ this }} to public; alter table {{ this }} disable row level security",
        "row-level security: off, forced (declared: enabled, forced)",
    ),
    "by another relation in its place": ({"sql": REPLACE, "transaction": False}, "another relation is in its place"),
    "by another relation in its place, protected for another model": (
        {
            "sql": f"{REPLACE}; {{{{ dpe.protect_table(this, {{'shared': true}}, 'model.shops.other') }}}}",
            "transaction": False,
        },
        "another relation is in its place",
    ),
    "by a parent": (
        {
            "sql": "create schema if not exists core; create table core.parent (like {{ this }}); grant select on core.parent to public; "
            "alter table {{ this }} inherit core.parent",
            "transaction": False,
        },
        "a part of core.parent",
    ),
    "before an error": ([WIDE, {"sql": "select 1 / 0", "transaction": False}], "policy wide: for select to dpe_reader using (true)"),
    "by another relation in its place, before an error": (
        [{"sql": REPLACE, "transaction": False}, {"sql": "select 1 / 0", "transaction": False}],
        "its protection is not recorded",
    ),
    "and has dpe forget": (
        [WIDE, {"sql": "delete from dpe.protected_relations where relation_id = '{{ this }}'::regclass", "transaction": False}],
        "policy wide: for select to dpe_reader using (true)",
    ),
    "where the role may only read from then on": (
        [
            WIDE,
            {
                "sql": "alter role dpe_transformer in database {{ target.dbname }} set default_transaction_read_only = on",
                "transaction": False,
            },
        ],
        "policy wide: for select to dpe_reader using (true)",
    ),
    "where the role's strings are read otherwise from then on": (
        [
            WIDE,
            {
                "sql": "alter role dpe_transformer in database {{ target.dbname }} set standard_conforming_strings = off",
                "transaction": False,
            },
        ],
        "policy wide: for select to dpe_reader using (true)",
    ),
    "together with a relation that cannot be closed": (
        [WIDE, {"sql": NOT_TO_BE_CLOSED, "transaction": False}],
        "its policies could not be removed: must be owner of table kept",
    ),
}


@pytest.mark.parametrize("when", LATE)
def test_what_a_hook_harms_after_the_commit_is_closed(copied: tuple[Path, Server], reader: Callable[..., str], when: str) -> None:
    """At the end of the run, which fails; after it no reader sees a row."""
    directory, server = copied
    stranger = reader(server)
    hook, said = LATE[when]
    dbt_projects.write(
        directory,
        {"models/finance/careful_incremental.sql": f'{{{{ config(materialized="incremental", post_hook={hook!r}, {META}) }}}}\n{ROWS}\n'},
    )

    with pytest.raises(BuildError, match="careful_incremental: its protection was changed after it was built") as caught:
        run_dbt(Project(directory), server, ["run", "--select", "careful_incremental"])

    assert said in str(caught.value)
    assert not _wide(server, "finance.careful_incremental", stranger)
    with server.connect("admin") as connection:
        found = connection.execute(
            "select relrowsecurity, relforcerowsecurity, relacl::text, not exists (select from pg_inherits where inhrelid = pg_class.oid) "
            "from pg_class where relname = 'careful_incremental'"
        )
        assert [(True, True, "{dpe_transformer=arwdDxtm/dpe_transformer}", True)] == found.fetchall()


# A query of a test that opens the tested relation, but only when dpe runs it a second time to keep its rows.
OPENING_LATE = {
    "models/finance/careful_table.sql": f"""
        {{{{ config(materialized="table", {META}, pre_hook="
            create schema if not exists code;
            create or replace function code.again() returns boolean language plpgsql as $f$
            begin
                if (select query from pg_stat_activity where pid = pg_backend_pid()) like '%remember_rules%'
                        and not exists (select from pg_policy where polname = 'wide') then
                    create policy wide on finance.careful_table for select to dpe_reader using (true);
                end if;
                return true;
            end $f$") }}}}
        {ROWS}
        """,
    "tests/singular/warns.sql": "{{ config(severity='warn') }} select * from {{ ref('careful_table') }} where code.again()",
    "tests/singular/passes.sql": (
        "{{ config(severity='warn', warn_if='>9') }} select * from {{ ref('careful_table') }} where code.again()"
    ),
}


def test_a_query_that_runs_again_to_keep_its_rows_changes_nothing(copied: tuple[Path, Server], reader: Callable[..., str]) -> None:
    """Relations are compared with their declarations before that, so whatever the query's functions do is undone."""
    directory, server = copied
    stranger = reader(server)
    dbt_projects.write(directory, OPENING_LATE)

    results = run_dbt(Project(directory), server, ["build", "--select", "careful_table"])

    assert {"careful_table": "success", "warns": "warn", "passes": "pass"} == {result.name: result.status for result in results}
    assert not _wide(server, "finance.careful_table", stranger)
    with server.connect("admin") as connection, admin_context(connection, "test"):
        kept = connection.execute(
            "select test, count(*), (select failures from dpe.rule_results where test = kept.test) from dpe.rule_failures as kept "
            "where test in ('warns', 'passes') group by test order by test"
        ).fetchall()
    assert [("passes", 3, 3), ("warns", 3, 3)] == kept


# A test's name that would end the statement in which dpe tells the ledger of it. dbt refuses blanks in names, but not tabs.
NAME = "x}');create policy wide on finance.careful_table for select to dpe_reader using (true);select upper('".replace(" ", "\t")


def test_the_name_of_a_test_is_no_statement(copied: tuple[Path, Server]) -> None:
    """Nor ends the run, or what is kept of others' failures, if it holds a quote or a comma."""
    directory, server = copied
    names = [NAME, "it's", "a,b", '"{"']
    listed = "".join(f"\n      - {{not_null: {{name: {json.dumps(name)}, column_name: id, config: {{severity: warn}}}}}}" for name in names)
    files = {
        "models/finance/careful_table.sql": f'{{{{ config(materialized="table", {META}) }}}}\n{ROWS}\n',
        "models/finance/_named.yml": f"models:\n  - name: careful_table\n    data_tests:{listed}\n",
    }
    dbt_projects.write(directory, files)

    results = run_dbt(Project(directory), server, ["build", "--select", "careful_table"])

    assert {*names} <= {result.name for result in results}
    with server.connect("admin") as connection, admin_context(connection, "test"):
        assert [] == connection.execute("select from pg_policy where polname = 'wide'").fetchall()
        kept = connection.execute("select distinct test from dpe.rule_results").fetchall()
        assert {*names} <= {name for (name,) in kept}


def test_privileges_that_were_only_revoked_close_nothing(copied: tuple[Path, Server]) -> None:
    """An administrator that drops a role during a run opens nothing."""
    directory, server = copied
    hook = {"sql": "revoke select on {{ this }} from dpe_masked_reader", "transaction": False}
    dbt_projects.write(
        directory,
        {"models/finance/careful_incremental.sql": f'{{{{ config(materialized="incremental", post_hook={hook!r}, {META}) }}}}\n{ROWS}\n'},
    )

    assert ["success"] == [result.status for result in run_dbt(Project(directory), server, ["run", "--select", "careful_incremental"])]


def test_changes_before_the_build_are_undone(copied: tuple[Path, Server], reader: Callable[..., str]) -> None:
    """Changes by an earlier hook, or by hand since the last build, in a table that is kept."""
    directory, server = copied
    schemas.create(server, "parts")
    stranger = reader(server)
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("grant select (amount) on finance.careful_incremental to {}").format(sql.Identifier(stranger)))
        connection.execute("create table parts.part () inherits (finance.careful_incremental)")
        connection.execute("alter table parts.part owner to dpe_transformer")
    hook = "create policy wide on {{ this }} for select to dpe_reader using (true)"
    dbt_projects.write(
        directory,
        {"models/finance/careful_incremental.sql": f'{{{{ config(materialized="incremental", pre_hook="{hook}", {META}) }}}}\n{ROWS}\n'},
    )

    assert ["success"] == [result.status for result in run_dbt(Project(directory), server, ["run", "--select", "careful_incremental"])]

    assert not _wide(server, "finance.careful_incremental", stranger)
    with server.connect("transformer", autocommit=True) as connection:
        connection.execute("drop table parts.part")
        assert [] == checks.check(connection, protection.protected_schemas(connection, Project(directory)))


def test_an_index_of_a_hook_does_not_fail_on_rows_in_quarantine(copied: tuple[Path, Server]) -> None:
    """The rows that break a rule are quarantined before the hooks run."""
    directory, server = copied
    config = f'materialized="table", post_hook="create unique index on {{{{ this }}}} (id)", indexes=[{{"columns": ["id"], "unique": true}}], {META}'
    dbt_projects.write(
        directory,
        {
            "models/finance/unique_orders.sql": f"{{{{ config({config}) }}}}\n{ROWS} union all select 3, 'UA', 40\n",
            "models/finance/_unique_orders.yml": """
                models:
                  - name: unique_orders
                    columns:
                      - name: id
                        data_tests:
                          - unique:
                              config: {meta: {rule: HOOKS-1, on_failure: quarantine, quarantine: {max_rows: 9}}}
                """,
        },
    )

    assert ["success"] == [result.status for result in run_dbt(Project(directory), server, ["run", "--select", "unique_orders"])]

    with server.connect("admin") as connection:
        counts = connection.execute(
            "select (select count(*) from finance.unique_orders), (select count(*) from finance.unique_orders__quarantine)"
        )
        assert (2, 2) == counts.fetchone()


# The folder names one role for its models, and each model adds another; `copy_grants` means nothing to PostgreSQL.
_GRANTS = "grants={'+select': [var('added')]} if var('added') else {}, copy_grants=true"
GRANTED = {
    f"models/finance/granted_{kind}.sql": f"{{{{ config(materialized='{kind}', {_GRANTS}, {META}) }}}} {ROWS}"
    for kind in ("table", "incremental", "view")
} | {
    "seeds/granted_seed.csv": "id,shop,amount\n1,UA,10\n",
    "seeds/seeds.yml": "seeds: [{name: granted_seed, config: {schema: finance, meta: {rls: {tenant_column: shop}}}}]",
    "snapshots/granted_snapshot.sql": f"""
        {{% snapshot granted_snapshot %}}
        {{{{ config(schema='finance', unique_key='id', strategy='check', check_cols='all', {_GRANTS}, {META}) }}}} {ROWS}
        {{% endsnapshot %}}
        """,
}
_KINDS = {"granted_table", "granted_incremental", "granted_view", "granted_seed", "granted_snapshot"}


def test_roles_of_grants_are_granted_in_addition_to_readers(server: Server, tmp_path: Path) -> None:
    """
    In every materialization, at each build: those of a folder in dbt_project.yml and those of the model, as long as they are named.

    Readers keep their own privileges, and a role that is not a reader sees no row.
    """
    directory = dbt_projects.make(tmp_path / "granted", GRANTED)
    configuration = (directory / "dbt_project.yml").read_text()
    in_folder = "  +grants: {select: [folder_tool]}\n  +persist_docs"
    own = {"dpe_masked_reader", "dpe_owner", "dpe_reader"}

    def granted(added: str) -> dict[str, set[str]]:
        results = run_dbt(Project(directory, variables=f"{{added: '{added}'}}"), server, ["build"])
        assert [] == [result.message for result in results if result.has_failed]
        with server.connect("admin") as connection:
            rows = connection.execute(
                "select table_name::text, array_agg(grantee::text) from information_schema.table_privileges "
                "where table_name ~ '^granted_' and grantee <> 'dpe_transformer' group by 1"
            ).fetchall()
        return {name: set(roles) for name, roles in rows}

    schemas.create(server, "finance")
    with server.connect("admin", autocommit=True) as connection:
        connection.execute("create role auditing_tool login; create role folder_tool; grant usage on schema finance to auditing_tool")
    try:
        (directory / "dbt_project.yml").write_text(configuration.replace("  +persist_docs", in_folder))
        for _ in range(2):
            found = granted("auditing_tool")
            assert own | {"folder_tool"} == found.pop("granted_seed")
            assert dict.fromkeys(_KINDS - {"granted_seed"}, own | {"folder_tool", "auditing_tool"}) == found
        with server.connect("auditing_tool") as connection:
            assert (0,) == connection.execute("select count(*) from finance.granted_incremental").fetchone()
        (directory / "dbt_project.yml").write_text(configuration)
        assert dict.fromkeys(_KINDS, own) == granted("")
    finally:
        with server.connect("admin", autocommit=True) as connection:
            connection.execute("drop owned by auditing_tool, folder_tool; drop role auditing_tool, folder_tool")


REFUSED = {
    "frozen_orders": (
        {"macros/frozen.sql": "{% materialization frozen, default %} {{ return({'relations': []}) }} {% endmaterialization %}"},
        "materialized='frozen'",
        "the materialization frozen is not dbt's own",
    ),
    "table_orders": (
        {"macros/table.sql": "{% materialization table, adapter='postgres' %} {{ return({'relations': []}) }} {% endmaterialization %}"},
        "materialized='table'",
        "the materialization table is not dbt's own",
    ),
    "view_orders": (
        {"macros/view.sql": "{% materialization view, default %} {{ return({'relations': []}) }} {% endmaterialization %}"},
        "materialized='view'",
        "the materialization view is not dbt's own",
    ),
}
# Those of tests and functions run in the same sessions, and could do the same.
OTHER_MATERIALIZATIONS = {
    "a replaced one of tests": (
        {
            "macros/own.sql": "{% materialization test, default %} {{ return({'relations': []}) }} {% endmaterialization %}",
            "tests/singular/checked.sql": "select 1 as one where false",
        },
        "checked (tests/singular/checked.sql): the materialization test is not dbt's own",
    ),
    "a replaced one of unit tests": (
        {
            "macros/own.sql": "{% materialization unit, adapter='postgres' %} {{ return({'relations': []}) }} {% endmaterialization %}",
            **ROWS_OF_SHOPS,
        },
        "the materialization unit (macros/own.sql) is not dbt's own",
    ),
    "a replaced one of functions": (
        {
            "macros/own.sql": "{% materialization function, default %} {{ return({'relations': []}) }} {% endmaterialization %}",
            **FUNCTION,
        },
        "is_positive (functions/is_positive.sql): the materialization function is not dbt's own",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_materialization_that_is_not_dbts_own_is_refused(server: Server, tmp_path: Path, name: str) -> None:
    """Before anything is built: it need not grant, so its relations would not be protected."""
    macros, config, said = REFUSED[name]
    project = Project(
        dbt_projects.make(tmp_path / name, {**macros, f"models/finance/{name}.sql": f"{{{{ config({config}, {META}) }}}} {ROWS}"})
    )

    with pytest.raises(BuildError) as caught:
        run_dbt(project, server, ["build"])

    assert f"{name} (models/finance/{name}.sql): {said}" in str(caught.value)


OTHER_PACKAGE = {
    "packages.yml": f"packages: [{{local: {package.PLACE}}}, {{local: dbt_packages/other}}]",
    "dbt_packages/other/dbt_project.yml": "{name: other, version: 0.1.0}",
}


@pytest.mark.parametrize("materialization", ["table, default", "incremental, adapter='postgres'", "seed, default", "unit, default"])
def test_a_materialization_that_a_package_replaces_is_refused(server: Server, tmp_path: Path, materialization: str) -> None:
    """dbt uses it in the whole project if a flag says so, which Jinja cannot read."""
    files = {
        **OTHER_PACKAGE,
        "dbt_packages/other/macros/own.sql": f"{{% materialization {materialization} %}} {{{{ return({{'relations': []}}) }}}} {{% endmaterialization %}}",
        "models/finance/orders_of_shops.sql": f"{{{{ config({META}) }}}} {ROWS}",
    }
    directory = dbt_projects.make(tmp_path / "replaced", files)
    settings = directory / "dbt_project.yml"
    flag = "flags:\n  require_explicit_package_overrides_for_builtin_materializations: false\n"
    settings.write_text(settings.read_text().replace("flags:\n", flag))

    with pytest.raises(BuildError) as caught:
        run_dbt(Project(directory), server, ["build"])

    name = materialization.partition(",")[0]
    assert f"the package other: its materialization {name} (macros/own.sql) may replace dbt's own" in str(caught.value)


def test_a_package_may_have_its_own_run_query_and_materialization_of_tests(server: Server, tmp_path: Path) -> None:
    """As Elementary does. Its models are protected, whatever its run_query returns; neither can do more than its other macros."""
    files = {
        **OTHER_PACKAGE,
        "dbt_packages/other/macros/run_query.sql": "{% macro run_query(query) %}{{ return({'rows': [{'is_protected': true}]}) }}{% endmacro %}",
        "dbt_packages/other/macros/test.sql": "{% materialization test, default %} {{ return(dbt.materialization_test_default()) }} {% endmaterialization %}",
        "dbt_packages/other/models/orders_of_others.sql": f"{{{{ config(materialized='table', {META}) }}}} {ROWS}",
        "tests/singular/checked.sql": "select * from {{ ref('orders_of_others') }} where shop is null",
    }
    directory = dbt_projects.make(tmp_path / "packaged", files)

    built = {result.name: result.status for result in run_dbt(Project(directory), server, ["build"])}

    assert {"orders_of_others": "success", "checked": "pass"} == built
    with server.connect("admin") as connection:
        protected = (
            "select relforcerowsecurity, exists(select from pg_policy where polrelid = pg_class.oid) from pg_class where relname = %s"
        )
        assert (True, True) == connection.execute(protected, ["orders_of_others"]).fetchone()


@pytest.mark.parametrize("name", OTHER_MATERIALIZATIONS)
def test_a_materialization_of_tests_or_functions_that_is_not_dbts_own_is_refused(server: Server, tmp_path: Path, name: str) -> None:
    """Before any of it runs: it could create a table without policies."""
    files, said = OTHER_MATERIALIZATIONS[name]

    with pytest.raises(BuildError, match=re.escape(said)):
        run_dbt(Project(dbt_projects.make(tmp_path / "other", files)), server, ["build"])


OVERRIDES = {
    "apply_grants": "{% macro apply_grants(relation, grant_config, should_revoke=True) %}{% endmacro %}",
    "run_query": "{% macro run_query(sql) %}{{ return(none) }}{% endmacro %}",
    # dbt has default__ and postgres__ forms of others, and searches the project for these first.
    "postgres__get_create_table_as_sql": "{% macro postgres__get_create_table_as_sql(temporary, relation, sql) %}select 1{% endmacro %}",
    "tojson": "{% macro tojson(value, default=none, sort_keys=false) %}[]{% endmacro %}",
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_a_macro_that_overrides_dbts_own_is_refused(server: Server, tmp_path: Path, name: str) -> None:
    """Before anything is built: protection relies on these. Projects may choose how models are named."""
    files = {
        "macros/helper.sql": OVERRIDES[name],
        "macros/alias.sql": "{% macro generate_alias_name(custom_alias_name=none, node=none) %}{{ node.name }}{% endmacro %}",
        "models/finance/orders_of_shops.sql": f"{{{{ config({META}) }}}} {ROWS}",
    }

    with pytest.raises(BuildError) as caught:
        run_dbt(Project(dbt_projects.make(tmp_path / "helped", files)), server, ["build"])

    assert f"{name} (macros/helper.sql): overrides a macro or a variable of dbt that protection relies on" in str(caught.value)


def test_an_expression_of_which_contracts_or_quoted_texts_depend_is_not_overridden(server: Server, tmp_path: Path) -> None:
    """A contract would compare other types, and a text would end before its end."""
    project = Project(
        dbt_projects.make(tmp_path / "expressions", {"models/finance/orders_of_shops.sql": f"{{{{ config({META}) }}}} {ROWS}"})
    )

    for name in ("cast", "postgres__safe_cast", "default__escape_single_quotes"):
        dbt_projects.write(project.directory, {"macros/helper.sql": f"{{% macro {name}(one, other=none) %}}true{{% endmacro %}}"})
        with pytest.raises(BuildError, match=re.escape(f"{name} (macros/helper.sql): overrides a macro or a variable of dbt")):
            run_dbt(project, server, ["run"])


def test_what_a_project_may_override_is_called_by_no_macro_that_builds_or_tests(tmp_path: Path) -> None:
    """Neither of dbt's macros nor of dpe's: only by each other, and by those for dates of earlier versions, which only models call."""
    project = Project(dbt_projects.make(tmp_path / "free", {}))
    # These decide names, and what `ref` and `source` in a model return.
    own = {"generate_alias_name", "generate_database_name", "generate_schema_name", "ref", "source"}
    # Snapshots, incremental models and unit tests call these; dbt's own tests of adapters have others of their names.
    own |= {"equals", "string_literal"}
    free = set(refused._constants("refuse_overrides")["free"]).difference(own)
    of_tools = {id_: macro for id_, macro in project.manifest["macros"].items() if macro["package_name"] in {"dbt", "dbt_postgres", "dpe"}}

    def base(name: str) -> str:
        return re.sub("^(default|postgres|)_+(?=[a-z])", "", name.rpartition(".")[2]).removeprefix("default_")

    calls = {
        f"{macro['name']} calls {called}"
        for macro in of_tools.values()
        if base(macro["name"]) not in {*free, "split_part_negative"} and "backcompat" not in macro["name"]
        for called in macro["depends_on"]["macros"]
        if base(called) in free
    }

    # A method of dbt's relations, which dbt takes for the macro.
    assert {"default__check_schema_exists calls macro.dbt.replace"} == calls
    assert "macro.dbt.dateadd" in of_tools["macro.dbt_postgres.postgres__last_day"]["depends_on"]["macros"]


def test_a_macro_that_is_named_like_a_cross_database_one_is_the_projects(server: Server, tmp_path: Path) -> None:
    """It returns an expression: models that call it get the project's, and are protected all the same."""
    files = {
        "macros/expressions.sql": "{% macro concat(fields) %}{{ fields | join(' || ') }} || '!'{% endmacro %}",
        "models/finance/orders_of_shops.sql": f"{{{{ config({META}) }}}} select 1 as order_id, {{{{ concat([\"'U'\", \"'A'\"]) }}}} as shop",
    }

    built = run_dbt(Project(dbt_projects.make(tmp_path / "worded", files)), server, ["build"])

    assert ["success"] == [node.status for node in built]
    with server.connect("admin") as connection:
        assert ("finance", "orders_of_shops", True) == connection.execute(
            "select relnamespace::regnamespace::text, relname::text, relforcerowsecurity from pg_class where relname = 'orders_of_shops'"
        ).fetchone()


@pytest.mark.parametrize("stored", ["store_failures_as='table'", "store_failures_as='view'", "store_failures=true", ""])
def test_a_test_that_stores_its_failures_elsewhere_is_refused(copied: tuple[Path, Server], stored: str) -> None:
    """It would replace a relation of that name, such as a masked readers' view; a test that stores nothing runs."""
    directory, server = copied
    config = f"severity='warn', schema='finance', alias='careful_table__masked', {stored}"
    dbt_projects.write(directory, {"tests/singular/large.sql": f"{{{{ config({config}) }}}} select * from {{{{ ref('plain_table') }}}}"})

    if not stored:
        assert ["warn"] == [result.status for result in run_dbt(Project(directory), server, ["test"])]
        return
    with pytest.raises(
        BuildError, match=r"large \(tests/singular/large.sql\): stores its failures as finance.careful_table__masked, and would replace"
    ):
        run_dbt(Project(directory), server, ["test"])


WRONG_GRANTS = {
    "{'select': ['DPE_masked_reader']}": "names dpe_masked_reader; declare in meta.rls who may see it",
    """{'select': ['"dpe_reader"']}""": "names dpe_reader; declare in meta.rls who may see it",
    "{'select': ['public']}": "names public; declare in meta.rls who may see it",
    "{'select': ['bi_tool, public']}": "names bi_tool, public, which is not the name of a role",
    "{'select': ['bi_tool with grant option']}": "names bi_tool with grant option, which is not the name of a role",
    "{'select': ['bi_tool; create policy wide on finance.wrong_1 using (true); --']}": "which is not the name of a role",
    "{'truncate': ['bi_tool']}": "names the privilege truncate; only select is allowed",
    "{'select': ['{masked}']}": "a masked reader, which would see masked columns; omit it",
}


def test_grants_that_would_show_more_are_refused(server: Server, tmp_path: Path) -> None:
    """To dpe's own roles, of more than reading, in SQL of its own, and of masked columns to masked readers."""
    masked = f"masked_{next(numbers)}"
    meta = "meta={'rls': {'tenant_column': 'shop'}, 'masked': ['amount']}, contract={'enforced': false}"
    files = {
        f"models/finance/wrong_{number}.sql": f"{{{{ config(grants={grants.replace('{masked}', masked)}, {meta}) }}}} {ROWS}"
        for number, grants in enumerate(WRONG_GRANTS)
    }
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login in role dpe_masked_reader").format(sql.Identifier(masked)))
    try:
        results = {result.name: result for result in run_dbt(Project(dbt_projects.make(tmp_path / "granted", files)), server, ["build"])}
    finally:
        with server.connect("admin", autocommit=True) as connection:
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(masked)))

    for number, said in enumerate(WRONG_GRANTS.values()):
        assert results[f"wrong_{number}"].has_failed
        assert f"wrong_{number} (models/finance/wrong_{number}.sql): grants " in results[f"wrong_{number}"].message
        assert said in results[f"wrong_{number}"].message


def test_a_clone_is_protected_as_what_it_is(copied: tuple[Path, Server], reader: Callable[..., str]) -> None:
    """`dbt clone` creates views of tables, which run with their reader's rights."""
    directory, server = copied
    run_dbt(Project(directory), server, ["parse", "--write-json"])
    state = shutil.copytree(directory / "target", directory / "state")
    schema = "{% macro generate_schema_name(custom_schema_name, node) -%} {{ custom_schema_name }}__copy {%- endmacro %}"
    dbt_projects.write(directory, {"macros/generate_schema_name.sql": schema})

    results = run_dbt(Project(directory), server, ["clone", "--state", str(state), "--select", "plain_table"])

    assert ["success"] == [result.status for result in results], [result.message for result in results]
    with server.connect("admin", autocommit=True) as connection:
        found = connection.execute(
            "select relkind::text, reloptions from pg_class where oid = 'finance__copy.plain_table'::regclass"
        ).fetchone()
        assert ("v", ["security_invoker=true"]) == found
        connection.execute("grant usage on schema finance__copy to dpe_reader")
    with server.connect(reader(server, "UA")) as connection:
        assert [("UA",)] == connection.execute("select distinct shop from finance__copy.plain_table").fetchall()
