"""What the ledger shows to people: extracts and their loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from dpe_cli.load.ledger import Load
from dpe_cli.server.connection import Connection
from dpe_cli.words import Limited


@dataclass(frozen=True)
class ExtractEntry:
    """One extract of one source, as recorded in the ledger; `relation` is the staging table that it loads."""

    extract_id: int
    source: str
    relation: str
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


# Of sources that other targets load into another table, only what belongs to the own one: the names of sources, and their own tables.
IS_OWN = """
    not exists (
        select
        from unnest(%(sources)s::text[], %(relations)s::text[]) as own (source, relation)
        where own.source = found.source and own.relation <> found.relation
    )
"""


def own_parameters(own: Mapping[str, str] | None) -> dict[str, object]:
    """Return the parameters of IS_OWN: staging tables by the names of their sources."""
    return {"sources": list(own or {}), "relations": list((own or {}).values())}


def extracts(
    connection: Connection, *, source: str | None = None, limit: int = 20, own: Mapping[str, str] | None = None
) -> Limited[ExtractEntry]:
    """Return the newest extracts, newest first; of the sources in `own`, only those of the staging tables that it names."""
    rows = connection.execute(
        sql.SQL(
            """
            select found.*, count(*) over ()
            from ({}) as found
            where (%(source)s::text is null or source = %(source)s) and {}
            order by extract_id desc
            limit %(limit)s
            """
        ).format(sql.SQL(_SELECT_EXTRACTS), sql.SQL(IS_OWN)),
        {"source": source, "limit": limit, **own_parameters(own)},
    ).fetchall()
    return Limited((ExtractEntry(*row[:-1]) for row in rows), total=int(str(rows[0][-1])) if rows else 0)


def extract(connection: Connection, extract_id: int) -> ExtractEntry | None:
    """Return one extract; None if it does not exist."""
    row = connection.execute(f"{_SELECT_EXTRACTS} where extract_id = %s", [extract_id]).fetchone()
    return None if row is None else ExtractEntry(*row)


def of_several_tables(connection: Connection) -> list[str]:
    """Return the sources that targets of the project load into different staging tables."""
    rows = connection.execute("select source from dpe.extracts group by source having count(distinct relation) > 1")
    return [str(source) for (source,) in rows]


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
        extract_id, source, relation, spec, status, disposition, records_read, rows_loaded, rows_rejected, bytes_read,
        started_at, finished_at, error
    from dpe.extracts
"""
