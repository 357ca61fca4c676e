"""The rejects in the ledger. All queries run in the caller's transaction, in its context."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from psycopg import sql

from dpe_cli.blocks.contract import StagingTable
from dpe_cli.load.ledger_entries import IS_OWN, own_parameters
from dpe_cli.load.repair import Reject
from dpe_cli.server.connection import Connection
from dpe_cli.words import Limited

_REJECTS_AT_ONCE = 1000
_CHARACTERS_AT_ONCE = 4 * 1024 * 1024


@dataclass(frozen=True)
class RejectEntry:
    r"""
    A reject, as recorded in the ledger; `raw` shows bytes that are not text as \xNN.

    `replayed_by` is the load of its correction; `is_obsolete`: its load was replaced or undone since. One of a delivery that was
    refused has no load, but a `refused_extract_id`.
    """

    reject_id: int
    source: str
    location: str
    load_id: int | None
    position: int
    column_name: str | None
    sqlstate: str
    reason: str
    raw: str
    replayed_by: int | None = None
    is_obsolete: bool = False
    refused_extract_id: int | None = None


def add(connection: Connection, table: StagingTable, rejects: Iterable[Reject]) -> None:
    """Record rejects; their loads have to be recorded first."""
    for batch in _batches(rejects):
        # One JSON value for all of them: the client takes seven times as long to write one array per column, while the server waits.
        rows = [
            (
                reject.load_id,
                reject.position,
                reject.column_name,
                reject.sqlstate,
                reject.reason,
                reject.raw,
                reject.raw_bytes and reject.raw_bytes.hex(),
            )
            for reject in batch
        ]
        connection.execute(
            """
            insert into dpe.rejects (source, relation, project, load_id, position, column_name, sqlstate, reason, raw, raw_bytes)
            select
                %s,
                %s,
                -- The default would be computed for each row.
                (select dpe.own_project()),
                (reject ->> 0)::bigint,
                (reject ->> 1)::bigint,
                reject ->> 2,
                reject ->> 3,
                reject ->> 4,
                reject ->> 5,
                decode(reject ->> 6, 'hex')
            from json_array_elements(%s) as reject
            """,
            [table.source, table.relation, json.dumps(rows, ensure_ascii=False)],
        )


def keep_of_refused(connection: Connection, table: StagingTable, extract_id: int, rejects: Sequence[tuple[str, Reject]]) -> None:
    """Record the first rejects of a refused delivery, with their inputs, in place of those that its source had."""
    remove_of_refused(connection, table)
    with connection.cursor() as recording:
        recording.executemany(
            """
            insert into dpe.rejects (
                source, relation, refused_extract_id, refused_location, position, column_name, sqlstate, reason, raw, raw_bytes
            )
            values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            """,
            [
                (
                    table.source,
                    table.relation,
                    extract_id,
                    location,
                    reject.position,
                    reject.column_name,
                    reject.sqlstate,
                    reject.reason,
                    reject.raw,
                    reject.raw_bytes,
                )
                for location, reject in rejects
            ],
        )


def remove_of_refused(connection: Connection, table: StagingTable) -> None:
    """Delete the rejects of a delivery of the source that was refused."""
    connection.execute("delete from dpe.rejects where relation = %s and refused_extract_id is not null", [table.relation])


def remove_repeated(connection: Connection, extract_id: int) -> dict[int, int]:
    """
    Delete rejects of an extract that an earlier load of its source already has, record for record; return how many of each load.

    They were delivered again, and are counted as repeated.
    """
    rows = connection.execute(
        """
        with repeated as (
            delete from dpe.rejects as new
            using dpe.loads
            where loads.load_id = new.load_id
                and loads.extract_id = %(extract_id)s
                and exists (
                    select
                    from dpe.rejects as old
                    inner join dpe.loads as earlier on earlier.load_id = old.load_id
                    where old.relation = new.relation
                        and earlier.removed_at is null
                        and old.raw = new.raw
                        and old.raw_bytes is not distinct from new.raw_bytes
                        and old.reject_id < new.reject_id
                )
            returning new.load_id
        ),
        counted as (
            select load_id, count(*) as rejects_repeated from repeated group by load_id
        ),
        of_loads as (
            update dpe.loads
            set records_read = records_read - rejects_repeated,
                rows_rejected = rows_rejected - rejects_repeated,
                records_repeated = records_repeated + rejects_repeated
            from counted
            where loads.load_id = counted.load_id
        ),
        of_extract as (
            update dpe.extracts
            set records_read = records_read - (select coalesce(sum(rejects_repeated), 0) from counted),
                rows_rejected = rows_rejected - (select coalesce(sum(rejects_repeated), 0) from counted)
            where extract_id = %(extract_id)s
        )
        select load_id, rejects_repeated from counted
        """,
        {"extract_id": extract_id},
    ).fetchall()
    return {int(str(load_id)): int(str(count)) for load_id, count in rows}


def _batches(rejects: Iterable[Reject]) -> Iterator[list[Reject]]:
    """Yield rejects in lists that are bounded in number and, roughly, in characters."""
    batch: list[Reject] = []
    characters = 0
    for reject in rejects:
        batch.append(reject)
        characters += len(reject.raw)
        if len(batch) >= _REJECTS_AT_ONCE or characters >= _CHARACTERS_AT_ONCE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def entries(
    connection: Connection,
    *,
    source: str | None = None,
    load_id: int | None = None,
    refused_extract_id: int | None = None,
    limit: int = 100,
    with_obsolete: bool = True,
    own: Mapping[str, str] | None = None,
) -> Limited[RejectEntry]:
    """
    Return rejects: those of refused deliveries first, then the newest load, each in line order.

    Of the sources in `own`, only those of the staging tables that it names.
    """
    rows = connection.execute(
        sql.SQL(
            """
            select {}, count(*) over ()
            from ({}) as found
            where (%(source)s::text is null or source = %(source)s)
                and (%(load_id)s::bigint is null or load_id = %(load_id)s)
                and (%(extract_id)s::bigint is null or refused_extract_id = %(extract_id)s)
                and (%(with_obsolete)s or not is_obsolete)
                and {}
            order by load_id desc nulls first, refused_extract_id desc, location, position, reject_id
            limit %(limit)s
            """
        ).format(_COLUMNS, sql.SQL(_SELECT_REJECTS), sql.SQL(IS_OWN)),
        {
            "source": source,
            "load_id": load_id,
            "extract_id": refused_extract_id,
            "with_obsolete": with_obsolete,
            "limit": limit,
            **own_parameters(own),
        },
    ).fetchall()
    return Limited((RejectEntry(*row[:-1]) for row in rows), total=int(str(rows[0][-1])) if rows else 0)


def entry(connection: Connection, reject_id: int) -> RejectEntry | None:
    """Return one reject; None if it does not exist."""
    query = sql.SQL("select {} from ({}) as found where reject_id = %s").format(_COLUMNS, sql.SQL(_SELECT_REJECTS))
    row = connection.execute(query, [reject_id]).fetchone()
    return None if row is None else RejectEntry(*row)


_SELECT_REJECTS = """
    select
        reject_id,
        rejects.source,
        coalesce(location, refused_location) as location,
        load_id,
        position,
        column_name,
        sqlstate,
        reason,
        raw,
        (
            select replay.load_id
            from dpe.loads as replay
            where replay.load_id = replayed_load_id and replay.removed_at is null
        ) as replayed_by,
        removed_at is not null as is_obsolete,
        refused_extract_id,
        rejects.relation
    from dpe.rejects
    left join dpe.loads using (load_id)
"""
_COLUMNS = sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(RejectEntry))
