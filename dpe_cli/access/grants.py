"""The access list: which tenants a role may see, until when, and who changed that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import LiteralString, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from dpe_cli.access import earlier, tenants
from dpe_cli.access.actors import MASKED_READER, READER
from dpe_cli.access.earlier import EarlierSession
from dpe_cli.errors import DpeError, UnknownNameError
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.patience import BLOCKED, WITHOUT_ENDING, BlockedError, Waiting, limit_waiting, patiently
from dpe_cli.server.server import Server
from dpe_cli.words import Limited, did_you_mean

T = TypeVar("T")

EVERY_TENANT = "*"
_SHOWN_CHARACTERS = 60
# From this version on, the membership decides whether privileges are inherited; before it, the role does.
_INHERITS_BY_GRANT = 160_000


class AccessError(DpeError):
    """An entry of the access list cannot be made or revoked."""


@dataclass(frozen=True)
class Entry:
    """
    A tenant that a role may see; `tenant_id` is `*` if it may see every tenant, one at a time.

    If not `is_role`, the role was dropped; `role_name` is its former name, and `is_removed` says whether the entry was just removed.
    """

    role_name: str
    tenant_id: str
    valid_until: datetime | None
    is_valid: bool
    is_role: bool
    is_removed: bool = False


@dataclass(frozen=True)
class GrantResult:
    """
    What a grant did: the role's entries, whether it made the role a reader, and the entries that were removed.

    `shortened` are the tenants whose access ends earlier than it did before, and `earlier` the sessions in whose open transactions the list
    still has the later end. `is_compared` is false if tenants could not be compared with published ones, because no relation with tenants
    is published yet.
    """

    entries: list[Entry]
    became_reader: bool
    is_compared: bool
    removed: list[Entry]
    shortened: list[str]
    earlier: list[EarlierSession]


@dataclass(frozen=True)
class RevokeResult:
    """
    What a revocation did: the revoked tenants, the entries that the role keeps, and those of dropped roles that were removed.

    `earlier` are the sessions in whose open transactions the list still says what it said before.
    """

    tenants: list[str]
    kept: list[Entry]
    removed: list[Entry]
    earlier: list[EarlierSession]


@dataclass(frozen=True)
class Change:
    """
    A change of the access list. `changed_by` is the login, `actor` the person that the context named.

    `role_id` is the role's oid on that server, and tells apart roles that had the same name at different times.
    """

    changed_at: datetime
    changed_by: str
    actor: str
    change: str
    role_name: str
    role_id: int | None
    tenant_id: str
    valid_until: datetime | None


_ENTRIES = """
    select
        rolname::text as role_name,
        tenant_id,
        valid_until,
        valid_until is null or valid_until > statement_timestamp() as is_valid,
        true as is_role
    from dpe.tenant_access
    inner join pg_roles on pg_roles.oid = role_name
    where %(role)s::text is null or rolname = %(role)s
    order by rolname, tenant_id
"""
_DROPPED = """
    select
        dpe.recorded_name(role_name) as role_name,
        tenant_id,
        valid_until,
        false as is_valid,
        false as is_role
    from dpe.tenant_access
    where role_name not in (select oid from pg_roles)
    order by 1, tenant_id
"""
_REMOVE_DROPPED = """
    with removed as (
        delete from dpe.tenant_access
        where role_name not in (select oid from pg_roles)
        returning role_name, tenant_id, valid_until
    )

    select
        dpe.recorded_name(role_name) as role_name,
        tenant_id,
        valid_until,
        false as is_valid,
        false as is_role,
        true as is_removed
    from removed
    order by 1, tenant_id
"""
_CHANGES = """
    select
        changed_at,
        changed_by::text,
        actor,
        change,
        role_name::text,
        role_id::bigint,
        tenant_id,
        valid_until,
        count(*) over ()
    from dpe.access_changes
    where %(role)s::text is null or role_name = %(role)s or role_id = to_regrole(quote_ident(%(role)s))
    order by change_id desc
    limit %(limit)s
"""
_ROLE = """
    select
        dpe.access_obstacle(oid::regrole),
        pg_has_role(oid, %(wanted)s, 'usage'),
        pg_has_role(oid, %(other)s, 'usage')
    from pg_roles
    where rolname = %(role)s
