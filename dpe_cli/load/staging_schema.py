"""
The schema of a staging table, which the source declares: the loader creates it, and lets dbt's models and administrators use it.

No other role may use it: what sources deliver is for the pipeline only.
"""

from __future__ import annotations

from contextlib import suppress

import psycopg
from psycopg import sql

from dpe_cli.blocks.contract import StagingTable
from dpe_cli.errors import ContractError, ServerError
from dpe_cli.load.staging import execute
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import is_reserved, refuse_code_of_others
from dpe_cli.server.server import Server

ACTOR = "dpe extract"
# Models may live in the same schema, if they are private.
_GRANTS = sql.SQL("grant usage, create on schema {schema} to dpe_loader, dpe_transformer; grant usage on schema {schema} to dpe_owner")
_RIGHTS = """
    select
        has_schema_privilege('dpe_loader', oid, 'usage')
        and has_schema_privilege('dpe_loader', oid, 'create')
        and has_schema_privilege('dpe_transformer', oid, 'usage') as is_open,
        pg_get_userbyid(nspowner) = 'dpe_transformer'
    from pg_namespace
    where nspname = %s
"""
# Whoever owns a schema can replace what is loaded there.
_OTHER_OWNER = """
    select pg_get_userbyid(nspowner)
    from pg_namespace
    where nspname = %s
        and pg_get_userbyid(nspowner) not in ('dpe_owner', 'dpe_loader', 'dpe_transformer', 'pg_database_owner')
        and nspowner not in (select role_id from dpe.administrators() as administrators (role_id))
"""


def how_to_open(schema: str) -> str:
    """Return what to do if the pipeline may no longer use a schema."""
    return f"have the schema's owner run `{_GRANTS.format(schema=sql.Identifier(schema)).as_string(None)}`"


def open_to_loader(server: Server, schema: str) -> None:
    """
    Let the loader use a schema that dbt has created for models, which therefore belongs to the transformer.

    Any other schema is left as it is, and so is this one if the transformer cannot log in: create() says what is missing.
    """
    with server.connect("loader", autocommit=True) as connection:
        if not is_to_be_opened(connection, schema):
            return
    with suppress(ServerError), server.connect("transformer") as connection, contexts.system_context(connection, actor=ACTOR):
        # As in dpe.open_schema(): two sessions that change the privileges of one schema at the same time would fail.
        connection.execute("select from dpe_locks.locks where name = 'schemas' for update")
        connection.execute(_GRANTS.format(schema=sql.Identifier(schema)))


def is_to_be_opened(connection: Connection, schema: str) -> bool:
    """Return whether open_to_loader() changes a schema: dbt has created it, and the loader may not use it yet."""
    return connection.execute(_RIGHTS, [schema]).fetchone() == (False, True)


def create(connection: Connection, table: StagingTable) -> None:
    """
    Create the schema of a staging table if it is missing, in the caller's transaction, as the loader.

    Raises:
        ContractError: the schema is not for sources.
        ServerError: the loader may not create it, or tables in it, or models may not use it; or it belongs to a role that is neither an
            administrator nor the pipeline.
    """
    where = f"{table.source} ({table.declared_at})"
    if is_reserved(table.schema):
        raise ContractError(f"{where}: the schema {table.schema} is not for sources; set another one")
    refuse_other_owner(connection, table)
    found = connection.execute(_RIGHTS, [table.schema]).fetchone()
    if found is None:
        _create(connection, table.schema, where=where)
        found = connection.execute(_RIGHTS, [table.schema]).fetchone()
    if found is None or not found[0]:
        raise ServerError(
            f"{where}: dpe_loader may not create tables in the schema {table.schema}, or dpe_transformer may not use it; set another "
            f"schema, or {how_to_open(table.schema)}"
        )


def refuse_other_owner(connection: Connection, table: StagingTable) -> None:
    """
    Refuse a staging table in a schema whose owner could replace it, and so have the loader run the code of another table.

    Raises:
        ServerError: the schema belongs to a role that is neither an administrator nor the pipeline.
    """
    for (owner,) in connection.execute(_OTHER_OWNER, [table.schema]).fetchall():
        name = sql.Identifier(table.schema).as_string(connection)
        raise ServerError(
            f"{table.source} ({table.declared_at}): the schema {table.schema} belongs to {owner}, who could replace the tables in it; set "
            f"another schema, or have an administrator run `alter schema {name} owner to dpe_loader`"
        )


def refuse_replaced(connection: Connection, table: StagingTable) -> None:
    """
    Refuse to read a staging table that the owner of its schema could replace, or that runs code of others.

    Locks it until the end of the transaction.

    Raises:
        ServerError: the schema belongs to a role that is neither an administrator nor the pipeline.
        psycopg.errors.WrongObjectType: reading the table would run code of such a role.
        psycopg.errors.UndefinedTable: it does not exist.
    """
    refuse_other_owner(connection, table)
    refuse_code_of_others(connection, table.identifier)


def _create(connection: Connection, schema: str, *, where: str) -> None:
    try:
        with connection.transaction():
            execute(connection, "create schema {schema}", schema=sql.Identifier(schema))
            connection.execute(_GRANTS.format(schema=sql.Identifier(schema)))
    except (psycopg.errors.DuplicateSchema, psycopg.errors.UniqueViolation):
        # Another extract has just created it.
        return
    except psycopg.errors.InsufficientPrivilege as error:
        raise ServerError(
            f"{where}: dpe_loader may not create the schema {schema} ({error.diag.message_primary}); "
            "run `dpe bootstrap`, which grants it that"
        ) from error
