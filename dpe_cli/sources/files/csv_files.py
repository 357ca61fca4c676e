"""CSV files: the header's columns, and blocks of the records after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from dpe_cli.blocks import encodings, exact_values
from dpe_cli.blocks.block import Block
from dpe_cli.blocks.contract import Column, by_delivered_name, without_missing
from dpe_cli.blocks.csv_grammar import Dialect, Grammar, split
from dpe_cli.blocks.cutting import cut
from dpe_cli.blocks.strict_csv import StrictReader
from dpe_cli.errors import InputError
from dpe_cli.sources.files import find
from dpe_cli.sources.files.content import Content, Reading
from dpe_cli.sources.options.files import CsvFiles
from dpe_cli.sources.rejects.splitter import Rejected, Splitter

_MOST_NAMES_SHOWN = 5


@contextmanager
def opened(content: Content, reading: Reading) -> Iterator[OpenedCsv]:
    """
    Open a CSV file.

    Raises:
        InputError: it is empty, or its header is not valid.
    """
    options = reading.options
    assert isinstance(options, CsvFiles)  # noqa: S101 implied by its file_format
    yield OpenedCsv(content, options, reading.columns)


class OpenedCsv:
    """A file whose header has been read. `columns` are those of the header; without a header, those of the contract."""

    def __init__(self, content: Content, options: CsvFiles, columns: tuple[Column, ...]) -> None:
        self._content = content
        self._options = options
        chunks = content.chunks()
        start = next(chunks, b"")
        encoding = encodings.with_byte_order(options.encoding, start)
        self.dialect: Dialect = options.dialect(encoding)
        self._chunks = encodings.to_utf8(chain([start], chunks), encoding)
        self._contract = by_delivered_name(columns)
        self._first_line = 1
        self.columns = self._take_header() if options.header else self._by_position(columns)

    def blocks(self) -> Iterator[Block]:
        """Yield the records after the header, once."""
        return cut(
            self._chunks,
            self.dialect,
            location=self._content.location,
            first_line=self._first_line,
            max_record_bytes=self._options.max_record_bytes,
            values=exact_values.of_contract([self._contract.get(name) for name in self.columns], self.dialect),
        )

    def _by_position(self, columns: tuple[Column, ...]) -> tuple[str, ...]:
        """Return the contract's columns, without those at the end that may be missing if the first record does not have them."""
        if columns and columns[-1].may_be_missing:
            reader = StrictReader(self.dialect)
            data = b""
            while not (first := reader.first(data))[1] and (chunk := next(self._chunks, b"")):
                data += chunk
                if len(data) > self._options.max_record_bytes:
                    break
            self._chunks = chain([data], self._chunks)
            columns = without_missing(columns, len(Grammar(self.dialect).fields(first[0] or data))) if data else columns
        return tuple(column.name for column in columns)

    def _take_header(self) -> tuple[str, ...]:
        location = self._content.location
        reader = StrictReader(self.dialect)
        data = b""
        header, end = b"", 0
        for chunk in self._chunks:
            data += chunk
            header, end = reader.first(data)
            if end:
                break
            if len(data) > self._options.max_record_bytes:
                raise InputError(
                    f"{location}, line 1: the header does not end; check the line ends, and quote and escape in the external block"
                )
        if not data:
            raise InputError(f"{location}: the file is empty; it needs at least a header, or `header: false` in the external block")
        if not end:
            header, end = reader.first(data + b"\n")
        names = _parse_header(header, Grammar(self.dialect), self.dialect, location)
        self._chunks = chain([data[end:]], self._chunks)
        self._first_line += data.count(b"\n", 0, end)
        return names


def _parse_header(header: bytes, grammar: Grammar, dialect: Dialect, location: str) -> tuple[str, ...]:
    if not header:
        raise InputError(
            f"{location}, line 1: a quote in the header does not enclose a whole name, or is never closed; "
            "correct quote or escape in the external block, or ask the sender for another header"
        )
    if invalid := encodings.invalid_bytes(header, dialect.encoding):
        sequence = " ".join(f"0x{byte:02x}" for byte in invalid)
        raise InputError(
            f"{location}, line 1: the header is not valid {dialect.encoding} ({sequence}); "
            "correct encoding or compression in the external block"
        )
    if b"\r" in grammar.outlines(header)[0]:
        raise InputError(f"{location}, line 1: has a carriage return without a line feed; convert the line ends to line feeds")
    names = tuple(name.decode() for name in grammar.fields(header))
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        listed = ", ".join(map(repr, twice[:_MOST_NAMES_SHOWN]))
        listed += f" and {len(twice) - _MOST_NAMES_SHOWN:,} others" if len(twice) > _MOST_NAMES_SHOWN else ""
        raise InputError(f"{location}, line 1: the header names {listed} more than once; ask the sender for distinct names")
    return names


def splitter(options: CsvFiles, columns: Sequence[Column], rejects: Sequence[Rejected], *, dialect: Dialect, project_dir: Path) -> Splitter:
    """Return a function that splits a record at its delimiters, if its file still tells the columns."""
    delivered = _delivered_columns(options, columns, rejects, project_dir)

    def of_record(reject: Rejected) -> Mapping[str, str] | None:
        names, fields = delivered.get(reject.load_id, ()), split(reject.raw, dialect)
        if fields is not None and not options.header:
            names = tuple(column.name for column in without_missing(columns, len(fields)))
        return dict(zip(names, fields, strict=True)) if fields is not None and len(fields) == len(names) else None

    return of_record


def _delivered_columns(
    options: CsvFiles, columns: Sequence[Column], rejects: Sequence[Rejected], project_dir: Path
) -> dict[int, tuple[str, ...]]:
    """Return the columns of each load's file, in their order. Files that changed or were deleted are left out."""
    loads = {reject.load_id: (reject.location, reject.content_hash) for reject in rejects}
    if not options.header:
        return dict.fromkeys(loads, tuple(column.name for column in columns))
    hashes = dict(loads.values())
    try:
        found = find.find(options, columns, project_dir=project_dir) if loads else []
    except InputError:
        found = []
    by_location: dict[str, tuple[str, ...]] = {}
    for file in found:
        if file.location in hashes and _hash(file) == hashes[file.location]:
            with file.open() as opened:
                by_location[file.location] = opened.columns
    return {load_id: by_location[location] for load_id, (location, _) in loads.items() if location in by_location}


def _hash(file: find.File) -> str | None:
    try:
        return file.content_hash()
    except InputError:
        return None
