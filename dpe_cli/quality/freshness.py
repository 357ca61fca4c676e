"""
How old the newest records of sources are, compared with what dbt's own `freshness:` declares.

The time of the last load comes from `loaded_at_field` or `loaded_at_query` if the source declares one, as in dbt, and else from
the ledger, which knows it for every source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import psycopg
from psycopg import sql

from dpe_cli.errors import ServerError
from dpe_cli.load import staging_schema
from dpe_cli.project.source import Source
from dpe_cli.safe_text.redaction import hide
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.server import server_message

ACTOR = "dpe validate"
# The only Jinja that these queries may contain: any other would need dbt.
_THIS = re.compile(r"\{\{\s*this\s*\}\}")

_FINISHED = """
    select max(finished_at)
    from dpe.extracts
    where relation = {name}
        and status = 'succeeded'
        and exists (select from dpe.loads where loads.extract_id = extracts.extract_id and removed_at is null)
"""


@dataclass(frozen=True)
class Freshness:
    """How fresh a source is: `said` describes it, `age` is None if it was never loaded."""

    source: str
    status: Literal["pass", "warn", "error"]
    loaded_at: datetime | None
    age: timedelta | None
    said: str


def measure(connection: Connection, manifest: Mapping[str, Any], sources: Sequence[Source]) -> list[Freshness]:
    """Return the freshness of each source that declares one. `connection` is the transformer's."""
    found = []
    for source in sources:
        node = manifest["sources"][source.unique_id]
        limits = {status: _limit(node, f"{status}_after") for status in ("warn", "error")}
        if any(limit is not None for limit in limits.values()):
            found.append(_measure_source(connection, source, node, limits))
    return found


def _measure_source(connection: Connection, source: Source, node: Mapping[str, Any], limits: Mapping[str, timedelta | None]) -> Freshness:
    try:
        with contexts.reading_context(connection, actor=ACTOR):
            if node.get("loaded_at_query") or node.get("loaded_at_field"):
                # Until its first extract, a relation of somebody else may have the source's name.
                staging_schema.refuse_replaced(connection, source.table)
            row = connection.execute(_query(source, node)).fetchone()
    except (psycopg.ProgrammingError, psycopg.DataError, psycopg.errors.ReadOnlySqlTransaction, ServerError) as error:
        message = hide(server_message(error) if isinstance(error, psycopg.Error) else str(error))
        return Freshness(
            source.name, "error", None, None, f"{source.name}: its load time cannot be queried ({message}); correct its freshness in dbt"
        )
    loaded_at = _moment(row[0] if row else None)
    if loaded_at is None:
        return Freshness(source.name, "error", None, None, f"{source.name}: was never loaded; run `dpe extract source:{source.name}`")
    age = datetime.now(UTC) - loaded_at
    status: Literal["pass", "warn", "error"] = "pass"
    passed: timedelta | None = None
    for name in ("warn", "error"):
        limit = limits[name]
        if limit is not None and age > limit:
            status, passed = ("error" if name == "error" else "warn"), limit
    said = f"{source.name}: was last loaded {_days(age)} ago"
    if passed is not None:
        said += f", more than {_days(passed)}; ask its sender, then run `dpe extract source:{source.name}`"
    return Freshness(source.name, status, loaded_at, age, said)


def _query(source: Source, node: Mapping[str, Any]) -> sql.Composed:
    relation = source.table.identifier
    if node.get("loaded_at_query"):
        # SQL by the project's own authors, like their models.
        first, *others = [sql.SQL(part) for part in _THIS.split(str(node["loaded_at_query"]))]
        return sql.Composed([first, *(part for other in others for part in (relation, other))])
    if not node.get("loaded_at_field"):
        return sql.SQL(_FINISHED).format(name=sql.Literal(source.table.relation))
    condition = (node.get("freshness") or {}).get("filter")
    return sql.SQL("select max({}) from {}{}").format(
        # A column or an expression, as in dbt.
        sql.SQL(node["loaded_at_field"]),
        relation,
        sql.SQL(f" where {condition}" if condition else ""),
    )


def _limit(node: Mapping[str, Any], name: str) -> timedelta | None:
    declared = (node.get("freshness") or {}).get(name) or {}
    if not declared.get("count"):
        return None
    return timedelta(**{f"{declared['period']}s": int(declared["count"])})


def _moment(value: object) -> datetime | None:
    """Return a point in time; a date, or a time without a zone, is in UTC, as in dbt."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return None


def _days(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.0f} hours" if hours <= 48 else f"{age.days} days"
