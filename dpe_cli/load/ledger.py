"""
The loader's queries on the ledger, schema `dpe`. All of them run in the caller's transaction, in its context.

A source is known by its staging table, `relation` (StagingTable.relation). The server hides what belongs to other projects.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from dpe_cli.load.inputs import Known
from dpe_cli.safe_text.redaction import hide
from dpe_cli.server.connection import Connection


@dataclass(frozen=True)
class Load:
    """
    The records of one input within an extract, with their counts.

    `records_repeated` were delivered again, and are already in staging; the other counts do not include them. `columns_missing` are
    those of the contract that no record had, and that were loaded as null or as their default.
    """

    load_id: int
    location: str
    content_hash: str | None
    size_bytes: int
    records_read: int
    rows_loaded: int
    rows_rejected: int
    records_repeated: int = 0
    version: str | None = None
    columns_missing: Sequence[str] = ()

    def without(self, *, rows: int = 0, rejects: int = 0) -> Load:
        """Return it without rows, or rejects, that an earlier load already brought."""
        return replace(
            self,
            records_read=self.records_read - rows - rejects,
            rows_loaded=self.rows_loaded - rows,
            rows_rejected=self.rows_rejected - rejects,
            records_repeated=self.records_repeated + rows + rejects,
        )


def close_interrupted(connection: Connection, relation: str) -> None:
    """Mark extracts of a source that never ended as failed; the caller holds the source's lock."""
    connection.execute(
        """
        update dpe.extracts
        set status = 'failed', finished_at = clock_timestamp(), error = 'interrupted'
        where relation = %s and status = 'running'
        """,
        [relation],
    )


def start_extract(connection: Connection, *, source: str, relation: str, spec: str | None, disposition: str, tenant_id: str | None) -> int:
    """Record that an extract is running; return its id."""
    row = connection.execute(
        "insert into dpe.extracts (source, relation, spec, disposition, tenant_id) values (%s, %s, %s, %s, %s) returning extract_id",
        [source, relation, spec, disposition, tenant_id],
    ).fetchone()
    return _integer(row)


def next_load_ids(connection: Connection, count: int) -> list[int]:
    """Reserve load ids; the ids of a failed extract are never reused."""
    rows = connection.execute("select nextval('dpe.load_id') from generate_series(1, %s)", [count]).fetchall()
    return [_integer(row) for row in rows]


def finish_extract(connection: Connection, extract_id: int, loads: Sequence[Load], *, bytes_read: int, cursor: str | None = None) -> None:
    """Record the loads of an extract, its success, and how far it read."""
    with connection.cursor() as loading:
        loading.executemany(
            """
            insert into dpe.loads (
                load_id,
                extract_id,
                source,
                relation,
                location,
                content_hash,
                size_bytes,
                records_read,
                rows_loaded,
                rows_rejected,
                records_repeated,
                version,
                columns_missing
            )
            select %s, extract_id, source, relation, %s, %s, %s, %s, %s, %s, %s, %s, %s::text[]
            from dpe.extracts
            where extract_id = %s
            """,
            [
                (
                    load.load_id,
                    load.location,
                    load.content_hash,
                    load.size_bytes,
                    load.records_read,
                    load.rows_loaded,
                    load.rows_rejected,
                    load.records_repeated,
                    # One that echoes a secret; without it, the content tells whether the input is new.
                    None if load.version is not None and hide(load.version) != load.version else load.version,
                    [*load.columns_missing] or None,
                    extract_id,
                )
                for load in loads
            ],
        )
    connection.execute(
        """
        update dpe.extracts
        set status = 'succeeded',
            finished_at = clock_timestamp(),
            records_read = %s,
            rows_loaded = %s,
            rows_rejected = %s,
            bytes_read = %s,
            cursor_value = %s
        where extract_id = %s
        """,
        [
            sum(load.records_read for load in loads),
            sum(load.rows_loaded for load in loads),
            sum(load.rows_rejected for load in loads),
            bytes_read,
            cursor,
            extract_id,
        ],
    )


def cursor(connection: Connection, relation: str) -> str | None:
    """Return how far a source was read, from its newest extract with a cursor; None before the first."""
    row = connection.execute(
        """
        select cursor_value
        from dpe.extracts
        where relation = %s and status = 'succeeded' and cursor_value is not null
        order by extract_id desc
        limit 1
        """,
        [relation],
    ).fetchone()
    return None if row is None else str(row[0])


def extracts_that_resumed(connection: Connection, extract_id: int) -> list[int]:
    """Return the extracts of a source that started at or after the end of this one."""
    rows = connection.execute(
        """
        select later.extract_id
        from dpe.extracts as this
        inner join dpe.extracts as later using (relation)
        where this.extract_id = %s
            and this.cursor_value is not null
            and later.extract_id > this.extract_id
            and later.status = 'succeeded'
            and later.cursor_value is not null
        order by later.extract_id
        """,
        [extract_id],
    ).fetchall()
    return [_integer(row) for row in rows]


