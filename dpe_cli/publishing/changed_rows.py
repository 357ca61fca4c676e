"""Which columns of rows a publication would change, and a few of these rows by their keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from dpe_cli.server.connection import Connection

MOST_SHOWN = 5


@dataclass(frozen=True)
class ChangedValue:
    """A value as text, before and after; both are None if the column is masked (`is_masked`)."""

    before: str | None
    after: str | None
    is_masked: bool = False


@dataclass(frozen=True)
class ChangedRow:
    """A row that would change: its key, and the values that differ, by column."""

    key: Mapping[str, str | None]
    values: Mapping[str, ChangedValue]


def changed_rows(
    connection: Connection,
    before: sql.Identifier,
    after: sql.Identifier,
    key: Sequence[str],
    columns: Sequence[str],
    *,
    masked: Collection[str],
) -> tuple[dict[str, int], list[ChangedRow]]:
    """
    Return in how many rows with the same key each column differs, and the first of these rows in the order of their keys.

    They are the rows that the session may see. Values of `masked` columns are left out; if the key has one, so are all rows.
    """
    others = [name for name in columns if name not in key]
    numbered = sql.SQL(
        """
        select
            row({key})::text as matched,
            row_number() over (partition by row({key})::text order by md5(row({columns})::text)) as nth,
            array[{key_texts}]::text[] as key_values,
            array[{texts}]::text[] as contents
        from {relation}
        """
    )
    parts = {
        "key": _names(key),
        "columns": _names(columns),
        "key_texts": _texts(key),
        "texts": _texts(others),
    }
    rows = connection.execute(
        sql.SQL(
            """
            with

            before as ({before}),

            after as ({after}),

            changed as materialized (

                select matched, nth, after.key_values, before.contents as old, after.contents as new
                from before
                inner join after using (matched, nth)
                where before.contents <> after.contents

            )

            select counts.by_column, shown.key_values, shown.old, shown.new
            from (
                select array_agg(count order by place) as by_column
                from (
                    select place, count(*) filter (where old[place] is distinct from new[place]) as count
                    from changed
                    cross join generate_series(1, %(width)s) as place
                    group by place
                ) as counted
            ) as counts
            cross join (select * from changed order by matched, nth limit %(most)s) as shown
            order by shown.matched, shown.nth
            """
        ).format(
            before=numbered.format(relation=before, **parts),
            after=numbered.format(relation=after, **parts),
        ),
        {"width": len(others), "most": MOST_SHOWN},
    ).fetchall()
    if not rows:
        return {}, []
    counts = {name: int(count) for name, count in zip(others, rows[0][0], strict=True) if count}
    if any(name in masked for name in key):
        return counts, []
    return counts, [_row(key, others, row, masked) for row in rows]


def _row(key: Sequence[str], others: Sequence[str], row: Sequence[Sequence[str | None]], masked: Collection[str]) -> ChangedRow:
    _, key_values, old, new = row
    values = {
        name: ChangedValue(None, None, is_masked=True) if name in masked else ChangedValue(before, after)
        for name, before, after in zip(others, old, new, strict=True)
        if before != after
    }
    return ChangedRow(dict(zip(key, key_values, strict=True)), values)


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _texts(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns)
