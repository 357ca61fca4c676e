"""
The options of the `external:` block, a class for each `file_format`.

Docstrings and `Doc` are what `dpe schema` tells editors. What types do not tell is checked by `faults`.
"""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le, MinLen
from typing_extensions import Doc

from dpe_cli.load.blocks import MAX_RECORD_BYTES
from dpe_cli.load.grammar import Dialect
from dpe_cli.load.inputs import Increment
from dpe_cli.load.staging import Column
from dpe_cli.sources import json_path, secrets

# What a block may hold is checked by pydantic, when it has changed: it takes longer to import than a small extract takes.
STRICT: dict[str, object] = {"extra": "forbid"}


@dataclass(frozen=True)
class Rejects:
    """How many rejects an extract survives; above either limit it fails and nothing is visible."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    max_rows: Annotated[int, Ge(0), Doc("rejects that one extract may have")] | None = None
    max_ratio: Annotated[float, Ge(0), Le(1), Doc("rejects that one extract may have, as a share of its records")] | None = None


@dataclass(frozen=True)
class Incremental:
    """How a source goes on where the last extract ended: by the greatest value of a column."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    cursor_path: Annotated[str, MinLen(1), Doc("the column, or its path, whose greatest value says where the next extract goes on")]
    key: Annotated[list[str], MinLen(1), Doc("the columns that tell records apart: one that is delivered again is not loaded twice")]
    initial_value: Annotated[str | int | float | None, Doc("where the first extract starts; without it, at the start")] = None
    overlap: Annotated[str | int | float | None, Doc("how far before its end the next extract starts: 1 hour, or a number")] = None

    def column(self, columns: Sequence[Column]) -> Column | None:
        """Return the column that cursor_path means."""
        return next((column for column in columns if self.cursor_path in {column.name, column.path}), None)

    def increment(self, columns: Sequence[Column]) -> Increment:
        """Return what the loader has to know of it."""
        column = self.column(columns)
        assert column is not None  # noqa: S101 refused with the block
        return Increment(column.name, column.data_type, None if self.overlap is None else str(self.overlap))

    def faults(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield what is wrong with it that types do not tell."""
        names = [column.name for column in columns]
        cursor = self.column(columns)
        if cursor is None:
            yield f"incremental.cursor_path: {self.cursor_path} is no column{_nearest(self.cursor_path, names)}"
        elif self.overlap is not None and not cursor.data_type.lower().startswith(_WITH_OVERLAP):
            yield f"incremental.overlap: {cursor.name} is {cursor.data_type}, from which nothing can be subtracted; leave it out"
        for name in self.key:
            if name not in names:
                yield f"incremental.key: {name} is no column{_nearest(name, names)}"


# Types whose values can be made less by an interval, or a number.
_WITH_OVERLAP = ("timestamp", "date", "smallint", "int", "bigint", "numeric", "decimal", "real", "double")


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {near[0]}?)" if near else f" (there are {', '.join(names)})"


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

    def faults_of_place(self) -> Iterator[str]:
        """Yield what is wrong with where the records are, in whatever format."""
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
    storage_options: Annotated[
        dict[str, str | int | float | bool], Doc("what fsspec needs to know of an object store: endpoint_url, anon, …; secrets as ${NAME}")
    ] = field(default_factory=dict)
    allow_private_addresses: Annotated[bool, Doc("whether a file at http(s):// may be in a private network, or on this machine")] = False

    def faults_of_place(self) -> Iterator[str]:
        """Yield what is wrong with where the files are."""
        scheme, separator, _ = self.location.partition("://")
        if not separator:
            return
        if scheme not in PLACES:
            yield f"location: there is no place {scheme}:// for files{_nearest(scheme, PLACES)}"
            return
        yield from faults_of_url(self.location)
        for name, value in self.storage_options.items():
            if any(part in name.lower() for part in _SECRET_OPTIONS) and isinstance(value, str) and not secrets.is_reference(value):
                yield f"storage_options: {name} would be in dbt's manifest; write ${{NAME}} and set the variable NAME in the environment"


# Where files may be besides this machine; fsspec's names.
PLACES = ("s3", "gs", "az", "abfs", "sftp", "http", "https")
_SECRET_OPTIONS = ("secret", "password", "token", "key")


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


@dataclass(frozen=True, kw_only=True)
class Sql(External):
    """A table or a query of a database."""

    documentation: ClassVar[str] = "docs/sources/databases.md"
    nested: ClassVar[dict[str, type]] = {"rejects": Rejects, "incremental": Incremental}

    file_format: Annotated[Literal["sql"], Doc("a table or a query of a database; location is its URL")]
    table: Annotated[str, MinLen(1), Doc("the table, with its schema where it needs one")] | None = None
    query: Annotated[str, MinLen(1), Doc("the query, in place of a table")] | None = None
    incremental: Annotated[Incremental, Doc("read only what is new")] | None = None

    @property
    def is_postgres(self) -> bool:
        """Whether the database is PostgreSQL, which is read by COPY."""
        return self.location.startswith(("postgresql://", "postgres://"))

    def faults(self) -> Iterator[str]:
        """Yield what types do not tell."""
        yield from faults_of_url(self.location)
        if "://" not in self.location:
            yield "location: is no URL of a database; write it like postgresql://reader:${CRM_PASSWORD}@crm.example/crm"
        if (self.table is None) == (self.query is None):
            yield "table: give either a table or a query"
        if self.incremental and self.disposition == "replace":
            yield "incremental: what is replaced is read whole; leave it out, or write disposition: append"
        if not self.incremental and self.disposition == "append":
            yield "disposition: append needs incremental, or every row would be added with every extract; or write replace"

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield what is wrong with the columns it goes on by."""
        yield from super().faults_of_columns(columns)
        if self.incremental:
            yield from self.incremental.faults(columns)


@dataclass(frozen=True)
class RestIncremental(Incremental):
    """How an API goes on where the last extract ended, and how it is told."""

    start_param: Annotated[str | None, Doc("the parameter that says from where on; or write {incremental.start_value} in params")] = None


@dataclass(frozen=True, kw_only=True)
class Auth:
    """How an API knows who asks. Secrets are references to the environment: ${NAME}."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT
    required: ClassVar[dict[str, tuple[str, ...]]] = {
        "bearer": ("token",),
        "http_basic": ("username", "password"),
        "api_key": ("name", "api_key"),
        "oauth2_client_credentials": ("access_token_url", "client_id", "client_secret"),
    }
    secrets: ClassVar[tuple[str, ...]] = ("token", "password", "api_key", "client_secret")

    type: Literal["bearer", "http_basic", "api_key", "oauth2_client_credentials"]
    token: str | None = None
    username: str | None = None
    password: str | None = None
    name: str | None = None
    api_key: str | None = None
    location: Literal["header", "query"] = "header"
    access_token_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    access_token_request_data: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Paginator:
    """How one page of an API leads to the next."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT
    required: ClassVar[dict[str, tuple[str, ...]]] = {"json_link": ("next_url_path",), "cursor": ("cursor_path",), "offset": ("limit",)}

    type: Literal["single_page", "header_link", "json_link", "cursor", "page_number", "offset"]
    next_url_path: str | None = None
    cursor_path: str | None = None
    cursor_param: str = "cursor"
    base_page: int = 1
    page_param: str = "page"
    maximum_page: Annotated[int, Ge(0)] | None = None
    limit: Annotated[int, Gt(0)] | None = None
    limit_param: str = "limit"
    offset_param: str = "offset"


@dataclass(frozen=True, kw_only=True)
class Rest(External):
    """An API that gives its records as JSON, page by page. The words are those of dlt's REST source."""

    documentation: ClassVar[str] = "docs/sources/apis.md"
    nested: ClassVar[dict[str, type]] = {"rejects": Rejects, "incremental": RestIncremental, "auth": Auth, "paginator": Paginator}

    file_format: Annotated[Literal["rest"], Doc("an API; location is its base URL")]
    path: Annotated[str, Doc("the endpoint, behind the base URL")] = ""
    params: Annotated[dict[str, str | int | float | bool], Doc("parameters of the query")] = field(default_factory=dict)
    headers: Annotated[dict[str, str], Doc("headers of each request")] = field(default_factory=dict)
    auth: Annotated[Auth, Doc("how the API knows who asks")] | None = None
    paginator: Annotated[Paginator, Doc("how one page leads to the next")] = field(default_factory=lambda: Paginator(type="single_page"))
    data_selector: Annotated[str, Doc("the path of the array of records in a page; $ where the page is the array")] = "$"
    total_path: (
        Annotated[str, Doc("the path of the number of all records; where another number is delivered, nothing is loaded")] | None
    ) = None
    incremental: Annotated[RestIncremental, Doc("read only what is new")] | None = None
    timeout: Annotated[float, Gt(0), Doc("seconds for a page")] = 60
    attempts: Annotated[int, Ge(1), Doc("how often a page is asked for before the extract gives up")] = 5
    requests_per_second: Annotated[float, Gt(0), Doc("how often the API may be asked")] | None = None
    max_page_bytes: Annotated[int, Gt(0), Doc("a longer page is refused")] = 64 * 1024 * 1024
    allow_private_addresses: Annotated[bool, Doc("whether the API may be in a private network, or on this machine")] = False

    def faults(self) -> Iterator[str]:
        """Yield what types do not tell."""
        yield from faults_of_url(self.location)
        if not self.location.startswith(("http://", "https://")):
            yield "location: is no http:// or https:// address of an API"
        for option, path in (("data_selector", self.data_selector), ("total_path", self.total_path)):
            yield from _faults_of_path(option, path)
        yield from _faults_of_path("paginator", self.paginator.next_url_path)
        yield from _faults_of_path("paginator", self.paginator.cursor_path)
        yield from self._faults_of_parts()
        if self.incremental and self.disposition == "replace":
            yield "incremental: what is replaced is read whole; leave it out, or write disposition: append"
        if not self.incremental and self.disposition == "append":
            yield "disposition: append needs incremental, or every record would be added with every extract; or write replace"

    def _faults_of_parts(self) -> Iterator[str]:
        """Yield what auth, paginator and headers lack, and secrets that stand in them."""
        for name, part in (("auth", self.auth), ("paginator", self.paginator)):
            missing = [option for option in part.required.get(part.type, ()) if getattr(part, option) is None] if part else []
            if part and missing:
                yield f"{name}: type {part.type} needs {' and '.join(missing)}"
        for option in Auth.secrets if self.auth else ():
            if (value := getattr(self.auth, option)) is not None and not secrets.is_reference(value):
                yield f"auth: {option} would be in dbt's manifest; write ${{NAME}} and set the variable NAME in the environment"
        for name, value in self.headers.items():
            if name.lower() in _SECRET_HEADERS and not secrets.names([value]):
                yield f"headers: {name} would be in dbt's manifest; write ${{NAME}} and set the variable NAME in the environment"

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield which paths cannot be read, and what is wrong with the columns it goes on by."""
        yield from _WithPaths.faults_of_paths(columns)
        if self.incremental:
            yield from self.incremental.faults(columns)


_SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"}


def _faults_of_path(option: str, path: str | None) -> Iterator[str]:
    if path is not None:
        try:
            json_path.parse(path)
        except ValueError as error:
            yield f"{option}: {error}"


def faults_of_url(location: str) -> Iterator[str]:
    """Yield that a password stands in an address."""
    try:
        password = urlsplit(location).password
    except ValueError:
        yield "location: cannot be read as an address"
        return
    if password and not secrets.is_reference(password):
        yield "location: holds a password, which would be in dbt's manifest; write ${NAME} and set the variable NAME in the environment"


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
    "sql": Sql,
    "rest": Rest,
}