"""


def grant(
    server: Server,
    role: str,
    wanted: Sequence[str],
    *,
    until: datetime | None,
    actor: str,
    masked: bool = False,
    future: bool = False,
    waiting: Waiting = WITHOUT_ENDING,
) -> GrantResult:
    """
    Let a role see tenants, and make it a reader or a masked reader, in one transaction.

    If the access to a tenant ends earlier than before, an ender also ends the sessions in whose transactions the list has the later end.
    Unless `future`, each tenant has to have a published row: otherwise it is most likely misspelt.

    Raises:
        AccessError: there is no such role, it sees more than the list says, it is a reader of the other kind, the login may not
            make it a reader, one of the tenants has no published row, or sessions did not release the list.
    """

    def attempt(connection: Connection) -> tuple[GrantResult, str]:
        removed = _remove_dropped(connection)
        is_reader = _check_role(connection, role, masked=masked)
        is_compared = future or _check_tenants(connection, [tenant for tenant in wanted if tenant != EVERY_TENANT])
        shortened = [entry.tenant_id for entry in _entries(connection, role) if entry.tenant_id in wanted and _ends_later(entry, until)]
        for tenant in wanted:
            _add(connection, role, tenant, until)
        entries, number = _entries(connection, role), _transaction(connection)
        if not is_reader:
            _make_reader(connection, role, masked=masked)
        return GrantResult(entries, not is_reader, is_compared, removed, shortened, []), number

    done, number = _patiently(server, actor, attempt, waiting)
    return replace(done, earlier=earlier.of(server, number, waiting)) if done.shortened else done


def revoke(server: Server, role: str, wanted: Sequence[str] | None, *, actor: str, waiting: Waiting = WITHOUT_ENDING) -> RevokeResult:
    """
    Revoke tenants from a role, or with None all. An ender also ends the sessions in whose transactions the list says what it said before.

    Raises:
        AccessError: it has no entry for one of the tenants, or sessions did not release the list; nothing is revoked.
    """

    def attempt(connection: Connection) -> tuple[list[str], list[Entry], list[Entry], str]:
        removed = _remove_dropped(connection)
        # The entries of a dropped role have just been revoked.
        had = [entry.tenant_id for entry in (*_entries(connection, role), *removed) if entry.role_name == role]
        named = list(dict.fromkeys(had if wanted is None else wanted))
        missing = [tenant for tenant in named if tenant not in had]
        if missing or not had:
            what = f"has no access to {', '.join(map(_shown, missing))}" if missing else "has no access to any tenant"
            raise AccessError(f"{role}: {what}; `dpe access list` shows all access")
        connection.execute(
            "delete from dpe.tenant_access where role_name = to_regrole(quote_ident(%s)) and tenant_id = any(%s)", [role, named]
        )
        return named, _entries(connection, role), removed, _transaction(connection)

    revoked, kept, removed, number = _patiently(server, actor, attempt, waiting)
    return RevokeResult(revoked, kept, removed, earlier.of(server, number, waiting))


def entries(server: Server, role: str | None, *, actor: str, waiting: Waiting = WITHOUT_ENDING) -> list[Entry]:
    """
    Return the access list's entries, of one role or all, and those of dropped roles.

    Removes the latter, unless a session prevents that at the moment.

    Raises:
        AccessError: sessions did not release the list.
    """

    def attempt(connection: Connection) -> tuple[list[Entry], list[Entry]]:
        return _entries(connection, role), _of(connection, _DROPPED)

    found, dropped = _patiently(server, actor, attempt, waiting)
    if dropped:
        with suppress(*BLOCKED), server.connect("admin") as connection, contexts.admin_context(connection, actor):
            limit_waiting(connection)
            dropped = _remove_dropped(connection)
    return [*found, *dropped]


def changes(server: Server, role: str | None, *, limit: int, actor: str, waiting: Waiting = WITHOUT_ENDING) -> Limited[Change]:
    """Return the changes of the access list, newest first; for one role, including those under its earlier names."""

    def attempt(connection: Connection) -> Limited[Change]:
        rows = connection.execute(_CHANGES, {"role": role, "limit": limit}).fetchall()
        return Limited((Change(*row[:-1]) for row in rows), total=int(str(rows[0][-1])) if rows else 0)

    return _patiently(server, actor, attempt, waiting)


def refuse_unknown(server: Server, role: str) -> None:
    """
    Refuse the name of a role that does not exist.

    Raises:
        UnknownNameError: it does not.
    """
    with server.connect("admin") as connection:
        roles = [str(name) for (name,) in connection.execute("select rolname from pg_roles where rolname !~ '^pg_'")]
    if role not in roles:
        raise UnknownNameError(f"{role}: the role does not exist; {did_you_mean(role, roles, '`dpe access list` shows those with access')}")


def _patiently(server: Server, actor: str, attempt: Callable[[Connection], T], waiting: Waiting) -> T:
    """Run a transaction in an administrator's context; try again while sessions hold what it needs."""
    with server.connect("admin") as connection:

        def limited() -> T:
            with contexts.admin_context(connection, actor):
                limit_waiting(connection)
                return attempt(connection)

        try:
            return patiently(connection, limited, waiting, purpose="use the access list")
        except BlockedError as error:
            option = "" if waiting.ender else " (or let --end-sessions do so)"
            raise AccessError(f"dpe.tenant_access: {error}; nothing was changed. {error.remedies}{option}, then run again") from error


