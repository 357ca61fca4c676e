"""What the ledger shows to people: extracts and their loads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from dpe_cli.load.ledger import Load
from dpe_cli.server.connection import Connection
from dpe_cli.words import Limited


@dataclass(frozen=True)
class ExtractEntry:
    """One extract of one source, as recorded in the ledger."""

    extract_id: int
    source: str
    spec: str | None
    status: str
    disposition: str
    records_read: int
    rows_loaded: int
    rows_rejected: int
    bytes_read: int
    started_at: datetime
    finished_at: datetime | None
    error: str | None


def extracts(connection: Connection, *, source: str | None = None, limit: int = 20) -> Limited[ExtractEntry]:
    """Return the newest extracts, newest first."""
    rows = connection.execute(
        sql.SQL(
            """
            select found.*, count(*) over ()
            from ({}) as found
            where %s::text is null or source = %s
            order by extract_id desc
            limit %s
            """
        ).format(sql.SQL(_SELECT_EXTRACTS)),
        [source, source, limit],
    ).fetchall()
    return Limited((ExtractEntry(*row[:-1]) for row in rows), total=int(str(rows[0][-1])) if rows else 0)


def extract(connection: Connection, extract_id: int) -> ExtractEntry | None:
    """Return one extract; None if it does not exist."""
    row = connection.execute(f"{_SELECT_EXTRACTS} where extract_id = %s", [extract_id]).fetchone()
    return None if row is None else ExtractEntry(*row)


def sources(connection: Connection) -> list[str]:
    """Return the sources that were ever extracted."""
    return [str(source) for (source,) in connection.execute("select distinct source from dpe.extracts")]


def loads(connection: Connection, extract_id: int) -> list[Load]:
    """Return the loads of an extract."""
    rows = connection.execute(
        """
        select
            load_id, location, content_hash, size_bytes, records_read, rows_loaded, rows_rejected, records_repeated, version,
            coalesce(columns_missing, '{}')
        from dpe.loads
        where extract_id = %s
        order by load_id
        """,
        [extract_id],
    ).fetchall()
    return [Load(*row) for row in rows]


_SELECT_EXTRACTS = """
    select
        extract_id, source, spec, status, disposition, records_read, rows_loaded, rows_rejected, bytes_read,
        started_at, finished_at, error
    from dpe.extracts
"""
