"""Records that are not text, as CSV blocks: written by DuckDB, or made of rows that only Python can read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from dpe_cli.blocks.block import BLOCK_BYTES, Block, Delivered
from dpe_cli.blocks.csv_grammar import Dialect, Grammar, split

# A null is nothing, and an empty text is a pair of quotes.
DIALECT = Dialect()
_TEN_HOURS = 10 * 60 * 60
_TO_QUOTE = set('",\r\n\\')


def literal(text: str) -> str:
    """Return a text as a literal in DuckDB's SQL."""
    return "'" + text.replace("'", "''") + "'"


def numbered(blocks: Iterable[Block], columns: Sequence[str]) -> Iterator[Block]:
    """Yield blocks whose records are numbered, from 1 on, and shown as JSON objects of texts."""
    first = 1
    for block in blocks:
        yield replace(block, origin=_Numbered(range(first, first + block.records), columns))
        first += block.records


def at(block: Block, columns: Sequence[str], numbers: Sequence[int]) -> Block:
    """Return a block whose records have the given numbers, and are shown as JSON objects of texts."""
    return replace(block, origin=_Numbered(numbers[: block.records], columns))


class _Numbered:
    """An Origin: records by their numbers."""

    def __init__(self, numbers: Sequence[int], columns: Sequence[str]) -> None:
        self._numbers = numbers
        self._columns = columns

    def __call__(self, number: int, csv: bytes) -> Delivered:
        """Return the record as a JSON object; an empty field without quotes is null."""
        values = Grammar(DIALECT).fields(csv)
        written = split(csv.decode(errors="replace"), DIALECT) or []
        record = {
            name: value.decode(errors="backslashreplace") if as_written else None
            # A truncated record has fewer.
            for name, value, as_written in zip(self._columns, values, written, strict=False)
        }
        return Delivered(self._numbers[number], json.dumps(record, ensure_ascii=False))


def blocks(rows: Iterable[Sequence[Any]]) -> Iterator[Block]:
    """Yield rows of Python values as blocks."""
    lines: list[str] = []
    size = 0
    for row in rows:
        line = ",".join([_field(value) for value in row]) + "\n"
        lines.append(line)
        size += len(line)
        if size >= BLOCK_BYTES:
            yield _block(lines)
            lines, size = [], 0
    if lines:
        yield _block(lines)


def _block(lines: Sequence[str]) -> Block:
    text = "".join(lines)
    try:
        # Bytes that are not UTF-8 become what they were; the loader rejects their row.
        data = text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        # Half of a surrogate pair, which is not text either.
        data = text.encode(errors="surrogatepass")
    return Block(data, len(lines), data.count(b"\n"), 1)


def _field(value: Any) -> str:
    """Write a value as PostgreSQL reads it."""
    if value is None:
        return ""
    if isinstance(value, str):
        text = value
    elif isinstance(value, (bytes, bytearray, memoryview)):
        text = f"\\x{bytes(value).hex()}"
    elif isinstance(value, (dict, list, tuple)):
        text = json.dumps(value, ensure_ascii=False, default=str)
    elif isinstance(value, timedelta):
        # A time of day can be loaded into a time as well as into an interval; Python writes its hour with one digit.
        day = str(value) if value.seconds >= _TEN_HOURS else f"0{value}"
        text = f"{value.days} days {value.seconds + value.microseconds / 1e6:f} seconds" if value.days else day
    else:
        text = str(value)
    if text and _TO_QUOTE.isdisjoint(text):
        return text
    escaped = text.replace('"', '""')
    return f'"{escaped}"'
