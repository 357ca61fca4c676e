"""The schema of a source is made by the extract that needs it, under any name, for the pipeline only."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString

import pytest
from conftest import numbers
from psycopg import sql
from support.dbt_projects import Silence
from support.staged_source import Stage, StagedSource

from dpe_cli.access import checks
from dpe_cli.errors import ContractError, ServerError
from dpe_cli.ingest.extract import ExtractSummary
from dpe_cli.ingest.extract import extract as extract_sources
from dpe_cli.pipeline import checks as validation
from dpe_cli.quality import reconciliation
from dpe_cli.server.connection import Connection
from dpe_cli.server.server import Server

ROLES = ("dpe_loader", "dpe_transformer", "dpe_owner", "dpe_reader", "dpe_tenant", "dpe_masked_reader", "dpe_auditor", "public")
RIGHTS = """
    select role_name, has_schema_privilege(role_name, to_regnamespace(%s), 'usage'), has_schema_privilege(role_name, to_regnamespace(%s), 'create')
    from unnest(%s::text[]) as roles (role_name)
"""


def _new_name() -> str:
    # A name that has to be quoted.
    return f"Raw data {next(numbers)}"


def _rights(source: StagedSource) -> dict[str, tuple[bool, bool]]:
    """Return whether each role may use the schema of a source, and create in it."""
    schema = sql.Identifier(source.table.schema).as_string()
    with source.server.connect("admin") as connection:
        found = connection.execute(RIGHTS, [schema, schema, list(ROLES)]).fetchall()
    return {str(role): (bool(uses), bool(creates)) for role, uses, creates in found if uses or creates}


def _administer(source: StagedSource, statement: LiteralString) -> None:
    with source.server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(source.table.schema)))


def _extract(source: StagedSource) -> ExtractSummary:
    """Extract as `dpe extract` does."""
    return extract_sources(source.directory, source.server, [source.source], Silence())


def test_the_extract_creates_the_schema(stage_anywhere: Stage) -> None:
    """It belongs to the loader; models may be in it, administrators may use it in a context, other roles may not."""
    source = stage_anywhere("id integer", schema=_new_name()).deliver("id\n1\n")

    source.extract()

    assert 1 == source.count()
    assert {"dpe_loader": (True, True), "dpe_transformer": (True, True), "dpe_owner": (True, False)} == _rights(source)
    with source.server.connect("admin") as connection:
        assert [] == checks.check(connection, ["dpe", source.table.schema], unreadable=[source.table.schema])


def test_extracts_may_need_the_same_schema_at_once(stage: Stage) -> None:
    """One creates it; the other one waits for that, and loads, too."""
    first = stage("id integer", schema=_new_name()).deliver("id\n1\n")
    sources = [first, *(stage("id integer", schema=first.table.schema) for _ in range(3))]

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda source: source.extract(), sources))

    assert [1] * 4 == [source.count() for source in sources]


def test_a_schema_without_the_rights_is_refused_with_the_statement_to_run(stage: Stage) -> None:
    """An administrator created it, for whatever purpose: dpe does not change it by itself."""
    source = stage("id integer", schema=_new_name()).deliver("id\n1\n")
    _administer(source, "create schema {}")

    with pytest.raises(
        ServerError, match=r"shop\.orders_\d+ \(shop.yml:5\): dpe_loader may not create tables in the schema Raw"
    ) as refused:
        source.extract()
    statement = str(refused.value).split("run `")[1].rstrip("`")
    with source.server.connect("admin", autocommit=True) as connection:
        connection.execute(statement.encode())
    source.extract()

    assert 1 == source.count()


def test_a_schema_of_another_login_is_refused(stage: Stage, reader: Callable[..., str]) -> None:
    """Its owner could put a relation of its own in the place of what was loaded."""
    source = stage("id integer", schema=_new_name()).deliver("id\n1\n")
    _administer(
        source,
        "create schema {0}; grant usage, create on schema {0} to dpe_loader, dpe_transformer; grant usage on schema {0} to dpe_owner",
    )
    name = reader(source.server)
    with source.server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("alter schema {} owner to {}").format(sql.Identifier(source.table.schema), sql.Identifier(name)))

    with pytest.raises(
        ServerError, match=rf"belongs to {name}, who could replace the tables in it; .* an administrator run `alter"
    ) as refused:
        source.extract()
    statement = str(refused.value).split("run `")[1].rstrip("`")
    with source.server.connect("admin", autocommit=True) as connection:
        connection.execute(statement.encode())
    source.extract()

    assert 1 == source.count()


# What the owner of the table got after the extract, and why the table is not counted.
REPLACED = {
    "schema": ("alter schema {} owner to {}", "the schema {} belongs to"),
    "table": ("grant create, usage on schema {} to {}", "{}.{}: reading it would run code of others: the policy spying on"),
}


@pytest.mark.parametrize("of", REPLACED)
def test_what_replaced_a_staging_table_is_not_counted(stage: Stage, reader: Callable[..., str], of: str) -> None:
    """Neither the loader nor the transformer reads a table in a schema of another login, nor one with a policy of such an owner."""
    given, why = REPLACED[of]
    source = stage("id integer", schema=_new_name()).deliver("id\n1\n")
    source.extract()
    name, table = reader(source.server), source.table.identifier
    with source.server.connect("admin", autocommit=True) as connection:
        in_schema, owner = sql.Identifier(source.table.schema), sql.Identifier(name)
        connection.execute(sql.SQL("drop table {} cascade; " + given).format(table, in_schema, owner))
        connection.execute(
            sql.SQL(
                "set role {owner}; create table {table} (_load_id bigint, _slice_id bigint); create sequence {schema}.ran;"
                " create function {schema}.spy() returns boolean language sql security definer"
                " begin atomic select nextval({ran}::regclass) > 0; end; alter table {table} enable row level security;"
                " create policy spying on {table} using ({schema}.spy()); reset role;"
                " grant usage on schema {schema} to dpe_loader, dpe_transformer; grant select on {table} to dpe_loader, dpe_transformer"
            ).format(owner=owner, table=table, schema=in_schema, ran=sql.Literal(f'"{source.table.schema}".ran'))
        )
    said = why.format(source.table.schema, source.table.name)

    with source.server.connect("loader") as connection:
        counted = reconciliation.reconcile_files(connection, [source.source])
    with source.server.connect("transformer") as connection:
        of_loads = validation.check_counts(connection, [source.source])

    assert ["cannot be counted (" in fault and said in fault for fault in (*counted.faults, *of_loads.faults)] == [True, True]
    with source.server.connect("admin") as connection:
        ran = connection.execute(sql.SQL("select is_called from {}.ran").format(sql.Identifier(source.table.schema))).fetchall()
        connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(source.table.schema)))
    assert [(False,)] == ran


def test_what_the_pipeline_may_no_longer_use_is_not_counted(stage: Stage) -> None:
    """With the statement that opens the schema again; the counts of other sources are still shown."""
    source = stage("id integer", schema=_new_name()).deliver("id\n1\n")
    source.extract()
    _administer(source, "revoke usage on schema {} from dpe_loader, dpe_transformer")

    with source.server.connect("loader") as connection:
        files = reconciliation.reconcile_files(connection, [source.source])
    with source.server.connect("transformer") as connection:
        loads = validation.check_counts(connection, [source.source])

    schema = source.table.schema
    said = f"cannot be counted (permission denied for schema {schema}); have the schema's owner run `grant usage, create on schema"
    assert [True, True] == [said in fault for fault in (*files.faults, *loads.faults)]


@pytest.mark.parametrize("statement", ["revoke create on schema {} from dpe_loader", "revoke usage on schema {} from dpe_transformer"])
def test_a_schema_that_models_could_not_use_is_refused_as_well(stage: Stage, statement: str) -> None:
    """The rows would be loaded, but no model could read them; or the loader could read tables, but not create them."""
    source = stage("id integer", schema=_new_name()).deliver("id\n1\n")
    _administer(source, "create schema {0}; grant usage, create on schema {0} to dpe_loader, dpe_transformer")
    _administer(source, statement)

    with pytest.raises(ServerError, match="set another schema, or have the schema's owner run `grant usage, create on schema"):
        source.extract()


def test_a_schema_that_dbt_created_first_is_opened_to_the_loader(stage: Stage) -> None:
    """Plain dbt creates the schema of its models, which belongs to the transformer; sources may be loaded into it later."""
    source = stage("id integer", schema=_new_name()).deliver("id\n1\n")
    with source.server.connect("transformer", autocommit=True) as connection:
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(source.table.schema)))

    summary = _extract(source)

    assert [] == summary.refused
    assert 1 == source.count()
    assert {"dpe_loader": (True, True), "dpe_transformer": (True, True), "dpe_owner": (True, False)} == _rights(source)


def test_without_the_transformers_login_the_statement_is_shown(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader alone cannot open a schema of the transformer."""
    source = stage("id integer", schema=_new_name()).deliver("id\n1\n")
    with source.server.connect("transformer", autocommit=True) as connection:
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(source.table.schema)))
    connect = Server.connect

    def refuse(server: Server, role: str, **options: Any) -> Connection:
        if role == "transformer":
            raise ServerError("the login is refused")
        return connect(server, role, **options)

    monkeypatch.setattr(Server, "connect", refuse)

    [refused] = _extract(source).refused

    assert "have the schema's owner run `grant usage, create on schema" in str(refused.error)


@pytest.mark.parametrize(
    "schema", ["dpe", "dpe_locks", "public", "information_schema", "pg_catalog", "raw__next", "raw__previous", "raw__old_1"]
)
def test_schemas_that_are_not_for_sources_are_refused(stage: Stage, schema: str) -> None:
    """Those of dpe and PostgreSQL, one that others may use, and those that builds empty."""
    with pytest.raises(ContractError, match=rf"\(shop.yml:5\): the schema {schema} is not for sources; set another one"):
        stage("id integer", schema=schema).deliver("id\n1\n").extract()


def test_a_loader_that_may_not_create_schemas_says_so(stage: Stage) -> None:
    """A database of an earlier version, for example: `dpe bootstrap` grants it."""
    source = stage("id integer", schema=_new_name()).deliver("id\n1\n")
    database = sql.Identifier(source.server.database)
    with source.server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("revoke create on database {} from dpe_loader").format(database))
    try:
        with pytest.raises(
            ServerError, match=r"dpe_loader may not create the schema Raw data \d+ \(permission denied .*run `dpe bootstrap`"
        ):
            source.extract()
    finally:
        with source.server.connect("admin", autocommit=True) as connection:
            connection.execute(sql.SQL("grant create on database {} to dpe_loader").format(database))
