"""
Staging tables: the partitioned parent that carries the policies, and the slices that writers fill.

A slice is an ordinary table until it is attached. Nobody but its owner has a privilege on it, and it is under forced
row-level security without a policy before it is first committed, so that its rows can only be read through the parent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from dpe_cli.errors import ContractError, ServerError

Connection = psycopg.Connection[tuple[object, ...]]

SLICES_PER_EXTRACT = 1000
_LONGEST_IDENTIFIER = 63


@dataclass(frozen=True)
class Column:
    """A column of the load contract. `data_type` is a PostgreSQL type."""

    name: str
    data_type: str
    description: str = ""


@dataclass(frozen=True)
class StagingTable:
    """Where a source is loaded. `source` is dbt's `source_name.table_name`; `declared_at` is the file that declares it."""

    source: str
    schema: str
    name: str
    columns: tuple[Column, ...]
    tenant_column: str | None = None
    description: str = ""
    declared_at: str = ""

    @property
    def identifier(self) -> sql.Identifier:
        """The parent table, qualified."""
        return sql.Identifier(self.schema, self.name)

    @property
    def slice_prefix(self) -> str:
        """What the names of its slices start with; cut so that they fit into an identifier."""
        return f"{self.name[: _LONGEST_IDENTIFIER - 23]}__"


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
        """Return the slice that a relation name stands for."""
        extract_id, number = name.removeprefix(table.slice_prefix).split("_")
        return cls(table, int(extract_id), int(number))


def prepare(connection: Connection, table: StagingTable, *, may_rebuild: bool = False) -> bool:
    """
    Make the parent fit the contract: create it, or add columns that are new; return whether it has to be rebuilt.

    Runs in the caller's transaction, as the loader.

    Raises:
        ContractError: a column was removed, or its type changed, and `may_rebuild` is false; or a type does not exist.
    """
    present = _columns(connection, table.identifier)
    if not present:
        create(connection, table)
        return False
    wanted = _wanted_types(connection, table)
    changes = [
        f"column {name} is {data_type} in {table.schema}.{table.name} and {wanted.get(name, 'gone')} in the contract"
        for name, data_type in present.items()
        if not name.startswith("_") and wanted.get(name) != data_type
    ]
    if changes:
        if may_rebuild:
            return True
        raise ContractError(
            f"{table.source} ({table.declared_at}): {'; '.join(changes)}; "
            f"to load everything anew under the new contract: dpe extract --full-refresh source:{table.source}"
        )
    for column in table.columns:
        if column.name not in present:
            _execute(
                connection,
                "alter table {table} add column {column} {type}",
                table=table.identifier,
                column=sql.Identifier(column.name),
                type=_type(column),
            )
    _protect_parent(connection, table)
    return False


def create(connection: Connection, table: StagingTable) -> None:
    """Create the parent with its policies, in the caller's transaction."""
    try:
        _execute(
            connection,
            "create table {table} ({columns}, _load_id bigint not null, _slice_id bigint not null) partition by list (_slice_id)",
            table=table.identifier,
            columns=_definitions(table),
        )
    except psycopg.errors.UndefinedObject as error:
        raise ContractError(
            f"{table.source} ({table.declared_at}): {error.diag.message_primary}; give each column a data_type that PostgreSQL knows"
        ) from error
    _protect_parent(connection, table)
    _execute(connection, "comment on table {table} is {text}", table=table.identifier, text=sql.Literal(table.description))
    for column in table.columns:
        _execute(
            connection,
            "comment on column {table}.{column} is {text}",
            table=table.identifier,
            column=sql.Identifier(column.name),
            text=sql.Literal(column.description),
        )


def drop(connection: Connection, table: StagingTable) -> list[str]:
    """Drop the parent, its slices and the views on it; return what went with it, in the server's words."""
    dropped: list[str] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        dropped.extend((notice.message_detail or notice.message_primary or "").splitlines())

    connection.add_notice_handler(note)
    try:
        _execute(connection, "drop table {table} cascade", table=table.identifier)
    finally:
        connection.remove_notice_handler(note)
    return dropped


def create_slice(connection: Connection, piece: Slice, *, with_load_id: bool, ignored_columns: int) -> None:
    """Create an empty slice; `ignored_columns` take what the contract does not name and go when it is sealed."""
    extra = [sql.SQL("_load_id bigint not null")] if with_load_id else []
    extra += [sql.SQL("{} text").format(sql.Identifier(ignored_column(number))) for number in range(ignored_columns)]
    _execute(
        connection,
        "create table {piece} ({columns})",
        piece=piece.identifier,
        columns=sql.SQL(", ").join([_definitions(piece.table), *extra]),
    )


def add_ignored_column(connection: Connection, piece: Slice, number: int) -> None:
    """Add the column for the n-th field that is not in the contract."""
    _execute(
        connection,
        "alter table {piece} add column {column} text",
        piece=piece.identifier,
        column=sql.Identifier(ignored_column(number)),
    )


