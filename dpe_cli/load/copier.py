"""COPY into one slice: strict while the data is good, lenient if the server can skip values of a wrong type."""

from __future__ import annotations

import re
import select
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import psycopg
from psycopg import sql
from psycopg.copy import LibpqWriter
from psycopg.errors import Diagnostic

from dpe_cli.blocks import copy_text
from dpe_cli.blocks.block import CopyFormat
from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.csv_grammar import Dialect, Grammar
from dpe_cli.server.connection import Connection

# ON_ERROR and LOG_VERBOSITY came with PostgreSQL 17 (documentation of COPY).
FIRST_VERSION_WITH_ON_ERROR = 170000
# Before 18, CSV input ends at a line that is only \. (release notes of 18, E.1.3.4).
FIRST_VERSION_WITHOUT_END_MARKER = 180000

# Classes of SQLSTATE (appendix A, "PostgreSQL Error Codes"): data exceptions, constraint violations, program limits, and errors
# raised by functions, which only a domain's check calls.
_DATA_ERROR_CLASSES = ("22", "23", "38", "39", "54", "P0")
# Never a record's fault: connection, transaction, resources, locks, an operator, the system, the server's configuration.
_OTHER_ERROR_CLASSES = ("08", "25", "28", "40", "53", "55", "57", "58", "72", "F0")
_OTHER_ERRORS = ("42501", "XX001", "XX002")

FIRST_VERSION_WITH_SOFT_ERRORS = 160000
PIECE = 256 * 1024
# A function called by a domain's check has lines of its own.
CONTEXT = re.compile(r"^COPY .*?, line (\d+)(?:, column (.*?))?(?:: |$)", re.MULTILINE)
_SKIPPED = re.compile(
    r'^skipping row due to data type incompatibility at line (\d+) for column "(.*?)"(?:: (?:"(.*)"|null input))?$', re.DOTALL
)
# The server shows at most this many bytes of a value (MAX_COPY_DATA_DISPLAY in its copyfrom.c), and then three dots.
_SHOWN_BYTES = 100
# Values of a wrong type repeat: n/a, -, NULL, …
_REMEMBERED_VALUES = 10_000


@dataclass(frozen=True)
class Shape:
    """
    How the blocks of one input are copied: the load they belong to, and their columns in order.

    `names` are the columns as rejects name them; `types` maps `columns`, the slice's, to PostgreSQL types. `missing` are columns of
    the contract that the input does not have; `contract` are all of its columns.
    """

    load_id: int
    names: tuple[str, ...]
    columns: tuple[str, ...]
    types: dict[str, str]
    ignored_columns: int
    dialect: Dialect
    missing: tuple[str, ...] = ()
    contract: tuple[Column, ...] = ()

    @cached_property
    def null_quoted(self) -> list[str]:
        """The columns in which the null string means null within quotes, too."""
        declared = {column.name for column in self.contract if column.null_quoted}
        return [name for name in self.columns if self.dialect.null_quoted or name in declared]

    @cached_property
    def grammar(self) -> Grammar:
        """The grammar that separates its records."""
        return Grammar(self.dialect)

    @property
    def outline(self) -> bytes:
        """The delimiters of each record, outside quotes."""
        return self.dialect.delimiter.encode() * (len(self.columns) - 1)


@dataclass(frozen=True)
class Skipped:
    """A record that a lenient COPY skipped: its last line within the data, the column that did not fit, and its value if known."""

    line: int
    column: str
    value: str | None


class MiscountError(psycopg.DataError):
    """The server counts a different number of records than we did."""


def is_data_error(error: psycopg.Error) -> bool:
    """
    Return whether the data is to blame, rather than the connection, the server or the statement.

    A type's input function may fail with any SQLSTATE (XX000, 0A000); such an error names a line of the data.
    """
    code = error.sqlstate or ""
    if isinstance(error, MiscountError) or code[:2] in _DATA_ERROR_CLASSES:
        return True
    return not _is_no_records_fault(code) and CONTEXT.search(error.diag.context or "") is not None


def _is_no_records_fault(code: str) -> bool:
    return not code or code[:2] in _OTHER_ERROR_CLASSES or code in _OTHER_ERRORS


def _csv_options(shape: Shape) -> sql.Composed:
    options = shape.dialect.copy_options()
    if not shape.null_quoted:
        return options
    return sql.SQL("{}, force_null ({})").format(options, sql.SQL(", ").join(map(sql.Identifier, shape.null_quoted)))


