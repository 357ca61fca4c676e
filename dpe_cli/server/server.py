"""Which PostgreSQL dpe works in, and how each role reaches it."""

from __future__ import annotations

import getpass
import logging
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import psycopg
from psycopg import sql

from dpe_cli.errors import ServerError, UsageError
from dpe_cli.server import temporary
from dpe_cli.server.connection import Connection
from dpe_cli.server.embedded.server import ADMINISTRATOR, DATABASE, PORT, EmbeddedServer
from dpe_cli.state import state_directory, state_path

Role = Literal["admin", "loader", "transformer"]

LOGINS = {"loader": "dpe_loader", "transformer": "dpe_transformer"}
PASSWORDS = {"dpe_loader": "DPE_LOADER_PASSWORD", "dpe_transformer": "DPE_TRANSFORMER_PASSWORD"}
# The actor of dbt's sessions: its statements cannot open a context themselves.
DBT_ACTOR = "dbt"
# How servers and libpq say that a password is missing or wrong.
REFUSALS = ("authentication failed", "no password supplied", "pg_hba.conf", "requires a password")
CONNECT_SECONDS = 10
# How sessions read and write statements, whatever is set for their role, which may change its own settings. With others, the checks and
# dbt's macros would fail or misread what the server answers.
_LITERAL_OPTIONS = "-c standard_conforming_strings=on -c quote_all_identifiers=off -c client_encoding=UTF8"
# One of PGOPTIONS.
_OPTION = r"(?:^|\s+)-c\s*{}=(?:\\.|\S)*"
_SEARCH_PATH_OPTION = re.compile(_OPTION.format("search_path"))
# Only the transformer may set it.
_DEADLOCK_OPTION = re.compile(_OPTION.format("deadlock_timeout"))
_IDENTITY_OPTION = re.compile(_OPTION.format(r"dpe\.(?:project|target)"))
_TO_ESCAPE, _ESCAPED = re.compile(r"([\\\s])"), r"\\\1"
# It warns of a COPY that a failure cut short, which the failure itself reports.
logging.getLogger("psycopg").setLevel(logging.ERROR)
STARTING_SECONDS = 60
# How many sessions with a number of no use are kept open until one is found that is of use.
_MOST_UNUSABLE = 20
# How long a publication waits for sessions that hold its relations, and dbt for any lock.
PATIENCE_SECONDS = 600.0
# If other roles can create functions in a schema of the search_path, theirs may be called instead of PostgreSQL's own (CVE-2018-1058);
# "$user" is such a schema for a role that may create one of that name. Unless pg_temp is named, it is searched first for relations
# and types.
SEARCH_PATH = "pg_catalog, pg_temp"
NARROW_SEARCH_PATH = f"select pg_catalog.set_config('search_path', '{SEARCH_PATH}', false)"
# Null if a pooler is in between, which gives clients process numbers of its own. It may have other clients use the session, so that
# nothing may be set in it.
_NARROW_OWN_SESSION = (
    f"select case when pg_catalog.pg_backend_pid() = %s then pg_catalog.set_config('search_path', '{SEARCH_PATH}', false) end"
)
# How PgBouncer refuses PGOPTIONS, which neither dpe nor dbt can do without.
_UNSUPPORTED_BY_POOLER = "unsupported startup parameter"
_POOLER = (
    "is a connection pooler, which may share a session among clients{}; set PGHOST and PGPORT to PostgreSQL itself, where dpe and dbt have "
    "sessions of their own (applications of readers may use the pooler)"
)
# The search_path of dbt's own sessions: the login's default, as far as that is safe.
_SEARCH_PATH_OF_DBT = "select dpe.safe_search_path(pg_catalog.current_schemas(false))"
# How long dbt waits for a lock before it looks for a deadlock. A reader looks after a second by default, and becomes the victim. Shorter
# than PATIENCE_SECONDS, because two threads of dbt may block each other as well.
DEADLOCK_SECONDS = 60
# Of the settings that dbt's sessions get, those that are not set for the login, for the database or in PGOPTIONS, and may be set.
_UNSET = """
select name
from pg_catalog.pg_settings
where source in ('default', 'configuration file')
    and (
        name = 'lock_timeout' and setting = '0'
        or name = 'deadlock_timeout' and pg_catalog.has_parameter_privilege(name, 'set')
    )
order by name
"""
_NOT_BOOTSTRAPPED = (psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName, psycopg.errors.InsufficientPrivilege)


