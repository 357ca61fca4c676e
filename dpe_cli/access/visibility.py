"""How many published rows roles see, measured by acting as them: tenants, a stranger, the owner without a context."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dpe_cli.errors import ServerError
from dpe_cli.project.project import Project
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import columns_of
from dpe_cli.server.server import server_message


@dataclass(frozen=True)
class Visibility:
    """
    How many rows of a published relation a role sees, measured by acting as it; `expected` is how many it should see.

    `problem` is the server's message if it cannot read the relation for a reason other than a missing privilege.
    """

    relation: str
    who: str
    rows: int
    expected: int
    problem: str | None = None


ACTOR = "dpe validate"

# The tenants of a relation with their row counts, most first. A row may belong to several; rows without a tenant are omitted.
_TENANTS = """
    select
        tenant,
        count(*) as rows
    from {relation} as protected
    cross join lateral (select distinct unnest(array[{columns}]::text[]) as tenant) as tenants
    where tenant <> ''
    group by tenant
    order by 2 desc, 1
"""


def measure(connection: Connection, project: Project) -> list[Visibility]:
    """
    Count the rows that tenants, a stranger and the owner without a context see of each published relation that has tenants.

    The tenants are those with the most, the median and the fewest rows. `connection` is the transformer's.
    """
    visible_rows: list[Visibility] = []
    for model in project.models.values():
        if not model.tenant_columns or not model.is_published:
            continue
        relation = sql.Identifier(model.schema, model.alias)
        name = f"{model.schema}.{model.alias}"
        try:
            with contexts.system_context(connection, actor=ACTOR):
                if not columns_of(connection, relation):
                    continue
                tenants = count_by_tenant(connection, relation, model.tenant_columns) or []
        except psycopg.Error as error:
            visible_rows.append(Visibility(name, "the transformer", 0, 0, _server_message(connection, error)))
            continue
        count = sql.SQL("select count(*) from {}").format(relation)
        for index in sorted({0, len(tenants) // 2, len(tenants) - 1}) if tenants else []:
            tenant, expected = tenants[index]
            visible_rows.append(_measure(connection, name, tenant, count, expected, contexts.tenant_context(connection, tenant)))
        visible_rows.append(_measure(connection, name, "a stranger", count, 0, contexts.stranger_context(connection)))
        visible_rows.append(_measure(connection, name, "its owner, no context", count, 0, connection.transaction()))
    return visible_rows


def count_by_tenant(connection: Connection, relation: sql.Identifier, columns: Sequence[str]) -> list[tuple[str, int]] | None:
    """
    Return the tenants in `columns` with their row counts, as the session sees them; most rows first.

    None for a version of the relation that was built before the model had the columns.
    """
    if not columns_of(connection, relation).issuperset(columns):
        return None
    return [(str(tenant), int(str(count))) for tenant, count in connection.execute(tenants_query(relation, columns))]


def tenants_query(relation: sql.Identifier, columns: Sequence[str]) -> sql.Composed:
    """Return the query for the tenants in `columns` and their row counts (`tenant`, `rows`), most rows first."""
    return sql.SQL(_TENANTS).format(columns=sql.SQL(", ").join(map(sql.Identifier, columns)), relation=relation)


def _measure(
    connection: Connection, relation: str, who: str, query: sql.Composed, expected: int, context: AbstractContextManager[object]
) -> Visibility:
    """Count the rows visible in a context; a role that may not read at all (a view on a private table) sees none."""
    try:
        with context:
            row = connection.execute(query).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return Visibility(relation, who, 0, expected)
    except psycopg.Error as error:
        return Visibility(relation, who, 0, expected, _server_message(connection, error))
    return Visibility(relation, who, int(str(row[0])) if row else 0, expected)


def _server_message(connection: Connection, error: psycopg.Error) -> str:
    """Return the server's message about a query; if the connection is lost, nothing more can be measured."""
    if connection.closed:
        raise ServerError(f"database {connection.info.dbname}: ended the measuring session ({error}); find out what ended it") from error
    return server_message(error)
