"""
What a server has to have before dpe can work in it: roles, schemas, functions and the ledger.

The statements are in `sql/`. They are idempotent, and an administrator who is not a superuser (CREATEROLE, owner of the
database) can run them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import psycopg
from psycopg import sql

from dpe_cli import __version__
from dpe_cli.errors import ServerError
from dpe_cli.server import leftovers, sessions, versions
from dpe_cli.server.connection import Connection
from dpe_cli.server.patience import BlockedError, Waiting, limit_waiting, patiently
from dpe_cli.server.server import PASSWORDS, Server
from dpe_cli.server.sessions import Holder

FILES = (
    "roles.sql",
    "turns.sql",
    "schemas.sql",
    "former_functions.sql",
    "functions.sql",
    "locks.sql",
    "projects.sql",
    "ledger.sql",
    "access.sql",
    "code.sql",
    "foreign_code.sql",
    "protection.sql",
    "closing.sql",
    "publications.sql",
    "copies.sql",
    "columns.sql",
    "readers.sql",
    "notifications.sql",
    "quality.sql",
    "functions_of_transformer.sql",
    "refusals.sql",
    "row_types.sql",
)
# What the first bootstrap after a dump was restored runs as well.
RESTORED = "restored.sql"
OLDEST = 15
# A bootstrap changes tables that readers' queries use. It lets the others read before it tries again.
PATIENCE_SECONDS = 10.0
# Another bootstrap is running, on this database or on another one of the server, which shares the roles.
_CONCURRENT = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.UniqueViolation,
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateSchema,
    psycopg.errors.DuplicateTable,
)
# An object of another role depends on what a statement drops or changes.
_STOPPED = (psycopg.errors.DependentObjectsStillExist, psycopg.errors.FeatureNotSupported)

WHO_MAY = (
    "be a superuser (DPE_ADMIN_USER names the administrator), or own the database, with CREATEROLE "
    "and, if another role created dpe's roles, membership in dpe_owner, dpe_loader, dpe_transformer and dpe_tenant"
)

CLOSE_PUBLIC = "revoke create on schema public from public"
IS_PUBLIC_OPEN = """
select exists (
    select
    from pg_namespace
    cross join lateral aclexplode(nspacl) as granted
    where nspname = 'public' and privilege_type = 'CREATE' and grantee = 0
)
"""

# The event trigger that keeps logins from blocking others (refusals.sql) is missing there, and all databases share some catalogs.
_OPEN_DATABASES = """
select datname
from pg_database
where
    datallowconn
    and datname <> current_database()
    and exists (
        select
        from aclexplode(coalesce(datacl, acldefault('d', datdba))) as granted
        where granted.grantee = 0 and granted.privilege_type = 'CONNECT'
    )