def _entries(connection: Connection, role: str | None) -> list[Entry]:
    return _of(connection, _ENTRIES, {"role": role})


def _ends_later(entry: Entry, until: datetime | None) -> bool:
    """Return whether an entry ends after a time; None is never."""
    return until is not None and (entry.valid_until is None or entry.valid_until > until)


def _transaction(connection: Connection) -> str:
    """Return the number of the session's transaction."""
    [(number,)] = connection.execute("select pg_current_xact_id()::xid::text").fetchall()
    return str(number)


def _remove_dropped(connection: Connection) -> list[Entry]:
    return _of(connection, _REMOVE_DROPPED)


def _of(connection: Connection, query: LiteralString, parameters: Mapping[str, object] | None = None) -> list[Entry]:
    with connection.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(query, parameters).fetchall()


def _check_role(connection: Connection, role: str, *, masked: bool) -> bool:
    """Refuse a role that the list cannot restrict; return whether it already is a reader of the wanted kind."""
    group, other = (MASKED_READER, READER) if masked else (READER, MASKED_READER)
    row = connection.execute(_ROLE, {"role": role, "wanted": group, "other": other}).fetchone()
    if row is None:
        raise AccessError(f"{role}: the role does not exist; create it first, for example with `create role {role} login`")
    obstacle, is_reader, is_other = row
    if obstacle is not None:
        raise AccessError(f"{role}: {obstacle}; grant the access to another role, which only reads")
    if is_other:
        what = "is a reader, and sees masked columns" if masked else "is a masked reader, and would see masked columns"
        raise AccessError(f"{role}: {what}; run `revoke {other} from {role}` first, or grant the access to another role")
    return bool(is_reader)


def _check_tenants(connection: Connection, wanted: Sequence[str]) -> bool:
    """Refuse tenants without a published row; return whether there was anything to compare them with."""
    relations = tenants.published(connection)
    unknown = tenants.unknown(connection, relations, wanted) if relations else []
    if unknown:
        similar = tenants.similar(connection, relations, unknown)
        hint = f" (similar: {', '.join(map(_shown, similar))})" if similar else ""
        named, whose = ", ".join(map(_shown, unknown)), "this tenant" if len(unknown) == 1 else "these tenants"
        raise AccessError(f"{named}: no published relation has a row of {whose}{hint}; correct the name, or grant it with --future")
    return bool(relations) or not wanted


def _add(connection: Connection, role: str, tenant: str, until: datetime | None) -> None:
    try:
        connection.execute(
            """
            insert into dpe.tenant_access (role_name, tenant_id, valid_until)
            values (to_regrole(quote_ident(%s)), %s, %s)
            on conflict (role_name, tenant_id) do update
            set valid_until = excluded.valid_until
            where tenant_access.valid_until is distinct from excluded.valid_until
            """,
            [role, tenant, until],
        )
    except psycopg.errors.ProgramLimitExceeded as error:
        what = f"is longer than PostgreSQL can index ({len(tenant.encode()):,} bytes, about 2,700 at most)"
        raise AccessError(f"{_shown(tenant)}: {what}; give the tenant a shorter name in the rows") from error


def _make_reader(connection: Connection, role: str, *, masked: bool) -> None:
    """
    Let a role read published relations; policies still decide which rows. Call this last in a context: it switches to the login's role.

    Policies apply to a role only if it inherits the privileges of the role that they name.
    """
    group = MASKED_READER if masked else READER
    connection.execute("set local role none")
    inherits = sql.SQL(" with inherit true" if connection.info.server_version >= _INHERITS_BY_GRANT else "")
    try:
        connection.execute(sql.SQL("grant {} to {}{}").format(sql.Identifier(group), sql.Identifier(role), inherits))
    except psycopg.errors.InsufficientPrivilege as error:
        user = connection.info.user
        raise AccessError(
            f"{role}: is not a reader, and {user} is not allowed to make it one; run `grant {group} to {role}` as a superuser"
        ) from error
    if connection.execute("select pg_has_role(%s, %s, 'usage')", [role, group]).fetchone() != (True,):
        raise AccessError(
            f"{role}: was created with NOINHERIT, so that no policy for readers applies to it; run `alter role {role} inherit`"
        )


def _shown(tenant: str) -> str:
    return tenant if len(tenant) <= _SHOWN_CHARACTERS else f"{tenant[:_SHOWN_CHARACTERS]}…"
