"""JSON Lines files, and JSON documents that hold an array of records."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain

from dpe_cli import machine
from dpe_cli.blocks import encodings
from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.blocks.inputs import Opened
from dpe_cli.sources.files.content import Content, Reading
from dpe_cli.sources.json import json_path
from dpe_cli.sources.json.documents import Document
from dpe_cli.sources.json.records import LINE_FEED, RECORD_SEPARATOR, JsonRecords
from dpe_cli.sources.options.files import JsonFiles, JsonLines
from dpe_cli.sources.read.lines import whole_lines
from dpe_cli.sources.read.rows import DIALECT

# More threads would compete with the server, which works on what the others have converted.
_CONVERTERS = min(4, machine.cores())


@contextmanager
def opened(content: Content, reading: Reading) -> Iterator[Opened]:
    """
    Open a JSON file.

    Raises:
        InputError: it is not valid JSON, or ends early.
        ContractError: a record has a member that the contract does not name.
    """
    options = reading.options
    assert isinstance(options, (JsonLines, JsonFiles))  # noqa: S101 implied by its file_format
    converter = partial(JsonRecords, reading.columns, ignores_extra=options.extra_columns == "ignore", declared_at=reading.declared_at)
    location, most = content.location, options.max_record_bytes
    if isinstance(options, JsonLines):
        yield _OpenedJson(whole_lines(_utf8(content), location=location, max_record_bytes=most), LINE_FEED, converter, location)
    else:
        document = Document(_utf8(content), json_path.parse(options.records), location=location, max_record_bytes=most)
        yield _OpenedJson(document.parts(), RECORD_SEPARATOR, converter, location)


class _OpenedJson:
    """Parts of a file, each with the line on which it starts."""

    dialect: Dialect = DIALECT

    def __init__(self, parts: Iterator[tuple[bytes, int]], separator: bytes, converter: Callable[[], JsonRecords], location: str) -> None:
        # Each converter converts one part at a time; none is used twice at once here.
        self._idle = [converter()]
        self.columns = self._idle[0].columns
        self._parts = parts
        self._separator = separator
        self._converter = converter
        self._location = location

    def missing(self) -> tuple[str, ...]:
        """Return the columns that no record had. All converters are idle once the blocks were read."""
        each = [records.missing() for records in self._idle]
        return tuple(name for name in each[0] if all(name in others for others in each))

    def blocks(self) -> Iterator[Block]:
        """Yield the records in order; parts are converted in parallel, because that is most of the work."""
        waiting: deque[Future[Block]] = deque()
        with ThreadPoolExecutor(_CONVERTERS, thread_name_prefix="json") as pool:
            try:
                for data, line in self._parts:
                    waiting.append(pool.submit(self._block, data, line))
                    if len(waiting) > _CONVERTERS:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for part in waiting:
                    part.cancel()

    def _block(self, data: bytes, line: int) -> Block:
        try:
            records = self._idle.pop()
        except IndexError:
            records = self._converter()
        try:
            return records.block(data, self._separator, location=self._location, first_line=line)
        finally:
            self._idle.append(records)


def _utf8(content: Content) -> Iterator[bytes]:
    """Yield UTF-8, the encoding of JSON (RFC 8259, section 8.1), or UTF-16 converted to it, if a byte order mark says so."""
    chunks = content.chunks()
    start = next(chunks, b"")
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    return encodings.to_utf8(chain([start], chunks), encodings.with_byte_order(encoding, start))
