"""
PostgreSQL as a source: COPY to COPY, through psql, so that no row ever passes through Python.

The greatest cursor and the rows are read in one snapshot. `row_security` is off: if a policy would hide rows,
PostgreSQL raises an error (documentation, "row_security") instead of silently returning less data.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from secrets import token_hex
from typing import IO, Any

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo

from dpe_cli.blocks import copy_text
from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.blocks.inputs import Opened
from dpe_cli.environment import for_program
from dpe_cli.errors import InputError
from dpe_cli.safe_text.redaction import redact
from dpe_cli.safe_text.server_messages import without_details
from dpe_cli.server import programs
from dpe_cli.server.connection import Connection
from dpe_cli.sources import secrets
from dpe_cli.sources.databases import psql_text
from dpe_cli.sources.databases.postgres_pages import Pages
from dpe_cli.sources.query_inputs import TableInput
from dpe_cli.sources.read import pipes, rows

_CONNECT_SECONDS = 10
# A server that is gone is noticed within two minutes, whatever the system's own settings are.
_WHILE_WAITING = {"keepalives_idle": "60", "keepalives_interval": "10", "keepalives_count": "6", "tcp_user_timeout": "120000"}
# What is read does not depend on the server's settings.
_SETTINGS = """
    set local standard_conforming_strings = on;
    set local row_security = off;
    set local datestyle = 'ISO, YMD';
    set local intervalstyle = 'postgres';
    set local timezone = 'UTC';
    set local bytea_output = 'hex';
    set local extra_float_digits = 1;
    set local client_encoding = 'UTF8';