order by datname
"""

_SIGNATURE = re.compile(r"create or replace function (?P<name>dpe\.\w+)\((?P<arguments>.*?)\)\s+returns ", re.DOTALL)
_FUNCTION = re.compile(r"create or replace function dpe\.(?P<name>\w+)\(.*?\nas \$\$(?P<body>.*?)\$\$;", re.DOTALL)

INVENTORY = """
select 'role ' || rolname
from pg_roles
where rolname in ('dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_reader', 'dpe_masked_reader', 'dpe_auditor', 'dpe_tenant')
union all
select 'schema ' || nspname from pg_namespace where nspname in ('dpe', 'dpe_locks')
union all
select 'table dpe.' || relname from pg_class where relnamespace = to_regnamespace('dpe') and relkind = 'r'
union all
select 'sequence dpe.' || relname from pg_class where relnamespace = to_regnamespace('dpe') and relkind = 'S'
union all
select 'function dpe.' || proname || '()' from pg_proc where pronamespace = to_regnamespace('dpe') and proname !~ '^former_[0-9]+$'
union all
select 'policy ' || polname || ' on dpe.' || relname
from pg_policy inner join pg_class on pg_class.oid = polrelid
where relnamespace = to_regnamespace('dpe')
"""


@dataclass(frozen=True)
class BootstrapReport:
    """
    What a bootstrap created, and what already existed; each as `kind name`.

    `open_databases` are others of the server to which every login may connect. `kept` are objects of earlier versions that are not
    needed anymore, but that other roles' objects use. `is_restored` is true if this is the first bootstrap since a dump was restored.
    """

    created: list[str]
    present: list[str]
    passwords: list[str]
    open_databases: list[str]
    kept: list[str]
    is_restored: bool


def bootstrap(connection: Connection, *, passwords: Mapping[str, str] | None = None, closes_public: bool = False) -> BootstrapReport:
    """
    Create missing roles, schemas, functions and the ledger, and set the passwords of logins, in one transaction.

    Passwords are hashed here, so that neither the server nor its log or statistics see them. If every role may create in the schema
    `public`, `closes_public` revokes that privilege; otherwise the bootstrap fails, because other applications may rely on it.

    Raises:
        ServerError: the server is too old, a newer version bootstrapped the database, every role may create in `public`, the login lacks
            a privilege, a session holds the ledger, an object of another role depends on what this version changes, or an earlier version
            wrote the ledger, and the connection does not say for which project.
    """
    if connection.info.server_version < OLDEST * 10_000:
        raise ServerError(f"{connection.info.host}: is PostgreSQL {connection.info.server_version // 10_000}; dpe needs {OLDEST} or later")

    _refuse_newer(connection)

    try:
        return patiently(
            connection,
            lambda: _bootstrap(connection, passwords or {}, closes_public=closes_public),
            Waiting(PATIENCE_SECONDS),
            purpose="bootstrap",
            blocked=_CONCURRENT,
            also=lambda: _holders(connection),
        )
    except psycopg.errors.InsufficientPrivilege as error:
        who = f"{connection.info.user}: may not bootstrap {connection.info.dbname} ({error.diag.message_primary})"
        raise ServerError(f"{who}; {error.diag.message_hint or WHO_MAY}") from error
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        raise ServerError(f"{error.diag.message_primary}; {error.diag.message_hint}") from error
    except _STOPPED as error:
        users = leftovers.users(connection, error.diag.message_detail or "")
        if not users:
            raise
        raise ServerError(
            f"database {connection.info.dbname}: {error.diag.message_primary}; nothing is changed. Other roles' objects use dpe's: "
            f"{'; '.join(users)}. Drop those that this names, or ask their owners to, then run `dpe bootstrap`"
        ) from error
    except BlockedError as error:
        raise ServerError(
            f"database {connection.info.dbname}: {error.named}; nothing is changed. {error.remedies}, then run `dpe bootstrap`"
        ) from error


def _bootstrap(connection: Connection, passwords: Mapping[str, str], *, closes_public: bool) -> BootstrapReport:
    """Run the statements in one transaction."""
    with connection.transaction():
        # The access list is protected from its owner too, so it is filled in a context. The outer session's must not narrow it.
        connection.execute("select set_config('dpe.actor', 'bootstrap', true), set_config('dpe.tenant_id', '', true)")
        connection.execute("select set_config('dpe.signatures', %s, true)", [";".join(_signatures())])
        limit_waiting(connection)
        before = _inventory(connection)
        is_restored = versions.is_restored(connection)
        # Concurrent bootstraps of a new database wait for each other here, later ones at the row that turns.sql locks.
        connection.execute("create schema if not exists dpe")
        _close_public(connection, revoke=closes_public)
        for name in (*FILES, RESTORED) if is_restored else FILES:
            connection.execute(_text(name).encode())
        connection.execute(sql.SQL("comment on schema dpe is {}").format(sql.Literal(_seal(connection))))
        for login, password in passwords.items():
            _set_password(connection, login, password)
        after = _inventory(connection)
        open_databases = [name for (name,) in connection.execute(_OPEN_DATABASES)]
        kept = leftovers.kept(connection)
    return BootstrapReport(
        created=[thing for thing in after if thing not in before],
        present=[thing for thing in after if thing in before],
        passwords=sorted(passwords),
        open_databases=open_databases,
        kept=kept,
        is_restored=is_restored,
    )


def _holders(connection: Connection) -> list[Holder]:
    """Return the sessions that hold tables of the ledger, whose policies are all recreated, or their sequences."""
    with connection.transaction():
        rows = connection.execute(
            "select oid::bigint from pg_class where relkind in ('r', 'S') and relnamespace::regnamespace::text in ('dpe', 'dpe_locks')"
        ).fetchall()
        return sessions.holders(connection, [oid for (oid,) in rows])


def is_bootstrapped(connection: Connection) -> bool:
    """Return whether this version of dpe has bootstrapped the database. Any role can call this."""
    return versions.seal_of(connection) == _seal(connection)


def _refuse_newer(connection: Connection) -> None:
    """
    Refuse a ledger that a newer version has bootstrapped: this one would replace its functions, and not know its tables.

    Raises:
        ServerError: a newer version has bootstrapped the database.
    """
    if versions.is_newer(version := versions.of_ledger(connection)):
        raise ServerError(
            f"database {connection.info.dbname}: was bootstrapped by dpe {version}, and this is dpe {__version__}; "
            f"install dpe {version} or later, with its macros"
        )


def bootstrap_server(server: Server) -> BootstrapReport:
    """Bootstrap a server as its administrator, with the passwords that the environment gives."""
    passwords = {login: os.environ[name] for login, name in PASSWORDS.items() if os.environ.get(name)}
    with server.connect("admin") as connection:
        return bootstrap(connection, passwords=passwords, closes_public=server.is_embedded)


def ensure_bootstrapped(server: Server) -> None:
    """
    Bootstrap the embedded server if necessary; check that any other server is bootstrapped.

    Raises:
        ServerError: a server that is not embedded is not bootstrapped; an administrator has to run `dpe bootstrap`.
    """
    with server.connect("admin" if server.is_embedded else "loader", autocommit=True) as connection:
        if is_bootstrapped(connection):
            return
        _refuse_newer(connection)
        is_restored = versions.is_restored(connection)
    if server.is_embedded:
        bootstrap_server(server)
        return
    raise _not_bootstrapped(server, is_restored=is_restored)


def _not_bootstrapped(server: Server, *, is_restored: bool) -> ServerError:
    if is_restored:
        return ServerError(
            f"{server}: database {server.database} was restored from a dump; run `dpe bootstrap`, which prepares it for runs"
        )
    return ServerError(f"{server}: database {server.database} is not bootstrapped for this version of dpe; run `dpe bootstrap`")


def has_ledger(server: Server) -> bool:
    """
    Return whether a server is bootstrapped, like ensure_bootstrapped(), but change nothing; the embedded one may have no ledger yet.

    Raises:
        ServerError: it is not embedded and not bootstrapped, or its ledger is that of another version of dpe, or from a dump.
    """
    if not server.is_embedded:
        ensure_bootstrapped(server)
        return True
    with server.connect("admin", autocommit=True) as connection:
        if is_bootstrapped(connection):
            return True
        if not versions.seal_of(connection) and not versions.tables(connection):
            return False
        _refuse_newer(connection)
        raise _not_bootstrapped(server, is_restored=versions.is_restored(connection))


@cache
def function_bodies() -> dict[str, str]:
    """Return the bodies of the functions that a bootstrap creates, as the catalog stores them, by name."""
    return {found["name"]: found["body"] for name in FILES for found in _FUNCTION.finditer(_text(name))}


@cache
def _signatures() -> list[str]:
    """Return the functions that a bootstrap creates, each with the types of its arguments."""
    return [f"{found['name']}({_types(found['arguments'])})" for name in FILES for found in _SIGNATURE.finditer(_text(name))]


def _types(arguments: str) -> str:
    """Return the types of a function's arguments, each of which is written as a name, a type and, possibly, a default."""
    return ", ".join(argument.split(" default ")[0].strip().partition(" ")[2] for argument in arguments.split(",") if argument.strip())