def ignored_column(number: int) -> str:
    """Name the slice's column for the n-th field that is not in the contract."""
    return f"_ignored_{number}"


def set_load_id(connection: Connection, piece: Slice, load_id: int) -> None:
    """Make `load_id` the load of the rows that are copied next."""
    _execute(connection, "alter table {piece} alter column _load_id set default {load}", piece=piece.identifier, load=sql.Literal(load_id))


def seal(connection: Connection, piece: Slice, *, load_id: int | None, ignored_columns: int) -> None:
    """
    Make a filled slice ready to attach: its constant columns, the constraint that spares the attach a scan, and RLS.

    A column that is added with a constant default is kept once in the catalog, not in the rows (PostgreSQL
    documentation, "ALTER TABLE", notes), so the slice's id, and the load's where there is only one, cost nothing.
    """
    for number in range(ignored_columns):
        _execute(
            connection,
            "alter table {piece} drop column {column}",
            piece=piece.identifier,
            column=sql.Identifier(ignored_column(number)),
        )
    if load_id is not None:
        _execute(
            connection,
            "alter table {piece} add column _load_id bigint not null default {load}",
            piece=piece.identifier,
            load=sql.Literal(load_id),
        )
    _execute(
        connection,
        """
        alter table {piece}
            add column _slice_id bigint not null default {slice_id},
            add check (_slice_id = {slice_id}),
            enable row level security,
            force row level security
        """,
        piece=piece.identifier,
        slice_id=sql.Literal(piece.slice_id),
    )


def attach(connection: Connection, piece: Slice) -> None:
    """Attach a sealed slice; its rows are visible through the parent when the caller's transaction commits."""
    _execute(
        connection,
        "alter table {table} attach partition {piece} for values in ({slice_id})",
        table=piece.table.identifier,
        piece=piece.identifier,
        slice_id=sql.Literal(piece.slice_id),
    )


def detach(connection: Connection, piece: Slice) -> None:
    """Detach a slice: its rows are gone from the parent, and forced RLS without a policy keeps them from everybody."""
    _execute(connection, "alter table {table} detach partition {piece}", table=piece.table.identifier, piece=piece.identifier)


def drop_slice(connection: Connection, piece: Slice) -> None:
    """Drop a slice, attached or not."""
    _execute(connection, "drop table {piece}", piece=piece.identifier)


def slices(connection: Connection, table: StagingTable, *, attached: bool) -> list[Slice]:
    """Return the table's slices that are attached, or that are not."""
    rows = connection.execute(
        """
        select relname
        from pg_class
        where relnamespace = to_regnamespace(%s)
            and relkind = 'r'
            and relname ~ %s
            and relispartition = %s
        order by oid
        """,
        [table.schema, f"^{re.escape(table.slice_prefix)}[0-9]+_[0-9]+$", attached],
    ).fetchall()
    return [Slice.named(table, str(name)) for (name,) in rows]


def visible_rows(connection: Connection, table: StagingTable, slice_ids: Sequence[int]) -> dict[int, int]:
    """Count the rows per load that the session sees in slices, through the parent and its policies."""
    rows = connection.execute(
        sql.SQL("select _load_id, count(*) from {table} where _slice_id = any(%s) group by _load_id").format(table=table.identifier),
        [list(slice_ids)],
    ).fetchall()
    return {int(str(load_id)): int(str(count)) for load_id, count in rows}


def visible_rows_before_attach(connection: Connection, piece: Slice, policies: Sequence[Policy]) -> dict[int, int]:
    """
    Count the rows per load that the session will see in a sealed slice once it is attached, under the parent's policies.

    The slice has the policies for as long as this takes, so each writer counts its own slice while the others write. In
    the transaction that wrote them, reading the rows marks no page: after it, the first reader of each row marks its
    page as committed, which is written and logged again (PostgreSQL documentation, "wal_log_hints").
    """
    for policy in policies:
        connection.execute(policy.statement(piece.identifier))
    connection.execute("select set_config('enable_sort', 'off', true)")
    rows = connection.execute(sql.SQL("select _load_id, count(*) from {piece} group by _load_id").format(piece=piece.identifier)).fetchall()
    for policy in policies:
        _execute(connection, "drop policy {policy} on {piece}", policy=sql.Identifier(policy.name), piece=piece.identifier)
    return {int(str(load_id)): int(str(count)) for load_id, count in rows}