@dataclass(frozen=True)
class ServerStatus:
    """What a running server reports about itself; `session_count` excludes the session that asked."""

    version: str
    database_bytes: int
    session_count: int


def server_message(error: psycopg.Error) -> str:
    """Return the server's message, without its details, which may hold values; without a message, the kind of error."""
    return error.diag.message_primary or type(error).__name__


@dataclass(frozen=True)
class Server:
    """
    A PostgreSQL server and database that dpe works in, and how each role reaches it.

    `project` and `target` are the names of the dbt project, and of its target, that its sessions work for: the ledger shows them only
    what belongs to these. None outside of a project.
    """

    host: str
    port: int
    database: str
    admin_user: str
    is_embedded: bool
    log: Path | None = None
    project: str | None = None
    target: str | None = None

    def connect(self, role: Role | str, *, autocommit: bool = False, application_name: str = "dpe") -> Connection:
        """
        Connect as the administrator, the loader, the transformer or any other login, outside of any context.

        The session's search_path is PostgreSQL's own schema only. Waits for an embedded server that is still recovering. Passwords come
        from the environment or ~/.pgpass. The session can make temporary objects, unless too many earlier sessions left some that cannot
        be dropped.

        Raises:
            ServerError: the server is not reachable, rejects the login, or is a connection pooler.
        """
        unusable: list[Connection] = []
        try:
            # While a session stays open, the next one gets another number.
            while (
                not temporary.is_usable(connection := self.open(role, application_name=application_name)) and len(unusable) < _MOST_UNUSABLE
            ):
                unusable.append(connection)
        except ServerError:
            if not unusable:
                raise
            connection = unusable.pop()
        finally:
            for one in unusable:
                one.close()
        connection.autocommit = autocommit
        return connection

    def open(self, role: Role | str, *, application_name: str = "dpe") -> Connection:
        """Open a session in autocommit mode, with any number; otherwise like `connect`."""
        user = self.admin_user if role == "admin" else LOGINS.get(role, role)
        parameters: dict[str, str | int] = {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": user,
            "application_name": application_name,
            "connect_timeout": os.environ.get("PGCONNECT_TIMEOUT") or CONNECT_SECONDS,
        }
        if password := os.environ.get(PASSWORDS.get(user, ""), ""):
            parameters["password"] = password
        options = os.environ.get("PGOPTIONS", "")
        if "dpe." in options:
            # The shell was set up for dbt (`dpe env`), whose context is not ours. The later of two settings wins.
            options = f"{_DEADLOCK_OPTION.sub('', options)} -c dpe.actor= -c dpe.tenant_id="
        parameters["options"] = _literal(f"{options} {self._identity}")
        deadline = time.monotonic() + STARTING_SECONDS
        pause = 0.05
        while True:
            try:
                # A prepared statement has a name, by which code that a query calls could replace it.
                connection = psycopg.connect(autocommit=True, prepare_threshold=None, **parameters)  # type: ignore[arg-type]
            except psycopg.OperationalError as error:
                if _UNSUPPORTED_BY_POOLER in str(error):
                    raise ServerError(f"{self}: {_POOLER.format(' (it refuses PGOPTIONS)')}") from error
                if not (self.is_embedded and _is_starting(str(error)) and time.monotonic() < deadline):
                    explanation = self._explain(user, str(error))
                    raise ServerError(explanation, retryable=" is not reachable " in explanation) from error
            else:
                found = connection.execute(_NARROW_OWN_SESSION.encode(), [connection.info.backend_pid]).fetchone()
                if found is None or found[0] is None:
                    connection.close()
                    raise ServerError(f"{self}: {_POOLER.format('')}")
                return connection
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def url(self) -> str:
        """Return the administrator's connection URL, without a password."""
        user, database = quote(self.admin_user, safe=""), quote(self.database, safe="")
        if self.host.startswith("/"):
            return f"postgresql://{user}@/{database}?host={quote(self.host, safe='')}&port={self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{user}@{host}:{self.port}/{database}"

    def environment(self) -> dict[str, str]:
        """
        Return the variables with which plain dbt reaches this database as the transformer, in a context of its own.

        The search_path of its sessions omits schemas in which others may create. They wait at most ten minutes for a lock and look for
        deadlocks after a minute, unless lock_timeout or deadlock_timeout was set for them. Asks the server for these settings. Settings of
        the role have no effect on how statements are read.

        Raises:
            ServerError: the server is not reachable, or rejects the transformer's login.
        """
        options = os.environ.get("PGOPTIONS", "")
        if "dpe.actor=" not in options:
            options = f"{options} -c dpe.actor={DBT_ACTOR}".strip()
        options = _IDENTITY_OPTION.sub("", options).strip()
        with self.connect("transformer", autocommit=True) as connection:
            path = _search_path_of_dbt(connection)
            unset = [name for (name,) in connection.execute(_UNSET)]
        # The path accounts for the shell's.
        options = _SEARCH_PATH_OPTION.sub("", options).strip()
        options = f"{options} {self._identity} -c search_path={_escaped(path)}"
        seconds = {"deadlock_timeout": DEADLOCK_SECONDS, "lock_timeout": PATIENCE_SECONDS}
        options += "".join(f" -c {name}={seconds[name]:.0f}s" for name in unset if f"{name}=" not in options)
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.database,
            "PGUSER": LOGINS["transformer"],
            "PGOPTIONS": _literal(options),
            "DPE_ADMIN_USER": self.admin_user,
        }

    def status(self) -> ServerStatus:
        """Ask the server for its status, as the administrator."""
        with self.connect("admin", autocommit=True) as connection:
            row = connection.execute(
                """
                select split_part(current_setting('server_version'), ' ', 1), pg_database_size(current_database()), count(*)
                from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()
                """
            ).fetchone()
        return ServerStatus(*row or ("", 0, 0))

    @property
    def _identity(self) -> str:
        """The options that say which project and target a session works for, also if the shell was set up for another one."""
        return f"-c dpe.project={_escaped(self.project or '')} -c dpe.target={_escaped(self.target or '')}"

    def __str__(self) -> str:
        return f"server {self.host}:{self.port}"

    def _explain(self, user: str, message: str) -> str:
        """Return why a connection failed, and what to do about it."""
        # One line per address that was tried; the first names the reason.
        reason = message.strip().splitlines()[0].rpartition("failed: ")[2].removeprefix("FATAL:").strip()
        if f'role "{user}" does not exist' in message:
            if user == self.admin_user:
                return f"{self}: has no administrator {user}; name an existing one with DPE_ADMIN_USER or PGUSER"
            return f"{self}: has no role {user}; run `dpe bootstrap`, which creates dpe's roles"
        if f'database "{self.database}" does not exist' in message:
            return f"{self}: has no database {self.database}; create it, or name another with PGDATABASE"
        if any(sign in message for sign in REFUSALS):
            variable = PASSWORDS.get(user)
            given_with = f"{variable}, PGPASSWORD" if variable else "PGPASSWORD"
            # When it asks for a password, a server does not say that the role is missing.
            absent = f"; if the server has no role {user} yet, run `dpe bootstrap`" if variable else ""
            return f"{self}: rejected the login of {user} ({reason}); give its password with {given_with} or ~/.pgpass{absent}"
        if "FATAL" in message:
            return f"{self}: rejected the login of {user} ({reason}); ask the server's administrator"
        remedy = f"run `dpe db start`, or read {self.log}" if self.is_embedded else "start it, or correct PGHOST and PGPORT"
        return f"{self}: is not reachable ({reason}); {remedy}"


