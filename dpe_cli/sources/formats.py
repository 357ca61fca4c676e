"""
The options of the `external:` block, a class for each `file_format`.

Docstrings and `Doc` are what `dpe schema` tells editors. What types do not tell is checked by `faults`.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MinLen
from typing_extensions import Doc

from dpe_cli.load.blocks import MAX_RECORD_BYTES
from dpe_cli.load.grammar import Dialect
from dpe_cli.load.staging import Column
from dpe_cli.sources import json_path

# What a block may hold is checked by pydantic, when it has changed: it takes longer to import than a small extract takes.
STRICT: dict[str, object] = {"extra": "forbid"}


@dataclass(frozen=True)
class Rejects:
    """How many rejects an extract survives; above either limit it fails and nothing is visible."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    max_rows: Annotated[int, Ge(0), Doc("rejects that one extract may have")] | None = None
    max_ratio: Annotated[float, Ge(0), Le(1), Doc("rejects that one extract may have, as a share of its records")] | None = None


@dataclass(frozen=True, kw_only=True)
class External:
    """One source table's `external:` block. Without `rejects` not a single reject is accepted."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT
    # Where the options are explained, and options that are mappings of their own.
    documentation: ClassVar[str] = "docs/sources/csv.md"
    nested: ClassVar[dict[str, type]] = {"rejects": Rejects}

    location: Annotated[str, MinLen(1), Doc("where the records are; ${NAME} stands for a variable of the environment")]
    file_format: str
    disposition: Annotated[
        Literal["append", "replace"], Doc("append: what is new is added; replace: the newest extract takes the place of the one before")
    ]
    extra_columns: Annotated[Literal["refuse", "ignore"], Doc("what becomes of columns that the contract does not name")] = "refuse"
    rejects: Annotated[Rejects, Doc("how many rejects an extract survives; none without it")] = field(default_factory=Rejects)

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with it that types do not tell."""
        yield from ()

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield what is wrong with the columns of a source of this format."""
        for column in columns:
            for name in ("path", "start", "width"):
                if getattr(column, name) is not None:
                    yield f"column {column.name}: meta.{name} is not for this file_format"


@dataclass(frozen=True, kw_only=True)
class Files(External):
    """Files, each loaded once, by its content."""

    compression: Annotated[
        Literal["auto", "none", "gz", "bz2", "xz", "zst", "zip"], Doc("auto: by the ending of the name; each member of a zip is a file")
    ] = "auto"
    changed_files: Annotated[
        Literal["add", "replace"], Doc("what a file whose content changed is: more records, or a correction of those it had")
    ] = "add"


@dataclass(frozen=True, kw_only=True)
class CsvFiles(Files):
    """Files of CSV."""

    file_format: Annotated[Literal["csv"], Doc("CSV: delimiter, quote and escape as given")]
    delimiter: Annotated[str, Doc("a single ASCII character between fields")] = ","
    quote: Annotated[str, Doc("a single ASCII character around fields")] = '"'
    escape: Annotated[str, Doc("the character before a quote within quotes; without it the quote is doubled")] | None = None
    null_string: Annotated[str, Doc("what stands for a missing value")] = ""
    header: Annotated[bool, Doc("whether the first record names the columns")] = True
    encoding: Annotated[str, Doc("any that Python knows: utf-8, utf-16, latin-1, …")] = "utf-8"
    max_record_bytes: Annotated[int, Gt(0), Doc("a longer line is refused")] = MAX_RECORD_BYTES

    def dialect(self, encoding: str) -> Dialect:
        """Return the CSV dialect of the files, with their encoding as it turned out."""
        return Dialect(self.delimiter, self.quote, self.escape or self.quote, self.null_string, encoding)

    def faults(self) -> Iterator[str]:
        """Yield what types do not tell."""
        for name in ("delimiter", "quote", "escape"):
            value = getattr(self, name)
            if value is not None and (len(value) != 1 or not value.isascii() or value in "\r\n\0"):
                yield f"{name}: has to be a single ASCII character"
        yield from _faults_of_encoding(self.encoding)
        if self.delimiter in {self.quote, self.escape}:
            yield "delimiter has to differ from quote and escape"
        if any(character in self.null_string for character in (self.delimiter, self.quote, "\r", "\n", "\0")):
            yield "null_string may not hold the delimiter, the quote or a line end"


class _WithPaths:
    """Records of JSON, whose columns may have paths."""

    @staticmethod
    def faults_of_paths(columns: Sequence[Column]) -> Iterator[str]:
        """Yield which paths cannot be read, and what is for other formats."""
        for column in columns:
            if column.start is not None or column.width is not None:
                yield f"column {column.name}: meta.start and meta.width are for file_format: fixed_width"
            if column.path is not None:
                try:
                    json_path.parse(column.path)
                except ValueError as error:
                    yield f"column {column.name}: meta.path: {error}"


@dataclass(frozen=True, kw_only=True)
class JsonLines(Files):
    """Files of JSON Lines: a JSON object a line."""

    documentation: ClassVar[str] = "docs/sources/json.md"

    file_format: Annotated[Literal["jsonl"], Doc("JSON Lines: one JSON object a line")]
    max_record_bytes: Annotated[int, Gt(0), Doc("a longer line is refused")] = MAX_RECORD_BYTES

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield which paths cannot be read."""
        return _WithPaths.faults_of_paths(columns)


