"""Fixed-width files: DuckDB cuts the fields out of the lines, column by column, at C speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from dpe_cli.blocks import encodings
from dpe_cli.blocks.block import Block, Delivered, Fault, not_text
from dpe_cli.blocks.contract import Column, without_missing
from dpe_cli.blocks.csv_grammar import Dialect, quoted
from dpe_cli.errors import ExtractError
from dpe_cli.sources.files.content import Content, Reading
from dpe_cli.sources.options.files import FixedWidthFiles
from dpe_cli.sources.read import duckdb_connections
from dpe_cli.sources.read.lines import whole_lines
from dpe_cli.sources.read.rows import DIALECT, literal
from dpe_cli.sources.rejects.splitter import Rejected, Splitter

BAD_FORMAT = "22P04"


@contextmanager
def opened(content: Content, reading: Reading) -> Iterator[OpenedFixedWidth]:
    """
    Open a fixed-width file.

    Raises:
        InputError: it cannot be read, or a line is too long.
    """
    options = reading.options
    assert isinstance(options, FixedWidthFiles)  # noqa: S101 implied by its file_format
    yield OpenedFixedWidth(content, options, reading.columns)


class OpenedFixedWidth:
    """A file whose columns are the contract's."""

    dialect: Dialect = DIALECT

    def __init__(self, content: Content, options: FixedWidthFiles, columns: Sequence[Column]) -> None:
        self._content = content
        self._options = options
        start = next(chunks := content.chunks(), b"")
        self._chunks = chain([start], chunks)
        self._encoding = encodings.with_byte_order(options.encoding, start)
        kept = self._present(start, columns)
        self.columns = tuple(column.name for column in kept)
        self._places = places(columns)[: len(kept)]
        self._connection = duckdb_connections.connect(by="reading fixed-width files")

    def blocks(self) -> Iterator[Block]:
        """Yield the lines after the header's."""
        location, encoding = self._content.location, self._encoding
        text = encodings.to_utf8(self._chunks, encoding)
        to_skip = self._options.header_lines
        for data, line in whole_lines(text, location=location, max_record_bytes=self._options.max_record_bytes):
            skipped = 0
            while to_skip and data:
                end = data.find(b"\n") + 1 or len(data)
                data = data[end:]  # noqa: PLW2901 without the header
                skipped += 1
                to_skip -= 1
            if data:
                yield self._block(data, line + skipped, encoding)

    def _present(self, start: bytes, columns: Sequence[Column]) -> Sequence[Column]:
        """Return the columns, without those at the end that may be missing if the first record ends before them."""
        if self._options.short_lines == "pad" or not columns[-1].may_be_missing:
            return columns
        lines = next(encodings.to_utf8(iter([start]), self._encoding), b"").split(b"\n")
        first = lines[self._options.header_lines : self._options.header_lines + 1]
        width = len(first[0].removesuffix(b"\r").decode(errors="replace")) if first else 0
        return without_missing(columns, sum(place + size - 1 <= width for place, size in places(columns))) if width else columns

    def _block(self, data: bytes, first_line: int, encoding: str) -> Block:
        raws = _TextLines(data, first_line, encoding)
        lines = data.removesuffix(b"\n").count(b"\n") + 1
        refused: dict[int, Fault] = {}
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text, refused = raws.readable()
        csv, kept = self._connection.execute(self._query, [text.removesuffix("\n")]).fetchone()
        if kept != lines or refused:
            found = self._connection.execute(self._query_of_refused, [text.removesuffix("\n")]).fetchall()
            refused = {int(index): _fault(str(why)) for index, why in found} | refused
        if kept + len(refused) != lines:
            raise ExtractError(
                f"{self._content.location}, line {first_line}: {lines:,} records were read, but {kept:,} have the declared width and "
                f"{len(refused):,} were refused; nothing was loaded, please report this"
            )
        csv = bytes(csv or b"")
        refusals = tuple((raws.delivered(index), fault) for index, fault in sorted(refused.items()))
        return Block(csv, kept + len(refusals), csv.count(b"\n"), 1, origin=_KeptLines(raws, refused), refused=refusals)

    @property
    def _fault_of(self) -> str:
        """Return SQL for what is wrong with a line; null if nothing is."""
        width = max(start + width - 1 for start, width in self._places)
        is_short = "false" if self._options.short_lines == "pad" else f"length(line) < {width}"
        covered = {place for start, width in self._places for place in range(start, start + width)}
        gaps = [f"substring(line, {place}, 1)" for place in range(1, width + 1) if place not in covered]
        outside = " || ".join([*gaps, f"substring(line, {width + 1})"])
        has_more = "false" if self._options.extra_columns == "ignore" else f"trim({outside}) <> ''"
        return f"""
            case
                when line = '' then 'the line is empty'
                when {is_short} then 'the line has ' || length(line) || ' characters, but the columns need {width}'
                when {has_more} then 'the line has text outside the columns'
            end
        """

    @property
    def _lines_of_text(self) -> str:
        return """
            split as (select string_split($1, chr(10)) as lines),
            numbered as (select unnest(lines) as line_read, unnest(range(len(lines))) as index from split),
            records as (select rtrim(line_read, chr(13)) as line, index from numbered)
        """

    @property
    def _query(self) -> str:
        null = literal(self._options.null_string)
        fields = " || ',' || ".join(
            f"""coalesce('"' || replace(nullif(nullif(trim(substring(line, {start}, {width})), ''), {null}), '"', '""') || '"', '')"""
            for start, width in self._places
        )
        return f"""
            with {self._lines_of_text}
            select encode(string_agg({fields} || chr(10), '')), count(*) from records where ({self._fault_of}) is null
        """

    @property
    def _query_of_refused(self) -> str:
        return f"""
            with {self._lines_of_text},
            judged as (select index, {self._fault_of} as fault from records)
            select index, fault from judged where fault is not null
        """