"""
# When a table is read, names resolve to PostgreSQL's own objects: otherwise an operator that somebody created there for a type could be
# called to compare a cursor (CVE-2018-1058). In a user's query, names resolve by the login's search_path.
OWN_NAMES = "set local search_path = pg_catalog, pg_temp;"
# What PostgreSQL calls a snapshot, since 9.2.
_SNAPSHOT = re.compile(r"[0-9A-F]+(-[0-9A-F]+)?-[0-9]+")


class PostgresTable(TableInput):
    """A table or a query of a PostgreSQL database."""

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """
        Connect, and take the snapshot.

        Raises:
            InputError: the server is not reachable, or refuses to be read.
        """
        # psycopg's own transactions cannot be switched to repeatable read again.
        with self.connected() as connection, self._snapshot(connection) as name:
            yield self._opened(connection, name)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """
        Connect.

        Raises:
            InputError: the server is not reachable, or refuses to be read.
        """
        try:
            # libpq would offer dpe's own PGPASSWORD to a server whose URL has no password. With an empty one, it still reads ~/.pgpass.
            target = self._url if _given(self._url).get(b"password") else make_conninfo(self._url, password="")
            target = make_conninfo(target, **_while_waiting(self._url))
            with _PatientConnection.connect(
                target, connect_timeout=_CONNECT_SECONDS, autocommit=True, client_encoding="UTF8"
            ) as connection:
                connection.timeout = self._options.timeout
                yield connection
        except _LateError as error:
            raise self.late() from error
        except psycopg.Error as error:
            raise self._refused(str(error)) from error

    def _opened(self, connection: Connection, snapshot: str) -> _OpenedTable:
        number, relation = self._relation(connection)
        connection.execute(self.settings.encode())
        names = [column.name for column in connection.execute(sql.SQL("select * from {} limit 0").format(relation)).description or ()]
        condition = self._condition(connection, relation, names)
        names = self._taken(names)
        pages = None
        if number is not None and self._options.incremental is None and not self.as_text:
            pages = Pages.of(connection, number, relation, names, self._columns)
        selected = sql.SQL(", ").join(map(psql_text.identifier, names))
        query = sql.SQL("copy (select {} from {}{}) to stdout with (format text);").format(selected, relation, condition)
        return _OpenedTable(self, tuple(names), query.as_string(connection), pages, url=self._url, snapshot=snapshot)

    @property
    def settings(self) -> str:
        """Return the statements at the start of each transaction that reads it."""
        return _SETTINGS + (OWN_NAMES if self._options.table is not None else "")

    @property
    def timeout(self) -> float:
        """The seconds to wait for an answer, or for more rows."""
        return self._options.timeout

    @property
    def _url(self) -> str:
        return secrets.filled(self._options.location, where=self.location, in_url=True)

    def _relation(self, connection: Connection) -> tuple[int | None, sql.Composable]:
        """Return the number of a table, which a query has not, and what to select from."""
        if self._options.query is not None:
            # The query may end with a semicolon, and its last line with a comment.
            return None, sql.SQL("({}\n) as dpe_query").format(sql.SQL(self._options.query.strip().removesuffix(";")))
        number = relation_id(connection, self._options.table or "")
        if number is None:
            raise InputError(f"{self.location}: table {self._options.table} does not exist or is not visible; correct `table`")
        # Quoted as the server knows it, whether or not the YAML quotes it.
        names = connection.execute(
            "select nspname, relname from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid where pg_class.oid = %s::oid",
            [number],
        ).fetchone()
        return number, psql_text.identifier(*map(str, names or ()))

    def _condition(self, connection: Connection, relation: sql.Composable, names: Sequence[str]) -> sql.Composable:
        """Return the condition that selects new rows, and note where they end."""
        incremental = self._options.incremental
        if incremental is None:
            return sql.SQL("")
        column = incremental.column(self._columns)
        assert column is not None  # noqa: S101 refused with the block
        cursor = psql_text.identifier(self._delivered_as(column, names))
        start = incremental.start(self.after)
        compared = sql.SQL(" where {} operator(pg_catalog.>=) {}")
        where = compared.format(cursor, psql_text.literal(str(start))) if start is not None else sql.SQL("")
        greatest = sql.SQL("select pg_catalog.to_jsonb(pg_catalog.max({})) operator(pg_catalog.#>>) '{{}}' from {}{}")
        row = connection.execute(greatest.format(cursor, relation, where)).fetchone()
        self._end = str(row[0]) if row and row[0] is not None else None
        # It is unknown when a row without a cursor arrived.
        return sql.SQL("{} or {} is null").format(where, cursor) if start is not None else where

    @contextmanager
    def _snapshot(self, connection: Connection) -> Iterator[str]:
        """Open a transaction, and yield the name under which others can import its snapshot."""
        connection.execute("begin transaction isolation level repeatable read, read only")
        try:
            connection.execute(_SETTINGS.encode())
            row = connection.execute("select pg_catalog.pg_export_snapshot()").fetchone()
            name = str(row[0]) if row else ""
            if not _SNAPSHOT.fullmatch(name):
                raise InputError(f"{self.location}: what the server calls its snapshot is not a snapshot of PostgreSQL; correct location")
            yield name
        finally:
            if not connection.closed:
                connection.execute("rollback")

    def late(self) -> InputError:
        """Return the error that says that the server sent nothing."""
        return InputError(
            f"{self.location}: the server sent nothing for {self._options.timeout:g} seconds; extract again, "
            "or set a longer `timeout` if its query takes longer"
        )

    def _refused(self, errors: str) -> InputError:
        message = " ".join(redact(without_details(errors)).split())
        hint = (
            "; exempt the role of this connection (BYPASSRLS), or read what it may see through a view of the table's owner"
            if "row-level security" in message
            else "; correct location, table or query, or grant the role the right to read it"
        )
        return InputError(f"{self.location}: cannot be read ({message}){hint}")


class _OpenedTable:
    """A table whose snapshot was taken."""

    dialect: Dialect = rows.DIALECT

    def __init__(self, table: PostgresTable, columns: tuple[str, ...], query: str, pages: Pages | None, *, url: str, snapshot: str) -> None:
        self.columns = columns
        self._table = table
        self._query = query
        self._pages = pages
        self._url = url
        self._snapshot = snapshot

    def blocks(self) -> Iterator[Block]:
        """
        Yield the rows.

        Raises:
            InputError: the server refuses, or the connection is lost.
        """
        read = 0
        for block in rows.numbered(self._as_text(self._query) if self._pages is None else self._by_pages(self._pages), self.columns):
            read += len(block.data)
            yield block
        self._table.size = read

    def _by_pages(self, pages: Pages) -> Iterator[Block]:
        """Yield the rows in binary format, or, from a page whose rows take too much memory at once, as text."""
        counted = 0
        with self._written(pages.script()) as chunks:
            for block in pages.blocks(chunks):
                counted += 1
                if block is not None:
                    yield block
        if counted < len(pages.starts):
            yield from self._as_text(pages.rest(pages.starts[counted]))

    def _as_text(self, query: str) -> Iterator[Block]:
        # The query may be the user's, with backslashes in its texts.
        with self._written(f"\n\\restrict {token_hex()}\n{query}") as chunks:
            yield from copy_text.cut(chunks)

    @contextmanager
    def _written(self, commands: str) -> Iterator[Iterator[bytes]]:
        """Yield what psql writes; output that is not read is not waited for."""
        with tempfile.TemporaryFile() as errors, self._psql(errors, commands) as process:
            assert process.stdout is not None  # noqa: S101
            chunks = pipes.chunks(process.stdout.fileno(), timeout=self._table.timeout)
            try:
                yield chunks
                # psql ends by itself only if everything was read.
                is_read = next(chunks, None) is None
            except pipes.SilentError as error:
                raise self._table.late() from error
            if is_read and process.wait():
                errors.seek(0)
                words = errors.read().decode(errors="replace") or f"psql ended with status {process.returncode}"
                raise self._table._refused(words)  # noqa: SLF001

    @contextmanager
    def _psql(self, errors: IO[bytes], commands: str) -> Iterator[subprocess.Popen[bytes]]:
        script = (
            "begin transaction isolation level repeatable read, read only;"
            f"set transaction snapshot '{self._snapshot}';{self._table.settings}{commands}commit;"
        )
        # These have no variables that psql reads.
        waiting = make_conninfo(**_while_waiting(self._url))
        program = [str(programs.psql()), "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", waiting]
        with tempfile.TemporaryFile() as file:
            file.write(script.encode())
            file.seek(0)
            process = subprocess.Popen(program, stdin=file, stdout=subprocess.PIPE, stderr=errors, env=_environment(self._url), bufsize=0)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def relation_id(connection: Connection, table: str) -> int | None:
    """
    Return the number of a table, or None if the login sees no such table, in a transaction.

    The login's search_path decides which table a name means. For the rest of the transaction, names are those of PostgreSQL's own objects.
    """
    row = connection.execute("select pg_catalog.to_regclass(%s)::pg_catalog.oid", [table]).fetchone()
    connection.execute(OWN_NAMES)
    return None if row is None or row[0] is None else int(row[0])


def _environment(url: str) -> dict[str, str]:
    """
    Return the environment in which psql connects as the URL says, so that nothing of it shows in the process list.

    Of dpe's own environment it keeps what psycopg heeds too, but no password.
    """
    given = _given(url)
    environment = for_program(prefixes=("PG", "KRB5"))
    environment.pop("PGPASSWORD", None)
    environment.setdefault("PGCONNECT_TIMEOUT", str(_CONNECT_SECONDS))
    for option in pq.Conninfo.get_defaults():
        value = given.get(option.keyword)
        if option.envvar and value is not None:
            environment[option.envvar.decode()] = value.decode()
    # As psycopg does, whatever the URL or the database says: the script is written in it.
    environment["PGCLIENTENCODING"] = "UTF8"
    return environment


def _while_waiting(url: str) -> dict[str, str]:
    """Return how a connection notices that its server is gone; what the URL says counts more."""
    given = _given(url)
    written = {name: given.get(name.encode()) for name in _WHILE_WAITING}
    return {name: default if (value := written[name]) is None else value.decode() for name, default in _WHILE_WAITING.items()}


class _LateError(Exception):
    """The server did not answer in time."""


class _PatientConnection(psycopg.Connection[Any]):
    """A connection that is closed if the answer to a statement takes longer than `timeout` seconds, however much of it came."""

    timeout: float = _CONNECT_SECONDS

    def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
        """Wait until the steps of a statement are done."""
        return super().wait(self._in_time(gen), *arguments, **options)

    def _in_time(self, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + self.timeout
        try:
            waited_for = next(steps)
            while True:
                # psycopg resumes this several times a second, also if there is nothing to read.
                ready = yield waited_for
                if time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise _LateError
                waited_for = steps.send(ready)
        except StopIteration as end:
            return end.value


def _given(url: str) -> dict[bytes, bytes | None]:
    """Return the settings in a URL, by libpq's keywords."""
    return {option.keyword: option.val for option in pq.Conninfo.parse(url.encode())}