@dataclass(frozen=True)
class Policy:
    """A policy as the catalog has it; its expressions are PostgreSQL's own text."""

    name: str
    permissive: str
    roles: tuple[str, ...]
    command: str
    using: str | None
    with_check: str | None

    def statement(self, relation: sql.Identifier) -> sql.Composed:
        """Return the statement that gives another relation the same policy."""
        parts = [
            sql.SQL("create policy {} on {} as {} for {} to {}").format(
                sql.Identifier(self.name),
                relation,
                sql.SQL(self.permissive),  # type: ignore[arg-type]
                sql.SQL(self.command),  # type: ignore[arg-type]
                sql.SQL(", ").join(sql.SQL("public") if role == "public" else sql.Identifier(role) for role in self.roles),
            )
        ]
        if self.using is not None:
            parts.append(sql.SQL(f"using ({self.using})"))  # type: ignore[arg-type]
        if self.with_check is not None:
            parts.append(sql.SQL(f"with check ({self.with_check})"))  # type: ignore[arg-type]
        return sql.SQL(" ").join(parts)


def policies_of(connection: Connection, table: StagingTable) -> list[Policy]:
    """Return the parent's policies."""
    rows = connection.execute(
        """
        select policyname, permissive, roles::text[], cmd, qual, with_check
        from pg_policies
        where schemaname = %s and tablename = %s
        order by policyname
        """,
        [table.schema, table.name],
    ).fetchall()
    return [Policy(name, permissive, tuple(roles), command, using, check) for name, permissive, roles, command, using, check in rows]  # type: ignore[arg-type]


def _protect_parent(connection: Connection, table: StagingTable) -> None:
    """Put the parent under forced RLS with the policies of its declaration; does nothing where they are in place."""
    declaration = f"tenant_column {table.tenant_column}" if table.tenant_column else "no tenant column"
    found = connection.execute(
        """
        select count(*)
        from pg_policy
        where polrelid = to_regclass(%s) and obj_description(oid, 'pg_policy') = %s
        """,
        [table.identifier.as_string(connection), declaration],
    ).fetchone()
    if found == (len(_POLICIES),):
        return
    every_row = sql.SQL("(select dpe.context_is_open())")
    if table.tenant_column:
        every_row = sql.SQL("(select dpe.every_tenant_is_open()) or {} = any ((select dpe.visible_tenants())::text[])").format(
            sql.Identifier(table.tenant_column)
        )
    _execute(connection, "alter table {table} enable row level security, force row level security", table=table.identifier)
    for policy, (command, role) in _POLICIES.items():
        names = {"table": table.identifier, "policy": sql.Identifier(policy), "role": sql.Identifier(role)}
        _execute(connection, "drop policy if exists {policy} on {table}", **names)
        check = sql.SQL(" with check ({rows})").format(rows=every_row) if command == "all" else sql.SQL("")
        _execute(
            connection,
            "create policy {policy} on {table} for {command} to {role} using ({rows}){check}",
            command=sql.SQL(command),
            rows=every_row,
            check=check,
            **names,
        )
        _execute(connection, "comment on policy {policy} on {table} is {text}", text=sql.Literal(declaration), **names)
    _execute(connection, "grant select on {table} to dpe_transformer, dpe_owner", table=table.identifier)


_POLICIES: dict[str, tuple[LiteralString, str]] = {
    "dpe_system": ("all", "dpe_loader"),
    "dpe_transformer": ("select", "dpe_transformer"),
    "dpe_admin": ("select", "dpe_owner"),
}


def _columns(connection: Connection, relation: sql.Identifier) -> dict[str, str]:
    """Return name and type of a relation's columns; nothing where it does not exist."""
    rows = connection.execute(
        """
        select attname, format_type(atttypid, atttypmod)
        from pg_attribute
        where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
        order by attnum
        """,
        [relation.as_string(connection)],
    ).fetchall()
    return {str(name): str(data_type) for name, data_type in rows}


def _wanted_types(connection: Connection, table: StagingTable) -> dict[str, str]:
    """Return the contract's types as PostgreSQL writes them, by asking it to make such columns."""
    probe = sql.Identifier("pg_temp", "dpe_contract")
    try:
        _execute(connection, "create temporary table dpe_contract ({columns}) on commit drop", columns=_definitions(table))
    except psycopg.errors.UndefinedObject as error:
        raise ContractError(
            f"{table.source} ({table.declared_at}): {error.diag.message_primary}; give each column a data_type that PostgreSQL knows"
        ) from error
    types = _columns(connection, probe)
    _execute(connection, "drop table {probe}", probe=probe)
    return types


def _definitions(table: StagingTable) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(column.name), _type(column)) for column in table.columns)


def _type(column: Column) -> sql.SQL:
    """Return a type as SQL. It comes from the project's own YAML, as trusted as its models, and cannot be quoted."""
    if not re.fullmatch(r"[\w .,()\"\[\]]+", column.data_type):
        raise ContractError(f"column {column.name}: {column.data_type!r} is not the name of a type; correct its data_type")
    return sql.SQL(column.data_type)  # type: ignore[arg-type]


def _execute(connection: Connection, statement: LiteralString, **parts: sql.Composable) -> None:
    try:
        connection.execute(sql.SQL(statement).format(**parts))
    except psycopg.errors.LockNotAvailable as error:
        raise ServerError(
            f"staging: a session that reads or changes the table holds it too long; wait for it or end it, then run again ({error})"
        ) from error
