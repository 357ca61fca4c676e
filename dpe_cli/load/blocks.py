"""
The narrow waist: every source yields record-aligned blocks of CSV, every writer COPYs them.

Records are counted here, independently of the server, by quote parity and at C speed: a line feed ends a record where
the number of quotes before it is even (RFC 4180). PostgreSQL's COPY reads CSV by the same grammar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from psycopg import sql

from dpe_cli.errors import InputError

BLOCK_BYTES = 2 * 1024 * 1024
MAX_RECORD_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Dialect:
    """How a CSV input separates, quotes and escapes its fields, and writes a missing value."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    null_string: str = ""

    def copy_options(self) -> sql.Composed:
        """Return the options of COPY … FROM STDIN that read this dialect."""
        options = [
            sql.SQL("format csv"),
            sql.SQL("delimiter {}").format(sql.Literal(self.delimiter)),
            sql.SQL("quote {}").format(sql.Literal(self.quote)),
            sql.SQL("escape {}").format(sql.Literal(self.escape)),
            sql.SQL("null {}").format(sql.Literal(self.null_string)),
        ]
        return sql.SQL(", ").join(options)


@dataclass(frozen=True)
class Block:
    """Whole records of one input, each ended by a line feed. `first_line` is a line of the input, counted from 1."""

    data: bytes
    records: int
    first_line: int


class Grammar:
    """Finds and counts the records of one dialect in bytes of UTF-8."""

    def __init__(self, dialect: Dialect) -> None:
        self._quote = dialect.quote.encode()
        self._escape = b"" if dialect.escape == dialect.quote else dialect.escape.encode()
        self._all_but_quotes_and_line_feeds = bytes(set(range(256)) - set(self._quote) - {0x0A})

    def count(self, data: bytes) -> int | None:
        """Return the number of records in `data`, which starts at a record; None where it does not end with one."""
        if self._quote not in data:
            return data.count(b"\n") if data.endswith(b"\n") else None
        structure = self._mask(data).translate(None, self._all_but_quotes_and_line_feeds)
        # Two quotes side by side hold no line feed between them; what is left are fields of several lines.
        structure = structure.replace(self._quote * 2, b"")
        if self._quote not in structure:
            return len(structure) if data.endswith(b"\n") else None
        outside_and_inside = structure.split(self._quote)
        if len(outside_and_inside) % 2 == 0 or not data.endswith(b"\n"):
            return None
        return sum(outside.count(b"\n") for outside in outside_and_inside[::2])

    def end_of_last(self, data: bytes) -> int:
        """Return the offset behind the last whole record in `data`, which starts at a record; 0 where there is none."""
        masked = self._mask(data)
        quotes_before = masked.count(self._quote)
        end = len(masked)
        while (line_feed := masked.rfind(b"\n", 0, end)) >= 0:
            quotes_before -= masked.count(self._quote, line_feed, end)
            if quotes_before % 2 == 0:
                return line_feed + 1
            end = line_feed
        return 0

    def end_of_first(self, data: bytes) -> int:
        """Return the offset behind the first whole record in `data`, which starts at a record; 0 where there is none."""
        masked = self._mask(data)
        quotes_before = 0
        start = 0
        while (line_feed := masked.find(b"\n", start)) >= 0:
            quotes_before += masked.count(self._quote, start, line_feed)
            start = line_feed + 1
            if quotes_before % 2 == 0:
                return start
        return 0

    def split(self, data: bytes) -> list[bytes]:
        """Return the records of `data`, each with its line feed; a last one that has no end stands as it is."""
        lines = data.splitlines(keepends=True) if b"\r" not in data else _lines(data)
        if self._quote not in data:
            return lines
        records: list[bytes] = []
        pending = b""
        for line in lines:
            pending += line
            if self._mask(pending).count(self._quote) % 2 == 0:
                records.append(pending)
                pending = b""
        return [*records, pending] if pending else records

    def _mask(self, data: bytes) -> bytes:
        """Blank out escaped characters, keeping every offset. Escapes and quotes are ASCII, so no character is torn."""
        if not self._escape or self._escape not in data:
            return data
        return data.replace(self._escape * 2, b"  ").replace(self._escape + self._quote, b"  ")


def cut(
    chunks: Iterable[bytes],
    dialect: Dialect,
    *,
    location: str,
    first_line: int = 1,
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> Iterator[Block]:
    """
    Cut chunks of UTF-8 CSV, which start at a record, into record-aligned blocks.

    A quote that is never closed would swallow what follows it. Where a record has no end within `max_record_bytes`, or
    the input ends inside of one, its first line becomes a block of its own (which the server refuses, so it becomes
    a reject) and reading goes on with the next line: the good records behind it are not lost.

    Raises:
        InputError: one line is longer than `max_record_bytes`.
    """
    grammar = Grammar(dialect)
    line = first_line
    pending = b""
    for chunk in chunks:
        # Nearly always the last line feed of a chunk ends a record, and then this is the only look at the data.
        end = chunk.rfind(b"\n") + 1
        data = b"".join((pending, memoryview(chunk)[:end]))
        if end and (records := grammar.count(data)) is not None:
            yield Block(data, records, line)
            line += data.count(b"\n")
            pending = chunk[end:]
            continue
        pending += chunk
        while block := _next_block(pending, grammar, line, location, max_record_bytes):
            pending = pending[len(block.data) :]
            line += block.data.count(b"\n")
            yield block
    while pending:
        if not pending.endswith(b"\n"):
            pending += b"\n"
        block = _next_block(pending, grammar, line, location, 0) or Block(pending, 1, line)
        pending = pending[len(block.data) :]
        line += block.data.count(b"\n")
        yield block


def _next_block(data: bytes, grammar: Grammar, line: int, location: str, max_record_bytes: int) -> Block | None:
    """Return the whole records at the start of `data`, or the first line of a record that is too long; None where more is needed."""
    end = grammar.end_of_last(data)
    if end:
        return Block(data[:end], grammar.count(data[:end]) or 0, line)
    if len(data) <= max_record_bytes:
        return None
    end = data.find(b"\n", 0, max_record_bytes or None) + 1
    if end:
        return Block(data[:end], 1, line)
    raise InputError(
        f"{location}, line {line}: the line is longer than {max_record_bytes:,} bytes; "
        "check the line endings and the delimiter, or set max_record_bytes in the source's external block"
    )


def _lines(data: bytes) -> list[bytes]:
    """Split at line feeds only; bytes.splitlines() would split at carriage returns as well."""
    lines = data.split(b"\n")
    last = lines.pop()
    return [line + b"\n" for line in lines] + ([last] if last else [])
