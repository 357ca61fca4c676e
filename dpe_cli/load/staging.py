"""
Staging tables: the partitioned parent that carries the policies, and the slices that writers fill.

A slice is an ordinary table until it is attached. Only its owner has privileges on it, and it is under forced
row-level security without a policy before it is first committed, so its rows can only be read through the parent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from dpe_cli.blocks.contract import StagingTable
from dpe_cli.server.connection import Connection

SLICES_PER_EXTRACT = 1000
_FIRST_VERSION_WITH_ANALYZE_ONLY = 180000


@dataclass(frozen=True)
class Slice:
    """A staging partition that one writer fills during one extract; `number` is its place within the extract."""

    table: StagingTable
    extract_id: int
    number: int

    @property
    def name(self) -> str:
        """Its relation name, `<table>__<extract_id>_<number>`."""
        return f"{self.table.slice_prefix}{self.extract_id}_{self.number}"

    @property
    def slice_id(self) -> int:
        """The value of `_slice_id` in all its rows: the parent's partition key."""
        return self.extract_id * SLICES_PER_EXTRACT + self.number

    @property
    def identifier(self) -> sql.Identifier:
        """The slice, qualified."""
        return sql.Identifier(self.table.schema, self.name)

    @classmethod
    def named(cls, table: StagingTable, name: str) -> Slice:
        """Return the slice with this relation name."""
        extract_id, number = name.removeprefix(table.slice_prefix).split("_")
        return cls(table, int(extract_id), int(number))


def drop(connection: Connection, table: StagingTable) -> list[str]:
    """Drop the parent, its slices and the views on it; return what was dropped with it, in the server's words."""
    dropped: list[str] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        dropped.extend((notice.message_detail or notice.message_primary or "").splitlines())

    connection.add_notice_handler(note)
    try:
        execute(connection, "drop table {table} cascade", table=table.identifier)
    finally:
        connection.remove_notice_handler(note)
    return dropped


def add_ignored_column(connection: Connection, slice_: Slice, number: int) -> None:
    """Add the column for the n-th field that is not in the contract."""
    execute(
        connection,
        "alter table {slice_} add column {column} text",
        slice_=slice_.identifier,
        column=sql.Identifier(ignored_column(number)),
    )


def ignored_column(number: int) -> str:
    """Name the slice's column for the n-th field that is not in the contract."""
    return f"_ignored_{number}"


def set_load_id(connection: Connection, slice_: Slice, load_id: int) -> None:
    """Make `load_id` the load of the rows that are copied next."""
    execute(
        connection, "alter table {slice_} alter column _load_id set default {load}", slice_=slice_.identifier, load=sql.Literal(load_id)
    )


def seal(connection: Connection, slice_: Slice, *, load_id: int | None, ignored_columns: int) -> None:
    """
    Make a filled slice ready to attach: add its constant columns, RLS, and the constraint that saves scanning it.

    A column that is added with a constant default is stored once in the catalog, not in the rows (PostgreSQL
    documentation, "ALTER TABLE", notes), so the slice's id, and the load's if there is only one, cost nothing.
    """
    for number in range(ignored_columns):
        execute(
            connection,
            "alter table {slice_} drop column {column}",
            slice_=slice_.identifier,
            column=sql.Identifier(ignored_column(number)),
        )
    if load_id is not None:
        execute(
            connection,
            "alter table {slice_} add column _load_id bigint not null default {load}",
            slice_=slice_.identifier,
            load=sql.Literal(load_id),
        )
    execute(
        connection,
        """
        alter table {slice_}
            add column _slice_id bigint not null default {slice_id},
            add check (_slice_id = {slice_id}),
            enable row level security,
            force row level security
        """,
        slice_=slice_.identifier,
        slice_id=sql.Literal(slice_.slice_id),
    )


def attach(connection: Connection, slice_: Slice) -> None:
    """Attach a sealed slice; its rows become visible through the parent when the caller's transaction commits."""
    execute(
        connection,
        "alter table {table} attach partition {slice_} for values in ({slice_id})",
        table=slice_.table.identifier,
        slice_=slice_.identifier,
        slice_id=sql.Literal(slice_.slice_id),
    )


def detach(connection: Connection, slice_: Slice, *, replaced_by: int) -> None:
    """Detach a slice: its rows leave the parent, and forced RLS without a policy hides them from every role."""
    execute(connection, "alter table {table} detach partition {slice_}", table=slice_.table.identifier, slice_=slice_.identifier)
    execute(connection, "comment on table {slice_} is {text}", slice_=slice_.identifier, text=sql.Literal(_replaced(replaced_by)))


def replaced_slices(connection: Connection, table: StagingTable, extract_id: int) -> list[Slice]:
    """Return the slices that an extract replaced and that are still kept so that it can be undone."""
    loose = {slice_.name: slice_ for slice_ in slices(connection, table, attached=False)}
    rows = connection.execute(
        """
        select relname
        from pg_class
        where relnamespace = (select oid from pg_namespace where nspname = %s)
            and relname = any(%s)
            and obj_description(oid, 'pg_class') = %s
        """,
        [table.schema, list(loose), _replaced(extract_id)],
    ).fetchall()
    return [loose[str(name)] for (name,) in rows]


def drop_slice(connection: Connection, slice_: Slice) -> None:
    """Drop a slice, attached or not."""
    execute(connection, "drop table {slice_}", slice_=slice_.identifier)


