"""Options of file sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, MinLen
from typing_extensions import Doc

from dpe_cli.blocks.block import MAX_RECORD_BYTES
from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.sources import secrets
from dpe_cli.sources.options.base import (
    External,
    faults_of_encoding,
    faults_of_paths,
    faults_of_places,
    faults_of_records,
    faults_of_url,
    nearest,
)


@dataclass(frozen=True, kw_only=True)
class Files(External):
    """Files, each loaded once, recognized by its content."""

    compression: Annotated[
        Literal["auto", "none", "gz", "bz2", "xz", "zst", "zip"], Doc("auto: by the name's ending; each member of a zip counts as a file")
    ] = "auto"
    changed_files: Annotated[
        Literal["add", "replace"], Doc("whether the new content of a changed file adds records, or replaces its earlier ones")
    ] = "add"
    follow_links: Annotated[
        bool, Doc("follow symbolic links out of the directory of the location, so that its senders choose what dpe reads")
    ] = False
    storage_options: Annotated[
        dict[str, str | int | float | bool], Doc("settings of an object store for fsspec: endpoint_url, anon, …; write secrets as ${NAME}")
    ] = field(default_factory=dict)
    allow_private_addresses: Annotated[bool, Doc("allow http(s):// URLs that resolve to private networks or this machine")] = False
    timeout: Annotated[float, Gt(0), Doc("seconds to wait for a store or server to list files, or to send the next part of one")] = 600

    def faults_of_place(self) -> Iterator[str]:
        """Yield mistakes in the location of the files."""
        yield from super().faults_of_place()
        scheme, separator, _ = self.location.partition("://")
        if not separator:
            return
        if scheme not in PLACES:
            yield f"location: {scheme}:// is not supported for files{nearest(scheme, PLACES)}"
            return
        yield from faults_of_url(self.location)
        for name, value in self.storage_options.items():
            is_secret = any(part in name.lower() for part in _SECRET_OPTIONS) and name not in _PUBLIC_OPTIONS
            if is_secret and isinstance(value, str) and not secrets.is_reference(value):
                yield f"storage_options: {name} would end up in dbt's manifest; write ${{NAME}} and set NAME in the environment"


# Where files may be besides this machine; fsspec's names.
PLACES = ("s3", "gs", "az", "abfs", "sftp", "http", "https")
# The quote of files whose fields are never quoted.
_NO_QUOTE = "none"
_SECRET_OPTIONS = ("secret", "password", "token", "key")
# Of SFTP servers: the name of a file, and what to do with unknown servers.
_PUBLIC_OPTIONS = ("key_filename", "host_key_policy")


@dataclass(frozen=True, kw_only=True)
class CsvFiles(Files):
    """CSV files."""

    opener: ClassVar[str] = "dpe_cli.sources.files.csv_files:opened"
    splitter: ClassVar[str] = "dpe_cli.sources.files.csv_files:splitter"

    file_format: Annotated[Literal["csv"], Doc("CSV, with the given delimiter, quote and escape")]
    delimiter: Annotated[str, Doc("a single ASCII character between fields")] = ","
    quote: Annotated[str, Doc("a single ASCII character around fields; none if fields are never quoted")] = '"'
    escape: Annotated[str, Doc("the character before a quote within quotes; by default quotes are doubled")] | None = None
    null_string: Annotated[str, Doc("how a missing value is written")] = ""
    null_quoted: Annotated[bool, Doc("whether that means a missing value within quotes, too; also a column's meta")] = False
    header: Annotated[bool, Doc("whether the first record names the columns")] = True
    encoding: Annotated[str, Doc("any encoding that Python knows: utf-8, utf-16, latin-1, …")] = "utf-8"
    max_record_bytes: Annotated[int, Gt(0), Doc("a longer line is refused")] = MAX_RECORD_BYTES

    def dialect(self, encoding: str) -> Dialect:
        """Return the CSV dialect of the files, given their detected encoding."""
        quote = "" if self.quote == _NO_QUOTE else self.quote
        return Dialect(self.delimiter, quote, (self.escape or quote) if quote else "", self.null_string, encoding, self.null_quoted)

    def faults(self) -> Iterator[str]:
        """Yield mistakes that types cannot express."""
        for name in ("delimiter", "quote", "escape"):
            value = getattr(self, name)
            if name == "quote" and value == _NO_QUOTE:
                continue
            if value is not None and (len(value) != 1 or not value.isascii() or value in "\r\n\0"):
                yield f"{name}: has to be a single ASCII character"
        yield from faults_of_encoding(self.encoding)
        if self.delimiter in {self.quote, self.escape}:
            yield "delimiter has to differ from quote and escape"
        if self.quote == _NO_QUOTE and self.escape is not None:
            yield "escape: has no meaning with quote: none; remove it"
        if any(character in self.null_string for character in (self.delimiter, self.quote, "\r", "\n", "\0")):
            yield "null_string may not hold the delimiter, the quote or a line end"

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield mistakes in the columns of records without a header."""
        yield from super().faults_of_columns(columns)
        if not self.header:
            yield from faults_of_places(columns)


