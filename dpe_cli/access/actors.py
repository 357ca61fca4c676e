"""Who acts in a measurement: each role and tenant that sees or writes something, and those that see everything."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dpe_cli.errors import ContextError
from dpe_cli.server.connection import Connection

ACTOR = "dpe rls matrix"
# A role that is created for the measurement, under a name that no other role has and no concurrent measurement waits for.
NOBODY = f"dpe_matrix_nobody_{secrets.token_hex(8)}"
AUDITOR = "dpe_auditor"
READER = "dpe_reader"
MASKED_READER = "dpe_masked_reader"
TENANT = "dpe_tenant"
LEDGER = "dpe"
ALL_ROLES = (NOBODY, READER, MASKED_READER, TENANT, AUDITOR, "dpe_loader", "dpe_transformer", "dpe_owner")
TRANSFORMERS_ROLES = (READER, TENANT, "dpe_transformer")
NO_TENANT = "nobody's tenant"
NO_CONTEXT, ONE_TENANT = ", no context", ", one tenant"
_SYSTEM = {"the loader": "dpe_loader", "the transformer": "dpe_transformer", "an administrator": "dpe_owner"}


@dataclass(frozen=True)
class Actor:
    """
    An actor of a role: in a context if `actor` is given, for one tenant if `tenant` is.

    It `is_masked` if it is a role of masked readers.
    """

    name: str
    role: str
    actor: str = ""
    tenant: str = ""
    is_masked: bool = False

    @property
    def is_system(self) -> bool:
        """Whether it is a role of the pipeline or of administrators."""
        return self.role in {"dpe_owner", "dpe_loader", "dpe_transformer"}


# The actors that see everything: of dbt's relations, and of the ledger.
EVERYTHING = (Actor("the transformer", "dpe_transformer", ACTOR), Actor("an administrator", "dpe_owner", ACTOR))


def everything_of(schema: str) -> Actor:
    """Return the actor that sees everything of a relation in this schema."""
    return EVERYTHING[schema == LEDGER]


def actors(tenants: Sequence[str], logins: Sequence[str], groups: Mapping[str, bool]) -> Iterator[Actor]:
    """
    Yield who acts on a relation with these tenants, most rows first: of the tenants, the first, the middle and the last.

    `groups` are the project's own roles of readers; the value says whether their members are masked readers.
    """
    chosen = [tenants[index] for index in sorted({0, len(tenants) // 2, len(tenants) - 1})] if tenants else [NO_TENANT]
    yield Actor("everybody", NOBODY)
    yield Actor("a stranger", READER)
    yield Actor("a masked stranger", MASKED_READER, is_masked=True)
    yield from (Actor(f"a stranger in {group}", group, is_masked=is_masked) for group, is_masked in groups.items())
    yield from (Actor("a tenant", TENANT, tenant=tenant) for tenant in chosen)
    yield from (Actor(login, login) for login in logins)
    yield Actor("an auditor", AUDITOR)
    for name, role in _SYSTEM.items():
        yield Actor(f"{name}{NO_CONTEXT}", role)
        yield Actor(f"{name}{ONE_TENANT}", role, ACTOR, chosen[-1])
        yield Actor(name, role, ACTOR)


# The roles of which a session may become none yet, but that it may grant. Since PostgreSQL 16 the creator of a role has ADMIN OPTION on
# it, and before that, CREATEROLE is enough.
_GRANTABLE = """
    select wanted.rolname::text
    from pg_roles as wanted
    inner join pg_roles as acting on acting.rolname = current_user
    where wanted.rolname = any(%(roles)s)
        and not pg_has_role(wanted.oid, case when %(has_set_option)s then 'set' else 'member' end)
        and (
            pg_has_role(wanted.oid, 'member with admin option')
            or not %(has_set_option)s and acting.rolcreaterole and not wanted.rolsuper
        )
    order by 1
"""
_SET_OPTION = 160_000


def let_act_as(connection: Connection, roles: Collection[str]) -> None:
    """Let an administrator that is not a superuser act as the roles that it may grant, until the transaction ends."""
    has_set_option = connection.info.server_version >= _SET_OPTION
    options = sql.SQL(" with inherit false, set true" if has_set_option else "")
    found = connection.execute(_GRANTABLE, {"roles": sorted(roles), "has_set_option": has_set_option}).fetchall()
    for (role,) in found:
        connection.execute(sql.SQL("grant {} to current_user{}").format(sql.Identifier(role), options))


# Roles with rights that the code of models must not run with, or that ignore policies; and the roles that may become one of these.
_PRIVILEGED = """
    select distinct on (wanted.name)
        wanted.name,
        case when acting.oid <> privileged.oid then format('may become %%s, which ', privileged.rolname) else '' end
        || case
            when privileged.rolsuper then 'is a superuser'
            when privileged.rolbypassrls then 'bypasses row-level security'
            when privileged.rolreplication then 'may replicate all rows'
            when privileged.rolcreaterole then 'may change other roles (CREATEROLE)'
            when privileged.oid is not null then 'reads, writes or runs files of the server'
        end
    from unnest(%(logins)s::text[]) with ordinality as wanted (name, position)
    left join pg_roles as acting on acting.rolname = wanted.name
    left join pg_roles as privileged
        on pg_has_role(acting.oid, privileged.oid, 'member')
        and (
            privileged.rolsuper
            or privileged.rolbypassrls
            or privileged.rolreplication
            or privileged.rolcreaterole
            or privileged.rolname in ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
        )
    where acting.oid is null or privileged.oid is not null
    order by wanted.name, privileged.oid <> acting.oid, not privileged.rolsuper, privileged.rolname
"""


def check_logins(connection: Connection, logins: Sequence[str]) -> None:
    """
    Check that logins can be measured.

    Raises:
        ContextError: one does not exist, has rights that no code of models may run with, or the session may not act as it.
    """
    for name, reason in connection.execute(_PRIVILEGED, {"logins": list(logins)}).fetchall():
        if reason is None:
            raise ContextError(f"{name}: the role does not exist; correct --login")
        raise ContextError(
            f"{name}: cannot be measured, because it {reason}, and the code of models would run with its rights; "
            "give --login a role that only reads"
        )
    for login in logins:
        with as_actor(connection, Actor(login, login)):
            pass


@contextmanager
def as_actor(connection: Connection, actor: Actor) -> Iterator[None]:
    """
    Act as one for the block, and roll back what it does.

    Raises:
        ContextError: the session may not.
    """
    with connection.transaction(force_rollback=True):
        try:
            connection.execute(
                "select set_config('role', %s, true), set_config('dpe.actor', %s, true), set_config('dpe.tenant_id', %s, true)",
                [actor.role, actor.actor, actor.tenant],
            )
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue) as error:
            role, user = (sql.Identifier(name).as_string(connection) for name in (actor.role, connection.info.user))
            raise ContextError(
                f"{connection.info.user}: may not act as {actor.role} ({error.diag.message_primary}); connect as a superuser, or run "
                f"`grant {role} to {user}` as the role that created {actor.role}"
            ) from error
        yield
