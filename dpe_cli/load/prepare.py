"""The load contract: compare the columns that a source declares with the staging table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import psycopg
from psycopg import sql

from dpe_cli.blocks.contract import MOST_COLUMNS, OWN_COLUMNS, Column, StagingTable
from dpe_cli.blocks.exact_types import exact_type
from dpe_cli.errors import ContractError
from dpe_cli.load import column_types, policies, staging, staging_schema
from dpe_cli.load.staging import execute
from dpe_cli.safe_text.redaction import excerpt
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import columns_of

# What an extract does to the staging table: creates it, rebuilds it under another contract, or keeps it, perhaps with more columns.
Staging = Literal["new", "rebuilt", "kept"]

_LONGEST_IDENTIFIER = 63


def prepare(connection: Connection, table: StagingTable, *, may_rebuild: bool = False) -> bool:
    """
    Make the staging table fit the contract: create it with its schema, or add new columns; return whether it has to be rebuilt.

    Runs in the caller's transaction, as the loader.

    Raises:
        ContractError: a column was removed, or its type changed, and `may_rebuild` is false; its schema is not for sources; or PostgreSQL
            refuses such a table.
        ServerError: the loader may not create the schema, or tables in it.
    """
    _check_declaration(table)
    with _reporting_refusals(table):
        _check_defaults(connection, table)
        staging_schema.create(connection, table)
        if not _exists(connection, table):
            create(connection, table)
            return False
        present = columns_of(connection, table.identifier)
        if _has_to_be_rebuilt(connection, table, present, may_rebuild=may_rebuild):
            return True
        _add(connection, table, [column for column in table.columns if column.name not in present])
        policies.protect(connection, table)
    return False


def foresee(connection: Connection, table: StagingTable, *, may_rebuild: bool) -> Staging:
    """
    Return what prepare() would do to the staging table, with the same errors; the caller has to roll back.

    It changes nothing that exists, so it waits for no session, and none waits for it.
    """
    _check_declaration(table)
    with _reporting_refusals(table):
        _check_defaults(connection, table)
        is_open = not staging_schema.is_to_be_opened(connection, table.schema)
        if is_open:
            staging_schema.create(connection, table)
        if not _exists(connection, table):
            if is_open:
                create(connection, table)
            return "new"
        present = columns_of(connection, table.identifier)
        return "rebuilt" if _has_to_be_rebuilt(connection, table, present, may_rebuild=may_rebuild) else "kept"


def _has_to_be_rebuilt(connection: Connection, table: StagingTable, present: Mapping[str, str], *, may_rebuild: bool) -> bool:
    """Compare the table's columns with the contract; a column that was removed or has another type needs another table."""
    wanted = _wanted_types(connection, table)
    changes = [
        f"column {name} is {data_type} in {table.schema}.{table.name} and {wanted.get(name, 'missing')} in the contract"
        for name, data_type in present.items()
        if name not in OWN_COLUMNS and wanted.get(name) != data_type
    ]
    if changes and not may_rebuild:
        raise ContractError(
            f"{table.source} ({table.declared_at}): {'; '.join(changes)}; "
            f"to reload everything under the new contract: dpe extract --full-refresh source:{table.source}"
        )
    return bool(changes)


def create(connection: Connection, table: StagingTable) -> None:
    """Create the staging table with its policies, in the caller's transaction."""
    execute(
        connection,
        "create table {table} ({columns}, _load_id bigint not null, _slice_id bigint not null) partition by list (_slice_id)",
        table=table.identifier,
        columns=definitions(table),
    )
    policies.protect(connection, table)
    execute(connection, "comment on table {table} is {text}", table=table.identifier, text=sql.Literal(table.description))
    _comment(connection, table, table.columns)


def create_slice(connection: Connection, slice_: staging.Slice, *, with_load_id: bool, ignored_columns: int) -> None:
    """Create an empty slice; its `ignored_columns` take fields that the contract does not name, and are dropped when it is sealed."""
    columns: list[sql.Composable] = [definitions(slice_.table, with_defaults=True)]
    if with_load_id:
        columns.append(sql.SQL("_load_id bigint not null"))
    columns += [sql.SQL("{} text").format(sql.Identifier(staging.ignored_column(number))) for number in range(ignored_columns)]
    execute(connection, "create table {slice_} ({columns})", slice_=slice_.identifier, columns=sql.SQL(", ").join(columns))


def definitions(table: StagingTable, *, with_defaults: bool = False) -> sql.Composed:
    """Return the contract's columns as column definitions of a table."""
    return sql.SQL(", ").join(_definition(column, with_default=with_defaults) for column in table.columns)


def _definition(column: Column, *, with_default: bool) -> sql.Composed:
    """Return a column's definition. COPY stores the default if the input does not have the column."""
    default = column.default if with_default else None
    name = sql.SQL("{} {}").format(sql.Identifier(column.name), _type(column))
    return name if default is None else sql.SQL("{} default {}").format(name, sql.Literal(default))