@dataclass(frozen=True, kw_only=True)
class JsonLines(Files):
    """JSON Lines files: one JSON object per line."""

    documentation: ClassVar[str] = "docs/guides/sources/json.md"
    opener: ClassVar[str] = "dpe_cli.sources.files.json_files:opened"

    file_format: Annotated[Literal["jsonl"], Doc("JSON Lines: one JSON object per line")]
    max_record_bytes: Annotated[int, Gt(0), Doc("a longer line is refused")] = MAX_RECORD_BYTES

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield mistakes in paths."""
        return faults_of_paths(columns)


@dataclass(frozen=True, kw_only=True)
class JsonFiles(Files):
    """JSON files, each a document that holds an array of records."""

    documentation: ClassVar[str] = "docs/guides/sources/json.md"
    opener: ClassVar[str] = "dpe_cli.sources.files.json_files:opened"

    file_format: Annotated[Literal["json"], Doc("a JSON document that holds an array of records")]
    records: Annotated[str, Doc("the path of the array of records, such as $.data.items; $ if the document itself is the array")] = "$"
    max_record_bytes: Annotated[int, Gt(0), Doc("a longer record is refused")] = MAX_RECORD_BYTES

    def faults(self) -> Iterator[str]:
        """Yield mistakes in the path of the records."""
        return faults_of_records(self.records)

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield mistakes in paths."""
        return faults_of_paths(columns)


@dataclass(frozen=True, kw_only=True)
class ParquetFiles(Files):
    """Parquet files."""

    documentation: ClassVar[str] = "docs/guides/sources/parquet.md"
    opener: ClassVar[str] = "dpe_cli.sources.files.parquet:opened"

    file_format: Annotated[Literal["parquet"], Doc("Apache Parquet")]


@dataclass(frozen=True, kw_only=True)
class ExcelFiles(Files):
    """Excel workbooks (.xlsx), with one sheet that is read."""

    documentation: ClassVar[str] = "docs/guides/sources/excel.md"
    opener: ClassVar[str] = "dpe_cli.sources.files.excel:opened"

    file_format: Annotated[Literal["excel"], Doc("Excel workbooks (.xlsx)")]
    sheet: Annotated[str, MinLen(1), Doc("the name of the sheet; by default the first")] | None = None
    header_row: Annotated[int, Ge(1), Doc("the row that names the columns; rows above it are skipped")] = 1


@dataclass(frozen=True, kw_only=True)
class FixedWidthFiles(Files):
    """Files whose fields are at the same characters of every line."""

    documentation: ClassVar[str] = "docs/guides/sources/fixed_width.md"
    opener: ClassVar[str] = "dpe_cli.sources.files.fixed_width:opened"
    splitter: ClassVar[str] = "dpe_cli.sources.files.fixed_width:splitter"

    file_format: Annotated[Literal["fixed_width"], Doc("fields at the same characters of every line; columns need meta.width")]
    encoding: Annotated[str, Doc("any encoding that Python knows: utf-8, utf-16, latin-1, …")] = "utf-8"
    null_string: Annotated[str, Doc("how a missing value is written, besides blanks")] = ""
    header_lines: Annotated[int, Ge(0), Doc("lines at the start that are not records")] = 0
    short_lines: Annotated[Literal["refuse", "pad"], Doc("pad: accept lines whose trailing blanks were cut off")] = "refuse"
    max_record_bytes: Annotated[int, Gt(0), Doc("a longer line is refused")] = MAX_RECORD_BYTES

    def faults(self) -> Iterator[str]:
        """Yield mistakes that types cannot express."""
        yield from faults_of_encoding(self.encoding)
        if self.null_string != self.null_string.strip(" "):
            yield "null_string: fields are compared without the blanks around them; remove them here too"

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield columns that have no width, start before the first character or overlap."""
        end = 0
        for column in sorted(columns, key=lambda each: each.start or 0) if all(each.start for each in columns) else columns:
            if column.path is not None:
                yield f"column {column.name}: meta.path is not for this file_format"
            if column.width is None or column.width < 1 or (column.start is not None and column.start < 1):
                yield f"column {column.name}: needs meta.width (in characters), and may have meta.start (counted from 1)"
                return
            start = column.start or end + 1
            if start <= end:
                yield f"column {column.name}: starts at character {start}, before the end of the previous column; correct meta.start"
                return
            end = start + column.width - 1
        yield from faults_of_places(sorted(columns, key=lambda each: each.start or 0) if all(each.start for each in columns) else columns)
