"""The narrow waist: every source yields record-aligned blocks of CSV, counted independently of the server; every writer COPYs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

from dpe_cli.blocks.csv_grammar import Dialect, Grammar, split_lines
from dpe_cli.errors import InputError

BLOCK_BYTES = 2 * 1024 * 1024
MAX_RECORD_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Delivered:
    r"""
    A record as it was delivered. `position` is the line of the input on which it starts, or its number.

    `raw_bytes` holds the delivered bytes where they are not valid text; `raw` then shows those as \xNN.
    """

    position: int
    raw: str
    raw_bytes: bytes | None = None


@dataclass(frozen=True)
class Fault:
    """Why a record is rejected: the column if known, the SQLSTATE, and the reason."""

    column: str | None
    sqlstate: str
    reason: str


CopyFormat = Literal["csv", "text", "binary"]

CHARACTER_NOT_IN_REPERTOIRE = "22021"


def not_text(invalid: bytes, encoding: str) -> Fault:
    """Report, in the server's words, bytes that are not valid in the encoding of their input."""
    sequence = " ".join(f"0x{byte:02x}" for byte in invalid)
    name = "UTF8" if encoding == "utf-8" else encoding
    return Fault(None, CHARACTER_NOT_IN_REPERTOIRE, f'invalid byte sequence for encoding "{name}": {sequence}')


# Returns a record of a block as it was delivered, given its index in the block (from 0) and its CSV.
Origin = Callable[[int, bytes], Delivered]


@dataclass(frozen=True)
class Block:
    """
    Whole records of one input, each ended by a line feed. `first_line` is a line of the input, counted from 1.

    `broken` are the offsets of lines with a stray quote. Each counts as a record, and none can be loaded.

    Where the input is not CSV, `origin` returns its records as they were delivered, and `refused` are those that could not
    even be read; they count as records, but are not in `data`.

    `copy_format`: what PostgreSQL wrote is passed on in its own formats, which it reads faster. Text becomes CSV when it needs
    repair (copy_text.py); a binary block cannot be split into records, so it is read again as text.
    """

    data: bytes
    records: int
    lines: int
    first_line: int
    broken: tuple[int, ...] = ()
    origin: Origin | None = None
    refused: tuple[tuple[Delivered, Fault], ...] = ()
    copy_format: CopyFormat = "csv"

    def without_refused(self) -> Block:
        """Return the part that is CSV."""
        return replace(self, records=self.records - len(self.refused), refused=())

    def parts(self, size: int) -> Iterator[Block]:
        """Yield the block in parts of about `size` bytes; whole if a record spans several lines."""
        if self.records != self.lines or self.broken:
            yield self
            return
        start, line = 0, self.first_line
        while start < len(self.data):
            end = self.data.find(b"\n", start + size) + 1 or len(self.data)
            data = self.data[start:end]
            lines = data.count(b"\n")
            yield Block(data, lines, lines, line)
            start, line = end, line + lines


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

    A stray quote makes one record of all lines up to the next quote. So a line is treated as broken, and reading continues with
    the next one, if the quotes that it opens enclose other lines but not a whole field, or are not closed within
    `max_record_bytes`, or never. The good records after it are not lost.

    Raises:
        InputError: one line is longer than `max_record_bytes`.
    """
    grammar = Grammar(dialect)
    line = first_line
    pending = b""
    for chunk in chunks:
        # Nearly always the last line feed of a chunk ends a record; then the data is scanned only once.
        end = chunk.rfind(b"\n") + 1
        data = b"".join((pending, memoryview(chunk)[:end]))
        if end and (counted := grammar.count(data)):
            block = _checked(Block(data, *counted, line), grammar)
            pending = data[len(block.data) :] + chunk[end:]
            line += block.lines
            yield block
            continue
        pending += chunk
        while found := _whole_records(pending, grammar, line) or _around_too_long(pending, grammar, line, location, max_record_bytes):
            pending = pending[len(found.data) :]
            line += found.lines
            yield found
    if pending and not pending.endswith(b"\n"):
        pending += b"\n"
    while pending:
        block = _whole_records(pending, grammar, line) or _around_broken(pending, grammar, line, must_end=len(pending))
        pending = pending[len(block.data) :]
        line += block.lines
        yield block


def _whole_records(data: bytes, grammar: Grammar, line: int) -> Block | None:
    whole = data[: grammar.end_of_last(data)]
    counted = grammar.count(whole)
    return _checked(Block(whole, *counted, line), grammar) if counted else None


def _around_too_long(data: bytes, grammar: Grammar, line: int, location: str, max_record_bytes: int) -> Block | None:
    """Return the first records of data that starts with one that has no end; None if its end may still come."""
    if len(data) <= max_record_bytes:
        return None
    if b"\n" in data[:max_record_bytes]:
        return _around_broken(data, grammar, line, must_end=len(data) - max_record_bytes)
    raise InputError(
        f"{location}, line {line}: the line is longer than {max_record_bytes:,} bytes; "
        "check the line endings and the delimiter, or set max_record_bytes in the source's external block"
    )


def _checked(block: Block, grammar: Grammar) -> Block:
    """Return the block; or, if quotes enclose several lines but not a whole field, the records before those lines."""
    if block.records == block.lines or not grammar.has_stray_quote(block.data):
        return block
    return _around_broken(block.data, grammar, block.first_line)


def _around_broken(data: bytes, grammar: Grammar, line: int, *, must_end: int = 0) -> Block:
    """
    Split `data` into records line by line, so that a line with a stray quote spoils no other line.

    A record that starts before the offset `must_end` and does not end is broken too; after it, an unfinished record is left out.
    """
    lines = split_lines(data)
    starts = list(accumulate(map(len, lines), initial=0))
    # Each line is read at most twice; reading it again with every broken line before it would take quadratic time.
    closing = len(lines)
    ends: list[int] = []
    for number in range(len(lines) - 1, -1, -1):
        is_whole = lines[number].endswith(b"\n")
        ends.append(number if is_whole and not grammar.is_open_after(lines[number], is_open=False) else closing)
        if is_whole and not grammar.is_open_after(lines[number], is_open=True):
            closing = number
    ends.reverse()
    broken: list[int] = []
    first = records = 0
    while first < len(lines) and lines[first].endswith(b"\n"):
        last = ends[first]
        if last == len(lines) and starts[first] >= must_end:
            break
        if last == len(lines) or (last > first and grammar.has_stray_quote(data, starts[first], starts[last + 1])):
            broken.append(starts[first])
            last = first
        records += 1
        first = last + 1
    return Block(data[: starts[first]], records, first, line, tuple(broken))