def slices(connection: Connection, table: StagingTable, *, attached: bool) -> list[Slice]:
    """Return the table's attached or detached slices."""
    rows = connection.execute(
        """
        select relname
        from pg_class
        where relnamespace = (select oid from pg_namespace where nspname = %s)
            and relkind = 'r'
            and relname ~ %s
            and relispartition = %s
        order by pg_class.oid
        """,
        [table.schema, f"^{re.escape(table.slice_prefix)}[0-9]+_[0-9]+$", attached],
    ).fetchall()
    return [Slice.named(table, str(name)) for (name,) in rows]


def relations(connection: Connection, table: StagingTable) -> list[int]:
    """Return the oids of the parent and of its slices, attached or not."""
    rows = connection.execute(
        """
        select oid::bigint
        from pg_class
        where relnamespace = (select oid from pg_namespace where nspname = %s)
            and relkind in ('p', 'r')
            and (relname = %s or relname ~ %s)
        """,
        [table.schema, table.name, f"^{re.escape(table.slice_prefix)}[0-9]+_[0-9]+$"],
    ).fetchall()
    return [int(str(oid)) for (oid,) in rows]


def visible_rows(connection: Connection, table: StagingTable, slice_ids: Sequence[int]) -> dict[int, int]:
    """Count the rows per load that the session sees in slices, through the parent and its policies."""
    rows = connection.execute(
        sql.SQL("select _load_id, count(*) from {table} where _slice_id = any(%s) group by _load_id").format(table=table.identifier),
        [list(slice_ids)],
    ).fetchall()
    return {int(str(load_id)): int(str(count)) for load_id, count in rows}


def delete_loads(connection: Connection, table: StagingTable, load_ids: Sequence[int]) -> int:
    """Delete the rows of loads that the session sees; return how many."""
    return connection.execute(sql.SQL("delete from {} where _load_id = any(%s)").format(table.identifier), [list(load_ids)]).rowcount


def remove_repeated(
    connection: Connection, table: StagingTable, slice_ids: Sequence[int], key: Sequence[str], *, among_themselves: bool
) -> dict[int, int]:
    """
    Delete from attached slices the rows that are already in staging, column for column; return how many of each load.

    With `among_themselves`, also those that occur earlier in these slices. Two rows with the same key and different
    values are two versions of a record, and both stay.
    """
    others = {slice_.slice_id for slice_ in slices(connection, table, attached=True)} - set(slice_ids)
    if not slice_ids or not (others or among_themselves):
        return {}
    elsewhere = sql.SQL("old._slice_id <> all(%(slice_ids)s)")
    if among_themselves:
        elsewhere = sql.SQL("({} or (old._slice_id, old.ctid) < (new._slice_id, new.ctid))").format(elsewhere)  # type: ignore[assignment]
    # Arrays of two nulls are equal, and can be hashed: `is not distinct from` would compare every pair of rows.
    same = [sql.SQL("array[old.{0}] = array[new.{0}]").format(sql.Identifier(name)) for name in key]
    # As text, because not every type can be compared (json, xml, point).
    same += [
        sql.SQL("old.{0}::text is not distinct from new.{0}::text").format(sql.Identifier(column.name))
        for column in table.columns
        if column.name not in key
    ]
    rows = connection.execute(
        sql.SQL(
            """
            with repeated as (
                delete from {table} as new
                where new._slice_id = any(%(slice_ids)s)
                    and exists (
                        select
                        from {table} as old
                        where {same} and {elsewhere}
                    )
                returning new._load_id
            )
            select _load_id, count(*) from repeated group by _load_id
            """
        ).format(table=table.identifier, same=sql.SQL(" and ").join(same), elsewhere=elsewhere),
        {"slice_ids": list(slice_ids)},
    ).fetchall()
    return {int(str(load_id)): int(str(count)) for load_id, count in rows}


def repeated_keys(
    connection: Connection, table: StagingTable, slice_ids: Sequence[int] | None, key: Sequence[str], *, most: int
) -> tuple[int, list[tuple[str | None, ...]]]:
    """Return how many keys occur in more than one row that the session sees, and some of them; None: in the whole table."""
    columns = sql.SQL(", ").join(map(sql.Identifier, key))
    rows = connection.execute(
        sql.SQL(
            """
            with repeated as (
                select {columns}
                from {table}
                where %(slice_ids)s::bigint[] is null or _slice_id = any(%(slice_ids)s)
                group by {columns}
                having count(*) > 1
            )
            select count(*) over (), {texts} from repeated order by {columns} limit %(most)s
            """
        ).format(
            columns=columns,
            table=table.identifier,
            texts=sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in key),
        ),
        {"slice_ids": None if slice_ids is None else list(slice_ids), "most": most},
    ).fetchall()
    count = int(str(rows[0][0])) if rows else 0
    return count, [tuple(None if value is None else str(value) for value in row[1:]) for row in rows]


def analyze(connection: Connection, table: StagingTable) -> None:
    """
    Update the statistics of the parent, which autovacuum never does (PostgreSQL documentation, "Updating Planner Statistics").

    Without them the planner guesses how many rows a join of sources has.
    """
    # Its slices are left to autovacuum; before 18 they cannot be excluded.
    only = sql.SQL("only ") if connection.info.server_version >= _FIRST_VERSION_WITH_ANALYZE_ONLY else sql.SQL("")
    execute(connection, "analyze {only}{table}", only=only, table=table.identifier)


def _replaced(extract_id: int) -> str:
    return f"Replaced by extract {extract_id}; kept so that it can be undone."


def execute(connection: Connection, statement: LiteralString, **parts: sql.Composable) -> None:
    """Execute a statement composed of parts."""
    connection.execute(sql.SQL(statement).format(**parts))