@dataclass(frozen=True, kw_only=True)
class JsonFiles(Files):
    """Files of JSON, each a document that holds an array of records."""

    documentation: ClassVar[str] = "docs/sources/json.md"

    file_format: Annotated[Literal["json"], Doc("a JSON document that holds an array of records")]
    records: Annotated[str, Doc("the path of the array of records, such as $.data.items; $ where the document is the array")] = "$"
    max_record_bytes: Annotated[int, Gt(0), Doc("a longer record is refused")] = MAX_RECORD_BYTES

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with the path of the records."""
        return faults_of_records(self.records)

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield which paths cannot be read."""
        return _WithPaths.faults_of_paths(columns)


@dataclass(frozen=True, kw_only=True)
class ParquetFiles(Files):
    """Files of Parquet."""

    documentation: ClassVar[str] = "docs/sources/parquet.md"

    file_format: Annotated[Literal["parquet"], Doc("Apache Parquet")]


@dataclass(frozen=True, kw_only=True)
class ExcelFiles(Files):
    """Workbooks of Excel (.xlsx), of which one sheet is read."""

    documentation: ClassVar[str] = "docs/sources/excel.md"

    file_format: Annotated[Literal["excel"], Doc("workbooks of Excel (.xlsx)")]
    sheet: Annotated[str, MinLen(1), Doc("the name of the sheet; the first one without it")] | None = None
    header_row: Annotated[int, Ge(1), Doc("the row that names the columns; what stands above is left out")] = 1


@dataclass(frozen=True, kw_only=True)
class FixedWidthFiles(Files):
    """Files whose fields stand at the same characters of every line."""

    documentation: ClassVar[str] = "docs/sources/fixed_width.md"

    file_format: Annotated[Literal["fixed_width"], Doc("fields at the same characters of every line; columns need meta.width")]
    encoding: Annotated[str, Doc("any that Python knows: utf-8, utf-16, latin-1, …")] = "utf-8"
    null_string: Annotated[str, Doc("what stands for a missing value, besides blanks")] = ""
    header_lines: Annotated[int, Ge(0), Doc("lines at the start that are no records")] = 0
    short_lines: Annotated[Literal["refuse", "pad"], Doc("pad: blanks were cut off the ends of lines")] = "refuse"
    max_record_bytes: Annotated[int, Gt(0), Doc("a longer line is refused")] = MAX_RECORD_BYTES

    def faults(self) -> Iterator[str]:
        """Yield what types do not tell."""
        yield from _faults_of_encoding(self.encoding)
        if self.null_string != self.null_string.strip(" "):
            yield "null_string: fields are compared without the blanks around them; write it without"

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield which columns have no width, stand before the first character or share characters."""
        end = 0
        for column in sorted(columns, key=lambda one: one.start or 0) if all(one.start for one in columns) else columns:
            if column.path is not None:
                yield f"column {column.name}: meta.path is not for this file_format"
            if column.width is None or column.width < 1 or (column.start is not None and column.start < 1):
                yield f"column {column.name}: needs meta.width (characters), and may have meta.start (counted from 1)"
                return
            start = column.start or end + 1
            if start <= end:
                yield f"column {column.name}: starts at character {start}, where the column before it has not ended; correct meta.start"
                return
            end = start + column.width - 1


def faults_of_records(path: str) -> Iterator[str]:
    """Yield what is wrong with the path of an array of records."""
    try:
        if any(isinstance(step, int) for step in json_path.parse(path)):
            yield f"records: {path}: may name members only, such as $.data.items"
    except ValueError as error:
        yield f"records: {error}"


# Codecs of Python that no file is written in: for names of hosts, for its own source, for mail of the eighties.
_NO_ENCODINGS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "unicode_escape", "raw_unicode_escape", "utf-7"}


def _faults_of_encoding(name: str) -> Iterator[str]:
    try:
        # Python has codecs for other things than text (base64, …), and some that cannot read a stream.
        is_text = codecs.lookup(name).name not in _NO_ENCODINGS
        "".encode(codecs.lookup(name).name)
        codecs.getincrementaldecoder(name)
    except (LookupError, UnicodeError):
        is_text = False
    if not is_text:
        yield "encoding: is not an encoding of text that Python knows, such as utf-8, utf-16 or latin-1"


FORMATS: dict[str, type[External]] = {
    "csv": CsvFiles,
    "jsonl": JsonLines,
    "json": JsonFiles,
    "parquet": ParquetFiles,
    "excel": ExcelFiles,
    "fixed_width": FixedWidthFiles,
}