def _inventory(connection: Connection) -> list[str]:
    return [thing for (thing,) in connection.execute(INVENTORY)]


def _close_public(connection: Connection, *, revoke: bool) -> None:
    """Stop every role from creating functions in `public`, which PostgreSQL before 15 allows (CVE-2018-1058)."""
    [(is_open,)] = connection.execute(IS_PUBLIC_OPEN).fetchall()
    if is_open and not revoke:
        raise ServerError(
            f"database {connection.info.dbname}: every role may create functions in the schema public, where the pipeline would look "
            f"them up (CVE-2018-1058); run `{CLOSE_PUBLIC}`, then `dpe bootstrap`"
        )
    if is_open:
        connection.execute(CLOSE_PUBLIC.encode())


def _set_password(connection: Connection, login: str, password: str) -> None:
    hashed = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(login), sql.Literal(hashed)))


@cache
def _text(name: str) -> str:
    return resources.files("dpe_cli.server").joinpath("sql", name).read_text(encoding="utf-8")


def _seal(connection: Connection) -> str:
    """Return the schema's comment after exactly these statements have run in this database."""
    return versions.seal(_digest(), versions.tables(connection))


@cache
def _digest() -> str:
    return hashlib.blake2b("".join(_text(name) for name in FILES).encode(), digest_size=8).hexdigest()
