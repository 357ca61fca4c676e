"""Files of JSON Lines, and JSON documents that hold an array of records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from dpe_cli.load import encodings
from dpe_cli.load.blocks import Block
from dpe_cli.load.grammar import Dialect
from dpe_cli.load.inputs import Opened
from dpe_cli.sources import json_path
from dpe_cli.sources.content import Content, Reading
from dpe_cli.sources.file_options import JsonFiles, JsonLines
from dpe_cli.sources.json_documents import Document
from dpe_cli.sources.json_records import DIALECT, LINE_FEED, RECORD_SEPARATOR, JsonRecords
from dpe_cli.sources.lines import whole_lines


@contextmanager
def opened(content: Content, reading: Reading) -> Iterator[Opened]:
    """
    Open a file of JSON.

    Raises:
        InputError: it is not valid JSON, or ends early.
        ContractError: a record has a member that the contract does not name.
    """
    options = reading.options
    records = JsonRecords(reading.columns, ignores_extra=options.extra_columns == "ignore", told=reading.declared_at)
    yield _JsonLines(content, options, records) if isinstance(options, JsonLines) else _JsonDocument(content, options, records)  # type: ignore[arg-type]


class _JsonLines:
    dialect: Dialect = DIALECT

    def __init__(self, content: Content, options: JsonLines, records: JsonRecords) -> None:
        self.columns = records.columns
        self._content = content
        self._options = options
        self._records = records

    def blocks(self) -> Iterator[Block]:
        """Yield the records."""
        location = self._content.location
        for data, line in whole_lines(_utf8(self._content), location=location, max_record_bytes=self._options.max_record_bytes):
            yield self._records.block(data, LINE_FEED, location=location, first_line=line)


class _JsonDocument:
    dialect: Dialect = DIALECT

    def __init__(self, content: Content, options: JsonFiles, records: JsonRecords) -> None:
        self.columns = records.columns
        self._content = content
        self._options = options
        self._records = records

    def blocks(self) -> Iterator[Block]:
        """Yield the records."""
        location = self._content.location
        steps = json_path.parse(self._options.records)
        document = Document(_utf8(self._content), steps, location=location, max_record_bytes=self._options.max_record_bytes)
        for data, line in document.parts():
            yield self._records.block(data, RECORD_SEPARATOR, location=location, first_line=line)


def _utf8(content: Content) -> Iterator[bytes]:
    """Yield UTF-8, which JSON is (RFC 8259, section 8.1), or UTF-16 where a byte order mark says so."""
    chunks = content.chunks()
    start = next(chunks, b"")
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    return encodings.to_utf8(chain([start], chunks), encodings.with_byte_order(encoding, start))
