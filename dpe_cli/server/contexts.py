"""
The contexts in which dpe reads and writes protected rows, and the only ways in.

    system_context(connection, actor="etl_pipeline")    a pipeline, for every tenant or for one
    reading_context(connection, actor="etl_pipeline")   the same, but it changes nothing
    tenant_context(connection, "UA")                    an application or a check, as one tenant
    stranger_context(connection)                        a check, as a reader who was granted no tenant
    admin_context(connection, "j.doe")                  a person with an administrator's login, reading and repairing

Each opens a transaction and sets role, actor and tenant locally in it. They end with the transaction, also through a
transaction-mode pooler, and override any settings of the session. The database's policies decide what a role may see,
not this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import psycopg
from psycopg.pq import TransactionStatus

from dpe_cli.errors import ContextError
from dpe_cli.server.connection import Connection

PipelineRole = Literal["dpe_loader", "dpe_transformer"]

# set_config('role', …, true) is SET LOCAL ROLE.
OPEN = "select set_config('role', {role}, true), set_config('dpe.actor', %(actor)s, true), set_config('dpe.tenant_id', %(tenant)s, true)"

OPEN_SYSTEM = OPEN.format(role="coalesce(%(role)s, case session_user when 'dpe_loader' then 'dpe_loader' else 'dpe_transformer' end)")
OPEN_STRANGER = OPEN.format(role="'dpe_reader'")
OPEN_ADMIN = OPEN.format(role="'dpe_owner'")
# A login that can become dpe_tenant does, and sees what an application sees; a reader keeps its own role and its own entries in
# the access list.
# From PostgreSQL 16 on, a member may lack the right to become the role.
_BECOMES = "case when current_setting('server_version_num')::integer >= 160000 then 'set' else 'member' end"
OPEN_TENANT = OPEN.format(role=f"case when pg_has_role(session_user, 'dpe_tenant', {_BECOMES}) then 'dpe_tenant' else current_user end")

IS_READER = "select pg_has_role('dpe_reader', 'usage')"


@contextmanager
def system_context(connection: Connection, *, actor: str, tenant_id: str | None = None, role: PipelineRole | None = None) -> Iterator[None]:
    """
    Open a transaction in which a pipeline acts for every tenant, or for one only.

    Acts as `role`; by default as dpe_loader if the session logged in as it, else as dpe_transformer.

    Raises:
        ContextError: the connection is already in a transaction, the actor or tenant is empty, or the login may not do this.
    """
    # An empty tenant would mean every tenant.
    _require(connection, actor=actor, **({} if tenant_id is None else {"tenant_id": tenant_id}))
    with connection.transaction():
        _open(connection, OPEN_SYSTEM, actor=actor, tenant=tenant_id or "", role=role)
        yield


@contextmanager
def reading_context(connection: Connection, *, actor: str, tenant_id: str | None = None) -> Iterator[None]:
    """
    Open a system context in which nothing can be changed, not even a sequence, by any code that a query calls.

    Raises:
        ContextError: as system_context().
    """
    with system_context(connection, actor=actor, tenant_id=tenant_id):
        # Since the context's own query, no code can make the transaction write again.
        connection.execute("set transaction read only")
        yield


@contextmanager
def tenant_context(connection: Connection, tenant_id: str) -> Iterator[None]:
    """
    Open a transaction that sees one tenant's published rows, and no other's.

    A login that is a reader keeps its role and sees the tenant if the access list grants it. The transformer and
    administrators act as dpe_tenant, which may see any tenant, one at a time.

    Raises:
        ContextError: the connection is already in a transaction, the tenant is empty, or the login is not a reader.
    """
    _require(connection, tenant_id=tenant_id)
    with connection.transaction():
        _open(connection, OPEN_TENANT, actor="", tenant=tenant_id)
        is_reader = connection.execute(IS_READER).fetchone()
        if is_reader != (True,):
            raise ContextError(
                f"{connection.info.user}: is not a reader; run `grant dpe_reader to {connection.info.user}` as an administrator"
            )
        yield


@contextmanager
def stranger_context(connection: Connection) -> Iterator[None]:
    """
    Open a transaction that sees what a new reader sees: a role that may read, but was granted no tenant.

    Raises:
        ContextError: the connection is already in a transaction, or the login may not become dpe_reader.
    """
    _require(connection)
    with connection.transaction():
        _open(connection, OPEN_STRANGER, actor="", tenant="")
        yield


@contextmanager
def admin_context(connection: Connection, user: str) -> Iterator[None]:
    """
    Open a transaction in which a person, named `user`, acts as dpe_owner for every tenant.

    Raises:
        ContextError: the connection is already in a transaction, the user is empty, or the login is not an administrator.
    """
    _require(connection, user=user)
    with connection.transaction():
        _open(connection, OPEN_ADMIN, actor=user, tenant="")
        yield


def _require(connection: Connection, **names: str) -> None:
    if connection.info.transaction_status != TransactionStatus.IDLE:
        # Nested in another transaction, role and settings would outlive the block.
        raise ContextError(f"{connection.info.user}: the connection is already in a transaction; end it before opening a context")
    for name, value in names.items():
        if not value:
            raise ContextError(f"{name}: is empty; a context has to name who it acts for")


def _open(connection: Connection, statement: str, *, actor: str, tenant: str, role: str | None = None) -> None:
    user = connection.info.user
    try:
        connection.execute(statement.encode(), {"actor": actor, "tenant": tenant, "role": role})
    except psycopg.errors.InsufficientPrivilege as error:
        raise ContextError(f"{user}: may not open this context ({error.diag.message_primary}); connect as a login that may") from error
    except (psycopg.errors.UndefinedObject, psycopg.errors.InvalidParameterValue) as error:
        raise ContextError(f"{user}: no context can be opened ({error.diag.message_primary}); run `dpe bootstrap`") from error
