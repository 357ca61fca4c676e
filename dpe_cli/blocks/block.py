"""The narrow waist: every source yields record-aligned blocks of CSV, counted independently of the server; every writer COPYs them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

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
BAD_COPY_FILE_FORMAT = "22P04"


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

    Where `data` is not as it was delivered, `origin` returns the records as they were, and `refused` are those that could not
    even be read; they count as records, but are not in `data`.

    `copy_format`: what PostgreSQL wrote is passed on in its own formats, which it reads faster. Text becomes CSV when it needs
    repair (copy_text.py); a binary block cannot be split into records, so it is read again as text.

    `exact_for` are the types with which its values have been compared (exact_values.py): these load all of them unchanged.
    """

    data: bytes
    records: int
    lines: int
    first_line: int
    origin: Origin | None = None
    refused: tuple[tuple[Delivered, Fault], ...] = ()
    copy_format: CopyFormat = "csv"
    exact_for: Hashable = None

    def without_refused(self) -> Block:
        """Return the part that is CSV."""
        return replace(self, records=self.records - len(self.refused), refused=())

    def parts(self, size: int) -> Iterator[Block]:
        """Yield the block in parts of about `size` bytes; whole if a record spans several lines."""
        if self.records != self.lines:
            yield self
            return
        start, line = 0, self.first_line
        while start < len(self.data):
            end = self.data.find(b"\n", start + size) + 1 or len(self.data)
            data = self.data[start:end]
            lines = data.count(b"\n")
            yield Block(data, lines, lines, line, exact_for=self.exact_for)
            start, line = end, line + lines
