"""Cuts chunks of CSV into blocks of whole records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dpe_cli.blocks.block import MAX_RECORD_BYTES, Block
from dpe_cli.blocks.csv_grammar import Dialect, Grammar
from dpe_cli.blocks.exact_values import ExactValues
from dpe_cli.blocks.strict_csv import StrictReader
from dpe_cli.errors import InputError


def cut(
    chunks: Iterable[bytes],
    dialect: Dialect,
    *,
    location: str,
    first_line: int = 1,
    max_record_bytes: int = MAX_RECORD_BYTES,
    values: ExactValues | None = None,
) -> Iterator[Block]:
    """
    Cut chunks of UTF-8 CSV, which start at a record, into record-aligned blocks.

    A quote that is not closed makes one record of all lines after it. So only its own line is refused, and reading continues with the next
    one, if it encloses other lines but not a whole field, or is not closed within `max_record_bytes`, or never.

    Values are compared with what the types in `values` load unchanged, because the same look shows that quotes enclose whole fields.

    Raises:
        InputError: one line is longer than `max_record_bytes`.
    """
    cutter = _Cutter(dialect, location, first_line, max_record_bytes, values)
    for chunk in chunks:
        yield from cutter.add(chunk)
    yield from cutter.finish()


class _Cutter:
    """Holds what was read of a record that has not ended yet."""

    def __init__(self, dialect: Dialect, location: str, first_line: int, max_record_bytes: int, values: ExactValues | None) -> None:
        self._values = values
        self._grammar = Grammar(dialect)
        self._reader = StrictReader(dialect)
        self._location = location
        self._line = first_line
        self._most = max_record_bytes
        self._pending = b""
        # A record of many chunks is not read again for each of them.
        self._read_again_at = 0

    def add(self, chunk: bytes) -> Iterator[Block]:
        """Yield the records that end in this chunk."""
        # Nearly always the last line feed of a chunk ends a record; then the data is scanned only once.
        end = chunk.rfind(b"\n") + 1
        data = b"".join((self._pending, memoryview(chunk)[:end]))
        if end and (block := self._as_it_is(data)):
            self._pending = chunk[end:]
            yield block
            return
        self._pending += chunk
        while found := self._whole_records() or self._around_too_long():
            yield found

    def finish(self) -> Iterator[Block]:
        """Yield the rest; the last record may lack its line feed."""
        if self._pending and not self._pending.endswith(b"\n"):
            self._pending += b"\n"
        while self._pending:
            yield self._whole_records() or self._read(must_end=len(self._pending))

    def _whole_records(self) -> Block | None:
        whole = self._pending[: self._grammar.end_of_last(self._pending)]
        if block := self._as_it_is(whole):
            self._pending = self._pending[len(whole) :]
            return block
        if len(self._pending) < self._read_again_at:
            return None
        block = self._read()
        self._read_again_at = 0 if block.records else 2 * len(self._pending)
        return block if block.records else None

    def _around_too_long(self) -> Block | None:
        """Return the first records of data that starts with one that has no end; None if its end may still come."""
        if len(self._pending) <= self._most:
            return None
        if b"\n" in self._pending[: self._most]:
            return self._read(must_end=len(self._pending) - self._most)
        raise InputError(
            f"{self._location}, line {self._line}: the line is longer than {self._most:,} bytes; "
            "check the line endings and the delimiter, or set max_record_bytes in the source's external block"
        )

    def _read(self, *, must_end: int = 0) -> Block:
        block, taken = self._reader.read(self._pending, first_line=self._line, must_end=must_end)
        self._line += self._pending.count(b"\n", 0, taken)
        self._pending = self._pending[taken:]
        return block

    def _as_it_is(self, data: bytes) -> Block | None:
        """Return data as a block if it is whole records that COPY reads as they are meant."""
        counted = self._grammar.count(data)
        if counted is None:
            return None
        is_exact = self._values is not None and self._values.match(data)
        if not is_exact and not self._reader.agrees(data):
            return None
        records, lines = counted
        block = Block(data, records, lines, self._line, exact_for=self._values.key if self._values and is_exact else None)
        self._line += lines
        return block
