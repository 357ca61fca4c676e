"""The access list: which tenants a login may see, until when, and who changed that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from dpe_cli import rls
from dpe_cli.errors import DpeError
from dpe_cli.postgres import Server

EVERY_TENANT = "*"
READER = "dpe_reader"
MASKED_READER = "dpe_masked_reader"


class AccessError(DpeError):
    """An entry of the access list cannot be made or taken back."""


@dataclass(frozen=True)
class Entry:
    """A tenant that a role may see; `tenant_id` is `*` where it may see every tenant, one at a time."""

    role_name: str
    tenant_id: str
    valid_until: datetime | None
    is_valid: bool
    is_role: bool


@dataclass(frozen=True)
class Change:
    """A change of the access list. `changed_by` is the login, `actor` who the context said it was."""

    changed_at: datetime
    changed_by: str
    actor: str
    change: str
    role_name: str
    tenant_id: str
    valid_until: datetime | None


_ENTRIES = """
    select
        role_name::text,
        tenant_id,
        valid_until,
        valid_until is null or valid_until > statement_timestamp() as is_valid,
        exists (select from pg_roles where rolname = role_name) as is_role
    from dpe.tenant_access
    where %(role)s::text is null or role_name = %(role)s
    order by role_name, tenant_id
"""
_CHANGES = """
    select
        changed_at,
        changed_by::text,
        actor,
        change,
        role_name::text,
        tenant_id,
        valid_until
    from dpe.access_changes
    where %(role)s::text is null or role_name = %(role)s
    order by change_id desc
    limit %(limit)s
"""


def grant(
    server: Server, role: str, tenants: Sequence[str], *, until: datetime | None, actor: str, masked: bool = False
) -> tuple[list[Entry], bool]:
    """
    Let a role see tenants, and make it a reader, or a masked one; return its entries, and whether it was none before.

    Raises:
        AccessError: there is no such role, it sees more than the list says, it is a reader of the other kind, or the login may
            not grant it to read.
    """
    with server.connect("admin") as connection:
        becomes_reader = _make_reader(connection, role, masked=masked)
        with rls.admin_context(connection, actor):
            with connection.cursor() as cursor:
                cursor.executemany(
                    """
                    insert into dpe.tenant_access (role_name, tenant_id, valid_until)
                    values (%s, %s, %s)
                    on conflict (role_name, tenant_id) do update
                    set valid_until = excluded.valid_until
                    where tenant_access.valid_until is distinct from excluded.valid_until
                    """,
                    [(role, tenant, until) for tenant in tenants],
                )
            return _entries(connection, role), becomes_reader


def revoke(server: Server, role: str, tenants: Sequence[str] | None, *, actor: str) -> tuple[list[str], list[Entry]]:
    """
    Take tenants back from a role, or with None all; return those that it had, and the entries that it keeps.

    Raises:
        AccessError: it has no entry for one of the tenants; nothing is taken back.
    """
    with server.connect("admin") as connection, rls.admin_context(connection, actor):
        had = [one.tenant_id for one in _entries(connection, role)]
        wanted = had if tenants is None else list(dict.fromkeys(tenants))
        missing = [tenant for tenant in wanted if tenant not in had]
        if missing or not had:
            what = f"may not see {', '.join(missing)} as it is" if missing else "may see no tenant as it is"
            raise AccessError(f"{role}: {what}; `dpe access list` shows who may see what")
        connection.execute("delete from dpe.tenant_access where role_name = %s and tenant_id = any(%s)", [role, wanted])
        return wanted, _entries(connection, role)


def entries(server: Server, role: str | None, *, actor: str) -> list[Entry]:
    """Return the entries of the access list, of one role or all."""
    with server.connect("admin") as connection, rls.admin_context(connection, actor):
        return _entries(connection, role)


def changes(server: Server, role: str | None, *, limit: int, actor: str) -> list[Change]:
    """Return the changes of the access list, newest first."""
    with server.connect("admin") as connection, rls.admin_context(connection, actor):
        cursor = connection.cursor(row_factory=class_row(Change))
        return cursor.execute(_CHANGES, {"role": role, "limit": limit}).fetchall()


def _entries(connection: psycopg.Connection, role: str | None) -> list[Entry]:
    with connection.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(_ENTRIES, {"role": role}).fetchall()


def _make_reader(connection: psycopg.Connection, role: str, *, masked: bool) -> bool:
    """Let a role read what is published; policies still decide which rows. Returns whether it could not before."""
    wanted, other = (MASKED_READER, READER) if masked else (READER, MASKED_READER)
    with connection.transaction():
        row = connection.execute(
            """
            select
                pg_has_role(roles.oid, %(wanted)s, 'usage'),
                pg_has_role(roles.oid, %(other)s, 'usage'),
                (
                    select min(privileged.rolname)
                    from pg_roles as privileged
                    where (privileged.rolsuper or privileged.rolbypassrls) and pg_has_role(roles.oid, privileged.oid, 'member')
                )
            from pg_roles as roles
            where roles.rolname = %(role)s
            """,
            {"wanted": wanted, "other": other, "role": role},
        ).fetchone()
        if row is None:
            raise AccessError(f"{role}: there is no such role; create it first, as by `create role {role} login`")
        is_reader, is_other, bypass = row
        if bypass is not None:
            raise AccessError(
                f"{role}: sees every row whatever the list says, for it is or may become {bypass}, which no policy binds; "
                "give the access to a role that is neither superuser nor BYPASSRLS"
            )
        if is_other:
            what = "reads everything, also what is masked" if masked else "is a masked reader, and would see what is masked"
            raise AccessError(f"{role}: {what}; run `revoke {other} from {role}` first, or give the access to another role")
        if is_reader:
            return False
        try:
            connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(wanted), sql.Identifier(role)))
        except psycopg.errors.InsufficientPrivilege as error:
            raise AccessError(f"{role}: is no reader, and {connection.info.user} may not make it one; grant it {wanted}") from error
        return True