class Copier:
    """COPYs data of one shape into a table. Each call is a savepoint: if it raises, it leaves nothing."""

    def __init__(self, connection: Connection, table: sql.Identifier, shape: Shape) -> None:
        self._connection = connection
        self.shape = shape
        version = connection.info.server_version
        self.can_be_lenient = version >= FIRST_VERSION_WITH_ON_ERROR
        self.stops_at_end_marker = version < FIRST_VERSION_WITHOUT_END_MARKER
        target = sql.SQL("copy {} ({}) from stdin").format(table, sql.SQL(", ").join(map(sql.Identifier, shape.columns)))
        self._reasons: dict[tuple[str, str], tuple[str, str] | None] = {}
        formats: dict[CopyFormat, sql.Composable] = {
            "csv": _csv_options(shape),
            "text": copy_text.COPY_OPTIONS,
            "binary": copy_text.BINARY_COPY_OPTIONS,
        }
        self._strict = {key: sql.SQL("{} with ({})").format(target, options).as_bytes(connection) for key, options in formats.items()}
        self._lenient = {
            key: sql.SQL("{} with ({}, on_error ignore, log_verbosity verbose)").format(target, options).as_bytes(connection)
            for key, options in formats.items()
        }

    def strict(self, data: bytes, records: int, *, copy_format: CopyFormat = "csv") -> list[Skipped]:
        """
        COPY all of `data`, skipping nothing.

        Raises:
            psycopg.Error: the server refuses it.
            MiscountError: the server counts a different number of records.
        """
        with self._connection.transaction():
            self._check(self._copy(self._strict[copy_format], data), records)
        return []

    def lenient(self, data: bytes, records: int, *, copy_format: CopyFormat = "csv") -> list[Skipped]:
        """
        COPY `data`, except for the records with a value of a wrong type, which are returned.

        Raises:
            psycopg.Error: the server refuses it for another reason (a field too many, invalid bytes, …).
            MiscountError: the server counts a different number of records.
        """
        skipped: list[Skipped] = []

        def note(notice: Diagnostic) -> None:
            if found := _SKIPPED.match(notice.message_primary or ""):
                value = found[3]
                is_whole = value is not None and len(value.encode()) < _SHOWN_BYTES
                skipped.append(Skipped(int(found[1]), found[2], value if is_whole else None))

        self._connection.add_notice_handler(note)
        try:
            with self._connection.transaction():
                rows = self._copy(self._lenient[copy_format], data, listens=True)
                # If the server does not speak English, its notices cannot be parsed; then it is asked record by record.
                self.can_be_lenient = bool(skipped) or rows == records
                self._check(rows + len(skipped), records)
        finally:
            self._connection.remove_notice_handler(note)
        return skipped

    def is_refused(self, data: bytes) -> psycopg.Error | None:
        """Return the server's error for a single record, which is not kept; None if the server accepts it."""
        try:
            with self._connection.transaction(force_rollback=True):
                self._check(self._copy(self._strict["csv"], data), 1)
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            return error
        return None

    def explain(self, values: Sequence[str], types: Sequence[str]) -> list[tuple[str, str] | None]:
        """
        Return SQLSTATE and reason for each value that its type refuses; None if unknown.

        Needs pg_input_error_info() (PostgreSQL 16 and later). A type whose input function does not report soft errors makes
        the whole query fail; then nothing is known.
        """
        asked = list(zip(values, types, strict=True))
        known = {question: self._reasons[question] for question in asked if question in self._reasons}
        if new := list(dict.fromkeys(question for question in asked if question not in known)):
            try:
                with self._connection.transaction():
                    known.update(zip(new, self._soft_errors(new), strict=True))
            except psycopg.Error as error:
                if _is_no_records_fault(error.sqlstate or ""):
                    raise
                return [None] * len(asked)
            if len(self._reasons) < _REMEMBERED_VALUES:
                self._reasons.update((question, known[question]) for question in new if len(question[0]) < _SHOWN_BYTES)
        return [known[question] for question in asked]

    def are_valid(self, values: Sequence[str], types: Sequence[str]) -> list[bool]:
        """Return for each value whether its type accepts it. `types` are named as format_type() does."""
        if not values:
            return []
        if self._connection.info.server_version >= FIRST_VERSION_WITH_SOFT_ERRORS:
            rows = self._connection.execute(
                """
                select pg_input_is_valid(input.value, input.type)
                from unnest(%s::text[], %s::text[]) with ordinality as input (value, type, number)
                order by input.number
                """,
                [list(values), list(types)],
            ).fetchall()
            return [bool(is_valid) for (is_valid,) in rows]
        asked = list(zip(values, types, strict=True))
        known = {question: self._is_valid(*question) for question in dict.fromkeys(asked)}
        return [known[question] for question in asked]

    def _is_valid(self, value: str, data_type: str) -> bool:
        try:
            with self._connection.transaction():
                # A type cannot be a parameter; this is the server's own name of it.
                self._connection.execute(sql.SQL("select {}::{}").format(sql.Literal(value), sql.SQL(data_type)))
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            return False
        return True

    def _soft_errors(self, values_and_types: Sequence[tuple[str, str]]) -> list[tuple[str, str] | None]:
        rows = self._connection.execute(
            """
            select info.sql_error_code, info.message
            from unnest(%s::text[], %s::text[]) with ordinality as input (value, type, number),
                lateral pg_input_error_info(input.value, input.type) as info
            order by input.number
            """,
            [[value for value, _ in values_and_types], [data_type for _, data_type in values_and_types]],
        ).fetchall()
        return [(str(code), str(message)) if code else None for code, message in rows]

    def _copy(self, statement: bytes, data: bytes, *, listens: bool = False) -> int:
        view = memoryview(data)
        with self._connection.cursor() as cursor:
            # An empty write never waits for the server; the waiting is done below.
            writer = LibpqWriter(cursor, flush_threshold=len(data) + 1) if listens else None
            with cursor.copy(statement, writer=writer) as copy:
                for start in range(0, len(data), PIECE):
                    copy.write(view[start : start + PIECE])
                    if listens:
                        self._send_and_listen()
            return cursor.rowcount

    def _send_and_listen(self) -> None:
        """
        Send what was written, and meanwhile read what the server sends, until it would accept more.

        psycopg does not read while it sends: a server with thousands of skipped rows to report would wait for us to
        read, and we for it, forever.
        """
        pgconn = self._connection.pgconn
        poll = select.poll()
        poll.register(pgconn.socket, select.POLLIN | select.POLLOUT)
        while True:
            unsent = pgconn.flush()
            [(_, events)] = poll.poll()
            if events & ~select.POLLOUT:
                pgconn.consume_input()
            if not unsent and events & select.POLLOUT:
                return

    def _check(self, rows: int, records: int) -> None:
        if rows != records:
            raise MiscountError(f"{records:,} records were read, but the server counted {rows:,}")
