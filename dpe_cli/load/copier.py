"""COPY into one slice: strict where all is well, lenient where the server can step over values of a wrong type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.errors import Diagnostic

from dpe_cli.load.blocks import Dialect

Connection = psycopg.Connection[tuple[object, ...]]

# ON_ERROR and LOG_VERBOSITY came with PostgreSQL 17 (documentation of COPY).
FIRST_VERSION_WITH_ON_ERROR = 170000
# Before 18, CSV input ends at a line that is only \. (release notes of 18, E.1.3.4).
FIRST_VERSION_WITHOUT_END_MARKER = 180000

PIECE = 256 * 1024
_SKIPPED = re.compile(r'^skipping row due to data type incompatibility at line (\d+) for column "(.*?)"(?:: |$)', re.DOTALL)


@dataclass(frozen=True)
class Skipped:
    """A record that a lenient COPY stepped over: its last line within the data, and the column that did not fit."""

    line: int
    column: str


class Copier:
    """COPYs data of one dialect and column order into a table; each call is a savepoint of its own."""

    def __init__(self, connection: Connection, table: sql.Identifier, columns: Sequence[str], dialect: Dialect) -> None:
        self._connection = connection
        self.columns = columns
        self.dialect = dialect
        self._version = connection.info.server_version
        target = sql.SQL("copy {} ({}) from stdin").format(table, sql.SQL(", ").join(map(sql.Identifier, columns)))
        self._strict = sql.SQL("{} with ({})").format(target, dialect.copy_options())
        self._lenient = sql.SQL("{} with ({}, on_error ignore, log_verbosity verbose)").format(target, dialect.copy_options())

    @property
    def can_be_lenient(self) -> bool:
        """Whether the server can step over values of a wrong type (PostgreSQL 17 and later)."""
        return self._version >= FIRST_VERSION_WITH_ON_ERROR

    @property
    def stops_at_end_marker(self) -> bool:
        r"""Whether a line that is only \. ends the input, silently (before PostgreSQL 18)."""
        return self._version < FIRST_VERSION_WITHOUT_END_MARKER

    def savepoint(self) -> AbstractContextManager[object]:
        """Open a savepoint, rolled back where the block raises."""
        return self._connection.transaction()

    def strict(self, data: bytes) -> int:
        """
        COPY all of `data` or nothing of it; return the number of rows.

        Raises:
            psycopg.Error: the server refused it; the transaction goes on as if the call had not been.
        """
        return self._copy(self._strict, data)

    def lenient(self, data: bytes) -> tuple[int, list[Skipped]]:
        """
        COPY `data` but for the records with a value of a wrong type; return the number of rows and what was skipped.

        Raises:
            psycopg.Error: the server refused it for another reason (a field too many, invalid bytes, …).
        """
        skipped: list[Skipped] = []

        def note(notice: Diagnostic) -> None:
            if found := _SKIPPED.match(notice.message_primary or ""):
                skipped.append(Skipped(int(found[1]), found[2]))

        self._connection.add_notice_handler(note)
        try:
            return self._copy(self._lenient, data), skipped
        finally:
            self._connection.remove_notice_handler(note)

    def explain(self, values: Sequence[str], types: Sequence[str]) -> list[tuple[str, str] | None]:
        """
        Return SQLSTATE and reason for each value that its type refuses; None where that cannot be told.

        Needs pg_input_error_info() (PostgreSQL 16 and later). A type whose input function reports no soft errors makes
        the whole question fail; then nothing is told.
        """
        try:
            with self._connection.transaction():
                return self._soft_errors(values, types)
        except psycopg.DataError:
            return [None] * len(values)

    def _soft_errors(self, values: Sequence[str], types: Sequence[str]) -> list[tuple[str, str] | None]:
        rows = self._connection.execute(
            """
            select info.sql_error_code, info.message
            from unnest(%s::text[], %s::text[]) with ordinality as input (value, type, number),
                lateral pg_input_error_info(input.value, input.type) as info
            order by input.number
            """,
            [list(values), list(types)],
        ).fetchall()
        return [(str(code), str(message)) if code else None for code, message in rows]

    def _copy(self, statement: sql.Composed, data: bytes) -> int:
        view = memoryview(data)
        with self._connection.transaction(), self._connection.cursor() as cursor:
            with cursor.copy(statement) as copy:
                for start in range(0, len(data), PIECE):
                    copy.write(view[start : start + PIECE])
            return cursor.rowcount
