"""The narrow waist: every source yields record-aligned blocks of CSV, counted independently of the server; every writer COPYs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from dpe_cli.errors import InputError
from dpe_cli.load.grammar import Dialect, Grammar, split_lines

BLOCK_BYTES = 2 * 1024 * 1024
MAX_RECORD_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Block:
    """
    Whole records of one input, each ended by a line feed. `first_line` is a line of the input, counted from 1.

    `broken` are the offsets of lines with a stray quote. Each counts as a record, and none can be loaded.
    """

    data: bytes
    records: int
    lines: int
    first_line: int
    broken: tuple[int, ...] = ()


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

    A stray quote makes one record of all lines up to the next quote. So a line is broken, and reading goes on with the
    next one, where the quotes that it opens enclose other lines but not a whole field, or are not closed within
    `max_record_bytes`, or never: the good records behind it are not lost.

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
        if end and (counted := grammar.count(data)):
            block = _checked(Block(data, *counted, line), grammar)
            pending = data[len(block.data) :] + chunk[end:]
            line += block.lines
            yield block
            continue
        pending += chunk
        while block_or_none := _whole_records(pending, grammar, line) or _first_of_too_long(pending, line, location, max_record_bytes):
            pending = pending[len(block_or_none.data) :]
            line += block_or_none.lines
            yield block_or_none
    if pending and not pending.endswith(b"\n"):
        pending += b"\n"
    while pending:
        block = _whole_records(pending, grammar, line) or _first_line(pending, line)
        pending = pending[len(block.data) :]
        line += block.lines
        yield block


def _whole_records(data: bytes, grammar: Grammar, line: int) -> Block | None:
    whole = data[: grammar.end_of_last(data)]
    counted = grammar.count(whole)
    return _checked(Block(whole, *counted, line), grammar) if counted else None


def _first_line(data: bytes, line: int) -> Block:
    """Return the line that opens quotes which are not closed."""
    return Block(data[: data.index(b"\n") + 1], 1, 1, line, broken=(0,))


def _first_of_too_long(data: bytes, line: int, location: str, max_record_bytes: int) -> Block | None:
    """Return the first line of a record without an end; None where the record may still become one."""
    if len(data) <= max_record_bytes:
        return None
    if b"\n" in data[:max_record_bytes]:
        return _first_line(data, line)
    raise InputError(
        f"{location}, line {line}: the line is longer than {max_record_bytes:,} bytes; "
        "check the line endings and the delimiter, or set max_record_bytes in the source's external block"
    )


def _checked(block: Block, grammar: Grammar) -> Block:
    """Return the block, or where quotes enclose several lines but not a whole field, what of it are records without those lines."""
    if block.records == block.lines or not grammar.has_stray_quote(block.data):
        return block
    lines = split_lines(block.data)
    starts = list(accumulate(map(len, lines), initial=0))
    broken: list[int] = []
    records = first = last = 0
    is_open = False
    while last < len(lines):
        is_open = grammar.is_open_after(lines[last], is_open=is_open)
        last += 1
        if is_open:
            continue
        if last - first > 1 and grammar.has_stray_quote(block.data[starts[first] : starts[last]]):
            broken.append(starts[first])
            last = first + 1
        records += 1
        first = last
    return Block(block.data[: starts[first]], records, first, block.first_line, tuple(broken))
