"""The policies of staging tables: declared ones, existing ones, and the rows that they make visible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from dpe_cli.blocks.contract import StagingTable
from dpe_cli.load.staging import execute
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import encoded_name

_CONTEXT_IS_OPEN = "(select dpe.context_is_open())"
# As we write it, and as the server shows it in pg_policies.
_ALL_OR_NOTHING = {_CONTEXT_IS_OPEN, "( SELECT dpe.context_is_open() AS context_is_open)"}


@dataclass(frozen=True)
class Policy:
    """A policy; its expressions are SQL, from the catalog or from this module."""

    name: str
    permissive: str
    roles: tuple[str, ...]
    command: str
    using: str | None
    with_check: str | None

    def statement(self, relation: sql.Identifier) -> sql.Composed:
        """Return the statement that creates this policy on a relation."""
        parts = [
            sql.SQL("create policy {} on {} as {} for {} to {}").format(
                sql.Identifier(self.name),
                relation,
                sql.SQL(self.permissive),
                sql.SQL(self.command),
                sql.SQL(", ").join(sql.SQL("public") if role == "public" else sql.Identifier(role) for role in self.roles),
            )
        ]
        if self.using is not None:
            parts.append(sql.SQL(f"using ({self.using})"))  # type: ignore[arg-type]
        if self.with_check is not None:
            parts.append(sql.SQL(f"with check ({self.with_check})"))  # type: ignore[arg-type]
        return sql.SQL(" ").join(parts)


def declared(connection: Connection, table: StagingTable) -> list[Policy]:
    """Return the policies that the table's declaration asks for."""
    rows = _CONTEXT_IS_OPEN
    if table.tenant_column:
        column = sql.Identifier(table.tenant_column).as_string(connection)
        rows = f"(select dpe.every_tenant_is_open()) or {column} = any ((select dpe.visible_tenants())::text[])"
    return [
        Policy("dpe_admin", "permissive", ("dpe_owner",), "select", rows, None),
        Policy("dpe_system", "permissive", ("dpe_loader",), "all", rows, rows),
        Policy("dpe_transformer", "permissive", ("dpe_transformer",), "select", rows, None),
    ]


def present(connection: Connection, table: StagingTable) -> list[Policy]:
    """Return the policies that the table has."""
    rows = connection.execute(
        """
        select policyname, permissive, roles::text[], cmd, qual, with_check
        from pg_policies
        where schemaname = %s and tablename = %s
        order by policyname
        """,
        [table.schema, table.name],
    ).fetchall()
    return [Policy(name, permissive, tuple(roles), command, using, check) for name, permissive, roles, command, using, check in rows]


def protect(connection: Connection, table: StagingTable) -> None:
    """Put a table under forced row-level security with the policies of its declaration; a no-op if they are in place."""
    declaration = f"tenant_column {encoded_name(table.tenant_column)}" if table.tenant_column else "no tenant column"
    wanted = declared(connection, table)
    found = connection.execute(
        """
        select count(*)
        from pg_policy
        where polrelid = to_regclass(%s) and obj_description(oid, 'pg_policy') = %s
        """,
        [table.identifier.as_string(connection), declaration],
    ).fetchone()
    if found == (len(wanted),):
        return
    execute(connection, "alter table {table} enable row level security, force row level security", table=table.identifier)
    for policy in wanted:
        names = {"table": table.identifier, "policy": sql.Identifier(policy.name)}
        execute(connection, "drop policy if exists {policy} on {table}", **names)
        connection.execute(policy.statement(table.identifier))
        execute(connection, "comment on policy {policy} on {table} is {text}", text=sql.Literal(declaration), **names)
    execute(connection, "grant select on {table} to dpe_transformer, dpe_owner", table=table.identifier)


def all_or_nothing(policies: Sequence[Policy]) -> bool:
    """Return whether these policies make either all rows of a relation visible or none."""
    return all(policy.using is None or policy.using in _ALL_OR_NOTHING for policy in policies)


def visible_rows(
    connection: Connection, relation: sql.Identifier, policies: Sequence[Policy], expected: Mapping[int, int]
) -> dict[int, int]:
    """
    Count the rows per load that the session sees in a protected relation of its own, under policies that it gets only for the count.

    The relation has them only during the count, so each writer counts its own slice while the others write. Within the
    transaction that wrote them, reading rows dirties no page; later, the first reader of each row marks its page as
    committed, which is written and logged again (PostgreSQL documentation, "wal_log_hints").

    If the policies do not depend on a column, all rows are visible or none: checking one is enough, and the counts are the expected ones.
    """
    for policy in policies:
        connection.execute(policy.statement(relation))
    if all_or_nothing(policies):
        found = connection.execute(sql.SQL("select exists (select from {})").format(relation)).fetchone()
        visible = dict(expected) if found == (True,) else {}
    else:
        connection.execute("select set_config('enable_sort', 'off', true)")
        rows = connection.execute(sql.SQL("select _load_id, count(*) from {} group by _load_id").format(relation)).fetchall()
        visible = {int(str(load_id)): int(str(count)) for load_id, count in rows}
    for policy in policies:
        execute(connection, "drop policy {policy} on {relation}", policy=sql.Identifier(policy.name), relation=relation)
    return visible