def fail_extract(connection: Connection, extract_id: int, error: str) -> None:
    """Record why an extract failed, without echoed secrets."""
    connection.execute(
        "update dpe.extracts set status = 'failed', finished_at = clock_timestamp(), error = %s where extract_id = %s",
        # Messages of other programs may contain characters that a PostgreSQL text cannot.
        [hide(error).replace("\0", r"\x00").encode(errors="backslashreplace").decode(), extract_id],
    )


def known_inputs(connection: Connection, relation: str) -> list[Known]:
    """Return the inputs whose rows are in staging, oldest first; without files of corrected rejects."""
    rows = connection.execute(
        """
        select load_id, location, size_bytes, content_hash, version
        from dpe.loads
        where relation = %s
            and removed_at is null
            and content_hash is not null
            and not exists (select from dpe.rejects where replayed_load_id = loads.load_id)
        order by load_id
        """,
        [relation],
    ).fetchall()
    return [Known(*row) for row in rows]


def move_loads(connection: Connection, locations: Mapping[int, str]) -> None:
    """Record the present locations of the files of loads."""
    connection.execute(
        """
        update dpe.loads
        set location = moved.location
        from unnest(%s::bigint[], %s::text[]) as moved (load_id, location)
        where loads.load_id = moved.load_id
        """,
        [list(locations), list(locations.values())],
    )


def remove_loads(connection: Connection, relation: str, *, but: int | None = None) -> None:
    """Record that the rows of all loads of a source, except those of one extract, left staging."""
    connection.execute(
        """
        update dpe.loads
        set removed_at = clock_timestamp()
        where relation = %s and removed_at is null and extract_id is distinct from %s
        """,
        [relation, but],
    )


def with_corrections(connection: Connection, load_ids: Sequence[int]) -> dict[int, int]:
    """Return these loads and those of their corrected rejects, if they are in staging, with their row counts."""
    rows = connection.execute(
        """
        select
            load_id,
            rows_loaded
        from dpe.loads
        where removed_at is null
            and (
                load_id = any(%(load_ids)s)
                or load_id in (select replayed_load_id from dpe.rejects where load_id = any(%(load_ids)s))
            )
        """,
        {"load_ids": list(load_ids)},
    ).fetchall()
    return {int(str(load_id)): int(str(count)) for load_id, count in rows}


def remove_loads_of(connection: Connection, load_ids: Sequence[int]) -> None:
    """Record that the rows of loads left staging."""
    connection.execute("update dpe.loads set removed_at = clock_timestamp() where load_id = any(%s)", [list(load_ids)])


def visible_rows_loaded(connection: Connection, extract_id: int) -> int:
    """Return how many of the rows that an extract loaded are in staging."""
    row = connection.execute(
        "select coalesce(sum(rows_loaded), 0)::bigint from dpe.loads where extract_id = %s and removed_at is null", [extract_id]
    ).fetchone()
    return _integer(row)


def undo_extract(connection: Connection, extract_id: int) -> None:
    """Record that an extract was undone."""
    connection.execute("update dpe.extracts set status = 'undone' where extract_id = %s", [extract_id])
    connection.execute("update dpe.loads set removed_at = clock_timestamp() where extract_id = %s and removed_at is null", [extract_id])


def restore_loads(connection: Connection, load_ids: Collection[int]) -> int:
    """Record that the rows of loads are in staging again, and so are their extracts' empty inputs; return the newest extract."""
    row = connection.execute(
        """
        with restored as (
            update dpe.loads
            set removed_at = null
            where load_id = any(%(load_ids)s)
                or (rows_loaded = 0 and extract_id in (select extract_id from dpe.loads where load_id = any(%(load_ids)s)))
            returning extract_id
        )
        select max(extract_id) from restored
        """,
        {"load_ids": list(load_ids)},
    ).fetchone()
    return _integer(row)


def latest_extract(connection: Connection, relation: str) -> int | None:
    """Return the last succeeded extract of a source."""
    row = connection.execute("select max(extract_id) from dpe.extracts where relation = %s and status = 'succeeded'", [relation]).fetchone()
    return None if row is None or row[0] is None else _integer(row)


def visible_load_ids(connection: Connection, extract_id: int) -> list[int]:
    """Return the loads of an extract whose rows are in staging."""
    rows = connection.execute("select load_id from dpe.loads where extract_id = %s and removed_at is null", [extract_id]).fetchall()
    return [_integer(row) for row in rows]


def _integer(row: tuple[object, ...] | None) -> int:
    if row is None or not isinstance(row[0], int):
        raise TypeError(f"expected a row with an integer, not {row!r}")
    return row[0]
