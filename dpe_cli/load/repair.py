"""
Bring in a block that the server refused: every good record is loaded, every bad one becomes a reject in the server's words.

The server is asked again about ever smaller parts. Only where the answer is certain without it (a record without quotes
that has a field too many or too few, bytes that are not UTF-8) is a record set aside here, so that a block with hundreds
of such records is not sent hundreds of times.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import psycopg

from dpe_cli.errors import ExtractError
from dpe_cli.load.blocks import MAX_RECORD_BYTES, Block, Grammar
from dpe_cli.load.copier import Copier, Skipped

# Records sent at once where the server has to find the bad one by failing: a failure costs at most this many again.
PIECE_RECORDS = 1000

BAD_COPY_FILE_FORMAT = "22P04"
CHARACTER_NOT_IN_REPERTOIRE = "22021"
# Data exceptions, constraint violations, program limits (appendix A, "PostgreSQL Error Codes").
_DATA_ERROR_CLASSES = ("22", "23", "54")

_END_MARKER = rb"\."

_LINE = re.compile(r"\bline (\d+)")
_COLUMN = re.compile(r"\bline \d+, column (.*?)(?:: |$)", re.DOTALL)

csv.field_size_limit(MAX_RECORD_BYTES)


@dataclass(frozen=True)
class Reject:
    """A record that could not be loaded. `position` is the line of the input on which it starts."""

    load_id: int
    position: int
    column_name: str | None
    sqlstate: str
    reason: str
    raw: bytes


class Record(NamedTuple):
    """One record as delivered, and the line of the input on which it starts."""

    raw: bytes
    line: int


@dataclass
class Repaired:
    """What became of a block. `released` counts records that an unclosed quote had swallowed into one."""

    rows: int = 0
    released: int = 0
    rejects: list[Reject] = field(default_factory=list)


def is_data_error(error: psycopg.Error) -> bool:
    """Tell whether the data is to blame, rather than the connection, the server or the statement."""
    return (error.sqlstate or "")[:2] in _DATA_ERROR_CLASSES


class Repair:
    """Loads blocks of one input record by record where needed. `types` maps its columns to PostgreSQL types."""

    def __init__(self, copier: Copier, types: Mapping[str, str], load_id: int) -> None:
        self._copier = copier
        self._types = types
        self._load_id = load_id
        self._grammar = Grammar(copier.dialect)
        self._delimiter = copier.dialect.delimiter.encode()
        self._quote = copier.dialect.quote.encode()

    def block(self, block: Block) -> Repaired:
        """
        Load what can be loaded of `block`, and say what cannot.

        Raises:
            psycopg.Error: the data is not to blame.
            ExtractError: the records do not add up.
        """
        outcome = Repaired()
        skipped = self._try(block.data, block.records, outcome)
        if skipped is None:
            self._load(self._set_aside(self._records(block.data, block.first_line), outcome), outcome)
        elif skipped:
            self._explain(_at_last_lines(skipped, self._records(block.data, block.first_line)), outcome)
        if block.records + outcome.released != outcome.rows + len(outcome.rejects):
            raise ExtractError(
                f"block at line {block.first_line}: {block.records:,} records were read, but {outcome.rows:,} loaded and "
                f"{len(outcome.rejects):,} rejected; nothing is loaded, check the quote and escape characters of the source"
            )
        outcome.rejects.sort(key=lambda reject: reject.position)
        return outcome

    def _load(self, records: list[Record], outcome: Repaired) -> None:
        """Load records that seem whole: all at once, or where that fails, in pieces that the server fails on."""
        if not records:
            return
        skipped = self._try(self._sendable(records), len(records), outcome)
        if skipped is not None:
            self._explain(_at_last_lines(skipped, records), outcome)
            return
        queue = list(reversed(records))
        while queue:
            piece = [queue.pop() for _ in range(min(PIECE_RECORDS, len(queue)))]
            queue.extend(reversed(self._load_piece(piece, outcome)))

    def _load_piece(self, piece: list[Record], outcome: Repaired) -> list[Record]:
        """Load the records up to the first bad one, reject that, and return the records still to be loaded."""
        try:
            skipped = self._send(self._sendable(piece), len(piece), outcome)
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            bad = self._find(error, piece)
            if bad is not None:
                # Those before it were read without complaint; should one fail after all, it is found in turn.
                rest = self._load_piece(piece[:bad], outcome) if bad else []
                if rest:
                    return rest + piece[bad:]
                return self._reject(piece[bad], error, outcome) + piece[bad + 1 :]
            skipped = None
        if skipped is None:
            return self._halve(piece, outcome)
        self._explain(_at_last_lines(skipped, piece), outcome)
        return []

    def _try(self, data: bytes, records: int, outcome: Repaired) -> list[Skipped] | None:
        try:
            return self._send(data, records, outcome)
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            return None

    def _send(self, data: bytes, records: int, outcome: Repaired) -> list[Skipped] | None:
        """COPY records, return those that the server stepped over; None, with nothing loaded, where its count differs from ours."""
        skipped: list[Skipped] = []
        try:
            with self._copier.savepoint():
                if self._copier.can_be_lenient:
                    rows, skipped = self._copier.lenient(data)
                else:
                    rows = self._copier.strict(data)
                if rows + len(skipped) != records:
                    raise _RollbackError
        except _RollbackError:
            return None
        outcome.rows += rows
        return skipped

    def _halve(self, piece: list[Record], outcome: Repaired) -> list[Record]:
        """Narrow down a failure that names no line; a single record that is at odds with its count is rejected."""
        if len(piece) == 1:
            reason = "the server does not read this as one record"
            outcome.rejects.append(self._as_reject(piece[0], None, BAD_COPY_FILE_FORMAT, reason))
            return []
        middle = len(piece) // 2
        rest = self._load_piece(piece[:middle], outcome)
        return rest + piece[middle:] if rest else self._load_piece(piece[middle:], outcome)

    def _find(self, error: psycopg.Error, piece: Sequence[Record]) -> int | None:
        """Return which record of the piece the server means: COPY counts lines, also those within quotes."""
        if len(piece) == 1:
            return 0
        found = _LINE.search(error.diag.context or "")
        if not found:
            return None
        lines = 0
        for index, record in enumerate(piece):
            lines += record.raw.count(b"\n")
            if lines >= int(found[1]):
                return index
        return len(piece) - 1

    def _reject(self, record: Record, error: psycopg.Error, outcome: Repaired) -> list[Record]:
        """Reject a record; where an unclosed quote made it swallow others, only its first line, returning the others."""
        found = _COLUMN.search(error.diag.context or "")
        column = found[1] if found else error.diag.column_name
        sqlstate = error.sqlstate or ""
        reason = error.diag.message_primary or str(error)
        swallowed = self._swallowed(record) if sqlstate == BAD_COPY_FILE_FORMAT else []
        if swallowed:
            outcome.released += len(swallowed)
            record = Record(record.raw[: record.raw.index(b"\n") + 1], record.line)
        outcome.rejects.append(self._as_reject(record, column, sqlstate, reason))
        return swallowed

    def _swallowed(self, record: Record) -> list[Record]:
        """Return the records behind the first line of a broken one, if some have the right number of fields."""
        first, _, rest = record.raw.partition(b"\n")
        if not rest:
            return []
        records = self._records(rest, record.line + 1)
        return records if any(self._quote not in other.raw and self._misfit(other.raw) is None for other in records) else []

    def _set_aside(self, records: Sequence[Record], outcome: Repaired) -> list[Record]:
        """Reject the records that are certainly bad; return the others."""
        others: list[Record] = []
        for record in records:
            misfit = self._misfit(record.raw)
            if misfit is None:
                others.append(record)
            else:
                outcome.rejects.append(self._as_reject(record, *misfit))
        return others

    def _misfit(self, raw: bytes) -> tuple[str | None, str, str] | None:
        """Return column, SQLSTATE and reason, in the server's words, where a record is bad for certain."""
        if b"\0" in raw:
            return None, CHARACTER_NOT_IN_REPERTOIRE, 'invalid byte sequence for encoding "UTF8": 0x00'
        if not raw.isascii():
            try:
                raw.decode()
            except UnicodeDecodeError as error:
                sequence = " ".join(f"0x{byte:02x}" for byte in raw[error.start : error.end])
                return None, CHARACTER_NOT_IN_REPERTOIRE, f'invalid byte sequence for encoding "UTF8": {sequence}'
        if self._quote in raw:
            return None
        fields = raw.count(self._delimiter) + 1
        if fields < len(self._copier.columns):
            column = self._copier.columns[fields]
            return column, BAD_COPY_FILE_FORMAT, f'missing data for column "{column}"'
        if fields > len(self._copier.columns):
            return None, BAD_COPY_FILE_FORMAT, "extra data after last expected column"
        return None

    def _explain(self, bad: Sequence[tuple[Record, str]], outcome: Repaired) -> None:
        """Reject records for the column named: the types say why in one query, or where they cannot, record by record."""
        if not bad:
            return
        values = [self._value(record, column) for record, column in bad]
        reasons = self._copier.explain(values, [self._types[column] for _, column in bad])
        outcome.rejects += [
            self._as_reject(record, column, *(reason or self._ask(record))) for (record, column), reason in zip(bad, reasons, strict=True)
        ]

    def _ask(self, record: Record) -> tuple[str, str]:
        """Return SQLSTATE and reason for one record by sending it alone, to no effect."""
        try:
            with self._copier.savepoint():
                self._copier.strict(self._sendable([record]))
                raise _RollbackError
        except _RollbackError:
            return BAD_COPY_FILE_FORMAT, "the server skipped this record among others"
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            return error.sqlstate or "", error.diag.message_primary or str(error)

    def _value(self, record: Record, column: str) -> str:
        """Return a field of a record, or nothing where Python reads the record differently from the server."""
        dialect = self._copier.dialect
        doubled = dialect.escape == dialect.quote
        reader = csv.reader(
            [record.raw.decode()],
            delimiter=dialect.delimiter,
            quotechar=dialect.quote,
            doublequote=doubled,
            escapechar=None if doubled else dialect.escape,
        )
        try:
            fields = next(reader)
        except csv.Error:
            return ""
        return fields[index] if (index := self._copier.columns.index(column)) < len(fields) else ""

    def _sendable(self, records: Sequence[Record]) -> bytes:
        """Join records with plain line ends: COPY refuses input whose line ends differ."""
        lines = [record.raw.removesuffix(b"\n").removesuffix(b"\r") for record in records]
        if self._copier.stops_at_end_marker:
            quoted = self._quote + _END_MARKER + self._quote
            lines = [quoted if line == _END_MARKER else line for line in lines]
        return b"\n".join(lines) + b"\n"

    def _records(self, data: bytes, first_line: int) -> list[Record]:
        raws = self._grammar.split(data)
        lines = accumulate((raw.count(b"\n") for raw in raws), initial=first_line)
        return list(map(Record, raws, lines))

    def _as_reject(self, record: Record, column: str | None, sqlstate: str, reason: str) -> Reject:
        return Reject(self._load_id, record.line, column, sqlstate, reason, record.raw.removesuffix(b"\n").removesuffix(b"\r"))


def _at_last_lines(skipped: Sequence[Skipped], records: Sequence[Record]) -> list[tuple[Record, str]]:
    """Pair each skipped record with its column. COPY names the last line of a record, counted within the data."""
    columns = {one.line: one.column for one in skipped}
    if not columns:
        return []
    last_lines = accumulate(record.raw.count(b"\n") for record in records)
    return [(record, columns[line]) for record, line in zip(records, last_lines, strict=True) if line in columns]


class _RollbackError(Exception):
    """Rolls a savepoint back."""
