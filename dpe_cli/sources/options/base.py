"""
The options that all `external:` blocks share, and the checks that types cannot express.

Docstrings and `Doc` are what `dpe schema` shows in editors.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from annotated_types import Ge, Le, MinLen
from typing_extensions import Doc

from dpe_cli.blocks import cursors, time_formats
from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.inputs import Increment
from dpe_cli.sources import secrets
from dpe_cli.sources.json import json_path
from dpe_cli.words import did_you_mean

# pydantic checks a block only when it changed, because importing pydantic takes longer than a small extract.
STRICT: dict[str, object] = {"extra": "forbid"}
# The prefix of a Singer tap's location.
TAP = "singer:"


@dataclass(frozen=True)
class Rejects:
    """How many rejects an extract tolerates; above either limit it fails and nothing becomes visible."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    max_rows: Annotated[int, Ge(0), Doc("maximum number of rejects per extract")] | None = None
    max_ratio: Annotated[float, Ge(0), Le(1), Doc("maximum share of rejects among an extract's records")] | None = None


@dataclass(frozen=True)
class Incremental:
    """How a source resumes where the last extract ended: from the greatest value of a column."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT

    cursor_path: Annotated[str, MinLen(1), Doc("the column, or its path, from whose greatest value the next extract resumes")]
    key: Annotated[list[str], MinLen(1), Doc("the columns that identify a record, so that one delivered again is not loaded twice")]
    initial_value: Annotated[str | int | float | None, Doc("where the first extract starts; by default at the beginning")] = None
    overlap: Annotated[str | int | float | None, Doc("how far before its end the next extract starts: 1 hour, or a number")] = None

    def start(self, after: str | None) -> str | int | float | None:
        """Return where the next extract starts: where the last one ended, else at the initial value; None for the very beginning."""
        return self.initial_value if after is None else after

    def column(self, columns: Sequence[Column]) -> Column | None:
        """Return the column that cursor_path refers to."""
        return next((column for column in columns if self.cursor_path in {column.name, column.path}), None)

    def increment(self, columns: Sequence[Column]) -> Increment:
        """Return the part of it that the loader needs."""
        column = self.column(columns)
        assert column is not None  # noqa: S101 refused with the block
        return Increment(column.name, column.data_type, None if self.overlap is None else str(self.overlap))

    def faults(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield mistakes that types cannot express."""
        names = [column.name for column in columns]
        cursor = self.column(columns)
        if cursor is None:
            yield f"incremental.cursor_path: {self.cursor_path} is not a column{nearest(self.cursor_path, names)}"
        elif cursor.data_type.rstrip().endswith("]"):
            yield f"incremental.cursor_path: {cursor.name} is {cursor.data_type}, an array; name a column of single values"
        elif self.overlap is not None and cursors.kind(cursor.data_type) == "other":
            yield f"incremental.overlap: {cursor.name} is {cursor.data_type}, from which nothing can be subtracted; leave it out"
        for name in self.key:
            if name not in names:
                yield f"incremental.key: {name} is not a column{nearest(name, names)}"


_MOST_NAMES = 20


def nearest(name: str, names: Sequence[str]) -> str:
    """Return, in brackets, the known name nearest to an unknown one, or the known names."""
    shown = ", ".join(names[:_MOST_NAMES])
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return f" ({did_you_mean(name, names, f'there are {shown}{more}')})"