def resolve(project_dir: Path, *, start: bool = True) -> Server:
    """
    Return the server that a project works in: the one that PGHOST names, or the embedded one, which `start` starts.

    PGDATABASE names the database in either; the embedded server's is created.

    Raises:
        ServerError: the embedded server cannot be started.
        UsageError: PGPORT is not a number.
    """
    embedded = EmbeddedServer(_embedded_directory(project_dir))
    named = os.environ.get("PGHOST")
    if named and Path(named) != embedded.socket_dir:
        user = os.environ.get("DPE_ADMIN_USER") or os.environ.get("PGUSER") or getpass.getuser()
        database = os.environ.get("PGDATABASE") or os.environ.get("PGUSER") or user
        return Server(named, _port(), database, user, is_embedded=False)
    database = os.environ.get("PGDATABASE") or DATABASE
    if start:
        state_directory(project_dir)
        embedded.start()
    server = Server(str(embedded.socket_dir), embedded.port, database, ADMINISTRATOR, is_embedded=True, log=embedded.log)
    if start and database != DATABASE:
        _create_database(server)
    return server


def existing(project_dir: Path) -> Server | None:
    """
    Return the server that a project works in, as resolve() does, but create nothing; a stopped one is started.

    None if the embedded server, or the database in it, does not exist yet.

    Raises:
        ServerError: the embedded server cannot be started.
        UsageError: PGPORT is not a number.
    """
    if not resolve(project_dir, start=False).is_embedded:
        return resolve(project_dir, start=False)
    embedded = EmbeddedServer(_embedded_directory(project_dir))
    if not embedded.data_directory.exists():
        return None
    embedded.start()
    server = resolve(project_dir, start=False)
    return server if server.database == DATABASE or _has_database(server) else None


