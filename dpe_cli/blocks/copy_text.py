r"""
COPY's text format, as PostgreSQL writes it: one record per line, fields separated by tabs, \N for null.

The server writes and reads it faster than CSV. Only a server can have written it, so it is passed on unchanged, and converted
to CSV only if something in it cannot be loaded (PostgreSQL documentation, "COPY", text format).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from psycopg import sql

from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect, split_lines

# How nulls and empty texts look in CSV: a null is nothing, an empty text is a pair of quotes.
CSV = Dialect()
# No text has a NUL, so nothing is quoted.
TEXT = Dialect("\t", "\0", "\0", "\\N")
COPY_OPTIONS = sql.SQL("format text, encoding 'UTF8'")
BINARY_COPY_OPTIONS = sql.SQL("format binary, encoding 'UTF8'")

_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_MEANINGS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def cut(chunks: Iterable[bytes]) -> Iterator[Block]:
    """Cut what COPY wrote into blocks of whole records."""
    line = 1
    pending = b""
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        data = b"".join((pending, memoryview(chunk)[:end])) if end else b""
        pending = chunk[end:] if end else pending + chunk
        if data:
            records = data.count(b"\n")
            yield Block(data, records, records, line, copy_format="text")
            line += records
    if pending:
        # The writer stopped in the middle of a record, which the server will refuse.
        yield Block(pending + b"\n", 1, 1, line, copy_format="text")


def as_csv(block: Block) -> Block:
    """Convert a block to CSV, record by record."""
    data = b"".join(map(csv_record, split_lines(block.data)))
    return Block(data, block.records, data.count(b"\n"), block.first_line, origin=block.origin)


def csv_record(line: bytes) -> bytes:
    """Convert a record to CSV."""
    return b",".join([_csv_field(field) for field in line.removesuffix(b"\n").split(b"\t")]) + b"\n"


def _csv_field(field: bytes) -> bytes:
    return b"" if field == b"\\N" else b'"%b"' % plain(field).replace(b'"', b'""')


def plain(field: bytes) -> bytes:
    """Return the value of a field that is not null."""
    return _ESCAPED.sub(lambda found: _MEANINGS.get(found[1], found[1]), field) if b"\\" in field else field