def places(columns: Sequence[Column]) -> list[tuple[int, int]]:
    """Return each column's first character, counted from 1, and its width; a column without a start follows the previous one."""
    found: list[tuple[int, int]] = []
    end = 0
    for column in columns:
        start = column.start or end + 1
        found.append((start, column.width or 0))
        end = start + (column.width or 0) - 1
    return found


class _TextLines:
    """The lines of a block as they were delivered."""

    def __init__(self, data: bytes, first_line: int, encoding: str) -> None:
        self.raws = data.removesuffix(b"\n").split(b"\n")
        self._first_line = first_line
        self._encoding = encoding

    def readable(self) -> tuple[str, dict[int, Fault]]:
        """Return the lines that are text, and the faults of the others."""
        refused: dict[int, Fault] = {}
        lines = list(self.raws)
        for index, raw in enumerate(self.raws):
            if invalid := encodings.invalid_bytes(raw, self._encoding):
                refused[index] = not_text(invalid, self._encoding)
                # An empty line never fits a layout.
                lines[index] = b""
        return b"\n".join(lines).decode(), refused

    def delivered(self, index: int) -> Delivered:
        """Return a line."""
        raw = self.raws[index].removesuffix(b"\r")
        return Delivered(self._first_line + index, *encodings.readable(raw, self._encoding))


class _KeptLines:
    """An Origin: the lines that were not refused."""

    def __init__(self, lines: _TextLines, refused: dict[int, Fault]) -> None:
        self._lines = lines
        self._indexes = [index for index in range(len(lines.raws)) if index not in refused] if refused else range(len(lines.raws))

    def __call__(self, number: int, csv: bytes) -> Delivered:
        """Return the n-th line."""
        del csv
        return self._lines.delivered(self._indexes[number])


def _fault(why: str) -> Fault:
    return Fault(None, BAD_FORMAT, why)


def splitter(
    options: FixedWidthFiles, columns: Sequence[Column], rejects: Sequence[Rejected], *, dialect: Dialect, project_dir: Path
) -> Splitter:
    """Return a function that cuts a line of the right length at the columns' characters."""
    del rejects, project_dir
    found = places(columns)
    ends = [start + width - 1 for start, width in found]

    def of_line(reject: Rejected) -> Mapping[str, str] | None:
        kept = without_missing(columns, sum(end <= len(reject.raw) for end in ends))
        values = [reject.raw[start - 1 : start - 1 + width].strip(" ") for start, width in found[: len(kept)]]
        fields = ["" if value in {"", options.null_string} else quoted(value, dialect) for value in values]
        is_whole = len(reject.raw) == max(ends[: len(kept)])
        return dict(zip([column.name for column in kept], fields, strict=True)) if is_whole else None

    return of_line