def _has_database(server: Server) -> bool:
    with replace(server, database=DATABASE).connect("admin", autocommit=True) as connection:
        return connection.execute("select from pg_database where datname = %s", [server.database]).rowcount > 0


def _create_database(server: Server) -> None:
    """Create a server's database, unless it exists."""
    if _has_database(server):
        return
    # Another dpe may create it at the same time.
    already = suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation)
    with already, replace(server, database=DATABASE).connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(server.database)))


def embedded_server(project_dir: Path) -> EmbeddedServer:
    """
    Return the embedded server of a project, running or not.

    Raises:
        UsageError: PGHOST names another server.
    """
    server = resolve(project_dir, start=False)
    if not server.is_embedded:
        raise UsageError(f"PGHOST: names {server}, which dpe cannot start or stop; unset PGHOST for the embedded PostgreSQL")
    return EmbeddedServer(_embedded_directory(project_dir))


def _embedded_directory(project_dir: Path) -> Path:
    return state_path(project_dir) / "postgres"


def _port() -> int:
    port = os.environ.get("PGPORT") or str(PORT)
    if not port.isdigit():
        raise UsageError(f"PGPORT: {port!r} is not a port; give a number")
    return int(port)


def _escaped(value: str) -> str:
    """Return a value as PGOPTIONS takes it: a backslash escapes a space (PostgreSQL documentation, "Connection Strings")."""
    return _TO_ESCAPE.sub(_ESCAPED, value)


def _literal(options: str) -> str:
    """Add the options by which statements are read as they are written; in the shell's options, they may be there already."""
    return f"{options.replace(_LITERAL_OPTIONS, '').strip()} {_LITERAL_OPTIONS}".strip()


def _search_path_of_dbt(connection: Connection) -> str:
    """Return the search_path of dbt's sessions; before the database is bootstrapped, PostgreSQL's own schema."""
    connection.execute("reset search_path")
    try:
        [(path,)] = connection.execute(_SEARCH_PATH_OF_DBT.encode()).fetchall()
    except _NOT_BOOTSTRAPPED:
        return SEARCH_PATH
    return str(path)


def _is_starting(message: str) -> bool:
    states = ("starting up", "in recovery mode", "not yet accepting connections")
    return any(f"the database system is {state}" in message for state in states)