def _check_defaults(connection: Connection, table: StagingTable) -> None:
    """
    Refuse a default that is not a value of its column, or that its type would change.

    Raises:
        ContractError: it is such a default.
    """
    for column in table.columns:
        if column.default is None:
            continue
        try:
            with connection.transaction(force_rollback=True):
                # As when records are loaded.
                connection.execute("select set_config('datestyle', 'ISO, YMD', true), set_config('timezone', 'UTC', true)")
                connection.execute("select set_config('intervalstyle', 'postgres', true)")
                definition = _definition(column, with_default=True)
                execute(connection, "create temporary table dpe_default ({definition})", definition=definition)
                connection.execute("insert into pg_temp.dpe_default default values")
                data_type = column_types.of(connection, sql.Identifier("pg_temp", "dpe_default"))[column.name]
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise ContractError(
                f"{table.source} ({table.declared_at}): column {column.name}: meta.default is {column.default!r}, which "
                f"{column.data_type} refuses ({error.diag.message_primary}); correct it"
            ) from error
        exact = exact_type(data_type, rounds=column.rounds)
        if exact is not None and not exact.accepts(column.default.encode()):
            _, reason = exact.refusal(column.default.encode())
            raise ContractError(
                f"{table.source} ({table.declared_at}): column {column.name}: meta.default is {column.default!r}, which "
                f"{column.data_type} would change ({reason}); write it as it is to be loaded"
            )


def _check_declaration(table: StagingTable) -> None:
    """Refuse names that staging itself needs, names that PostgreSQL would truncate, and too many columns."""
    if len(table.columns) > MOST_COLUMNS:
        raise ContractError(
            f"{table.source} ({table.declared_at}): {len(table.columns):,} columns are more than a table can have "
            f"({MOST_COLUMNS:,} besides dpe's own); declare those that are needed, and set extra_columns: ignore"
        )
    for name in (column.name for column in table.columns):
        if name in OWN_COLUMNS or name.startswith("_ignored_"):
            raise ContractError(f"{table.source} ({table.declared_at}): column {name} is reserved for dpe; rename it")
    for name in (table.name, *(column.name for column in table.columns)):
        if len(name.encode()) > _LONGEST_IDENTIFIER:
            raise ContractError(
                f"{table.source} ({table.declared_at}): {excerpt(name)} is longer than {_LONGEST_IDENTIFIER} bytes; shorten the name"
            )


@contextmanager
def _reporting_refusals(table: StagingTable) -> Iterator[None]:
    """Turn PostgreSQL's refusal into a ContractError that names the declaration."""
    try:
        yield
    except (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError) as error:
        raise ContractError(
            f"{table.source} ({table.declared_at}): PostgreSQL refuses {table.schema}.{table.name} ({error.diag.message_primary}); "
            "correct its schema, its name, and each column's name and data_type"
        ) from error


def _exists(connection: Connection, table: StagingTable) -> bool:
    """Return whether the staging table exists; refuse a relation of its name that dpe did not create."""
    found = connection.execute(
        "select relkind = 'p' and pg_has_role(relowner, 'usage') from pg_class where oid = to_regclass(%s)",
        [table.identifier.as_string(connection)],
    ).fetchone()
    if found == (False,):
        raise ContractError(
            f"{table.source} ({table.declared_at}): {table.schema}.{table.name} already exists and was not created by dpe; "
            "rename one of the two (`identifier:` names a source's table)"
        )
    return found is not None


def _add(connection: Connection, table: StagingTable, columns: Sequence[Column]) -> None:
    """Add columns to the table, and to detached slices, which may be attached again."""
    relations = [table.identifier]
    if columns:
        relations += [slice_.identifier for slice_ in staging.slices(connection, table, attached=False)]
    for column in columns:
        for relation in relations:
            execute(
                connection,
                "alter table {relation} add column {column} {type}",
                relation=relation,
                column=sql.Identifier(column.name),
                type=_type(column),
            )
    _comment(connection, table, columns)


def _comment(connection: Connection, table: StagingTable, columns: Sequence[Column]) -> None:
    for column in columns:
        execute(
            connection,
            "comment on column {table}.{column} is {text}",
            table=table.identifier,
            column=sql.Identifier(column.name),
            text=sql.Literal(column.description),
        )


def _wanted_types(connection: Connection, table: StagingTable) -> dict[str, str]:
    """Return the contract's types as PostgreSQL spells them, by creating such columns."""
    execute(connection, "create temporary table dpe_contract ({columns}) on commit drop", columns=definitions(table))
    types = columns_of(connection, sql.Identifier("pg_temp", "dpe_contract"))
    execute(connection, "drop table pg_temp.dpe_contract")
    return types


def _type(column: Column) -> sql.SQL:
    """Return a type as SQL. It comes from the project's own YAML, which is as trusted as its models, and cannot be quoted."""
    if not re.fullmatch(r"[\w .,()\"\[\]]+", column.data_type):
        raise ContractError(f"column {column.name}: {column.data_type!r} is not the name of a type; correct its data_type")
    return sql.SQL(column.data_type)
