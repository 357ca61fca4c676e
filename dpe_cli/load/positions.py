"""Positions from which queries resume: values of the cursor column, as JSON writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

import psycopg
from psycopg import sql

from dpe_cli.blocks import cursors
from dpe_cli.blocks.contract import StagingTable
from dpe_cli.server.connection import Connection


def furthest(
    connection: Connection, table: StagingTable, slice_ids: Sequence[int], column: str, data_type: str, after: str | None
) -> str | None:
    """Return, as JSON writes it, the greatest value of a column in slices that a source can resume from, or `after` if greater."""
    values = sql.SQL("max({0}) filter (where {0} < 'infinity')" if cursors.has_infinity(data_type) else "max({0})")
    row = connection.execute(
        sql.SQL("select to_jsonb(greatest({greatest}, %s::{type})) #>> '{{}}' from {table} where _slice_id = any(%s)").format(
            greatest=values.format(sql.Identifier(column)), type=sql.SQL(_typed(data_type)), table=table.identifier
        ),
        [after, list(slice_ids)],
    ).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def is_end(connection: Connection, value: str, data_type: str) -> bool:
    """Return whether a source can resume from this value; an untyped database may keep values that are not of the cursor's type."""
    if not cursors.is_end(value, data_type):
        return False
    try:
        with connection.transaction():
            connection.execute(sql.SQL("select %s::{}").format(sql.SQL(_typed(data_type))), [value])
    except (psycopg.DataError, psycopg.IntegrityError):
        return False
    return True


def is_ahead(connection: Connection, value: str, data_type: str) -> bool:
    """Return whether a date or time is more than a day after now, as a mistyped one is: no row before it would be read again."""
    if cursors.kind(data_type) != "time":
        return False
    query = sql.SQL("select %s::{} > now() at time zone 'UTC' + interval '1 day'")
    row = connection.execute(query.format(sql.SQL(_typed(data_type))), [value]).fetchone()
    return row is not None and row[0] is True


def earlier(connection: Connection, value: str, data_type: str, overlap: str) -> str:
    """Return a value minus an overlap, an interval for times and a number for numbers, as JSON writes it."""
    kind = "interval" if cursors.kind(data_type) == "time" else data_type
    row = connection.execute(
        sql.SQL("select to_jsonb((%s::{type} - %s::{kind})::{type}) #>> '{{}}'").format(
            type=sql.SQL(_typed(data_type)), kind=sql.SQL(_typed(kind))
        ),
        [value, overlap],
    ).fetchone()
    return str(row[0]) if row else value


def _typed(data_type: str) -> LiteralString:
    """Return a type as SQL. It is from the project's own YAML, and was checked with the contract."""
    return data_type