def resolve(name: str) -> Any:
    """Return what `module:attribute` names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


@dataclass(frozen=True, kw_only=True)
class External:
    """One source table's `external:` block. Without `rejects`, no rejects are accepted."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT
    # The page that explains the options, and options that are mappings of their own.
    documentation: ClassVar[str] = "docs/guides/sources/csv.md"
    nested: ClassVar[dict[str, type]] = {"rejects": Rejects}
    # The functions that open a file, and that make a splitter of rejected records (sources/rejects), as `module:function`; their
    # modules are imported when they are needed, because some need large packages.
    opener: ClassVar[str] = ""
    splitter: ClassVar[str] = "dpe_cli.sources.rejects.json_objects:splitter"
    # A noun for whatever delivers the records.
    delivered_by: ClassVar[str] = "files"

    location: Annotated[str, MinLen(1), Doc("where the records are; ${NAME} stands for a variable of the environment")]
    file_format: str
    disposition: Annotated[
        Literal["append", "replace"], Doc("append: add new records; replace: the newest extract replaces the previous one")
    ]
    extra_columns: Annotated[Literal["refuse", "ignore"], Doc("what to do with columns that are not in the contract")] = "refuse"
    missing_columns: Annotated[
        Literal["refuse", "allow"], Doc("what to do with a delivery that lacks columns of the contract; allow: as if each were optional")
    ] = "refuse"
    rejects: Annotated[Rejects, Doc("how many rejects an extract tolerates; by default none")] = field(default_factory=Rejects)

    def faults(self) -> Iterator[str]:
        """Yield mistakes that types cannot express."""
        yield from ()

    def faults_of_place(self) -> Iterator[str]:
        """Yield mistakes in the location, whatever the format."""
        if self.location.startswith(TAP) and self.file_format != "singer":
            yield f"file_format: {self.location} is a tap, which cannot be read as {self.file_format}; write file_format: singer"

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield mistakes in the columns of a source of this format."""
        for column in columns:
            for name in ("path", "start", "width"):
                if getattr(column, name) is not None:
                    yield f"column {column.name}: meta.{name} is not for this file_format"


# Types with dates, and with decimals that can be rounded.
_WITH_DATE = re.compile(r"date|timestamp.*", re.IGNORECASE)
_ROUNDED = re.compile(r"(numeric|decimal|dec|date|timestamp(tz)?|time(tz)?|interval|(date|ts|tstz)(multi)?range)\b.*", re.IGNORECASE)


def faults_of_values(columns: Sequence[Column], *, has_quotes: bool) -> Iterator[str]:
    """Yield mistakes in what columns say of their values."""
    for column in columns:
        data_type = column.data_type.strip()
        if column.format is not None:
            try:
                time_formats.parse(column.format)
            except ValueError as error:
                yield f"column {column.name}: meta.format: {column.format} {error}"
            if not _WITH_DATE.fullmatch(data_type):
                yield f"column {column.name}: meta.format is for dates and points in time, not for {data_type}; remove it"
        if column.rounds and not _ROUNDED.fullmatch(data_type):
            yield f"column {column.name}: meta.round is for decimals, not for {data_type}; remove it"
        if column.null_quoted and not has_quotes:
            yield f"column {column.name}: meta.null_quoted is for file_format: csv; remove it"


def faults_of_paths(columns: Sequence[Column]) -> Iterator[str]:
    """Yield mistakes in the paths of JSON columns, and settings for other formats."""
    for column in columns:
        if column.start is not None or column.width is not None:
            yield f"column {column.name}: meta.start and meta.width are for file_format: fixed_width"
        if column.path is not None and column.headers:
            yield f"column {column.name}: has meta.path, which finds its value whatever its name; leave meta.headers out"
        if column.path is not None:
            try:
                json_path.parse(column.path)
            except ValueError as error:
                yield f"column {column.name}: meta.path: {error}"


def faults_of_places(columns: Sequence[Column]) -> Iterator[str]:
    """Yield columns that have no place of their own in records without names."""
    missing = ""
    for column in columns:
        if column.headers:
            yield f"column {column.name}: meta.headers: the records have no header that could name it; leave it out"
        if missing and not column.may_be_missing:
            yield f"column {missing}: may be missing only at the end of a record; move it after {column.name}"
            return
        missing = missing or (column.name if column.may_be_missing else "")


def faults_of_path(option: str, path: str | None) -> Iterator[str]:
    """Yield mistakes in the path of an option."""
    if path is not None:
        try:
            json_path.parse(path)
        except ValueError as error:
            yield f"{option}: {error}"


def faults_of_url(location: str) -> Iterator[str]:
    """Yield a mistake if an address contains a password."""
    try:
        password = urlsplit(location).password
    except ValueError:
        yield "location: is not a valid URL"
        return
    if password and not secrets.is_reference(password):
        yield "location: contains a password, which would end up in dbt's manifest; write ${NAME} and set NAME in the environment"


def faults_of_records(path: str) -> Iterator[str]:
    """Yield mistakes in the path of an array of records."""
    try:
        if any(isinstance(step, int) for step in json_path.parse(path)):
            yield f"records: {path}: may name members only, such as $.data.items"
    except ValueError as error:
        yield f"records: {error}"


# Python codecs that no file is written in: for host names, Python's own source, and mail of the eighties.
_NO_ENCODINGS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "unicode_escape", "raw_unicode_escape", "utf-7"}


def faults_of_encoding(name: str) -> Iterator[str]:
    """Yield a mistake if a name is not a text encoding."""
    try:
        # Python also has codecs for other things than text (base64, …), and some that cannot read a stream.
        is_text = codecs.lookup(name).name not in _NO_ENCODINGS
        "".encode(codecs.lookup(name).name)
        codecs.getincrementaldecoder(name)
    except (LookupError, UnicodeError):
        is_text = False
    if not is_text:
        yield "encoding: is not a text encoding that Python knows, such as utf-8, utf-16 or latin-1"
