"""
What all `external:` blocks have in common, and what is checked of them that types do not tell.

Docstrings and `Doc` are what `dpe schema` tells editors.
"""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from annotated_types import Ge, Le, MinLen
from typing_extensions import Doc

from dpe_cli.blocks import cursors
from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.inputs import Increment
from dpe_cli.sources import secrets
from dpe_cli.sources.json import json_path

# What a block may hold is checked by pydantic, when it has changed: it takes longer to import than a small extract takes.
STRICT: dict[str, object] = {"extra": "forbid"}
# What a location starts with that is a Singer tap.
TAP = "singer:"


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

    def start(self, after: str | None) -> str | int | float | None:
        """Return where the next extract starts: where the last one ended, else at the initial value; None for the very start."""
        return self.initial_value if after is None else after

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
            yield f"incremental.cursor_path: {self.cursor_path} is no column{nearest(self.cursor_path, names)}"
        elif cursor.data_type.rstrip().endswith("]"):
            yield f"incremental.cursor_path: {cursor.name} is {cursor.data_type}, a list; name a column of single values"
        elif self.overlap is not None and cursors.kind(cursor.data_type) == "other":
            yield f"incremental.overlap: {cursor.name} is {cursor.data_type}, from which nothing can be subtracted; leave it out"
        for name in self.key:
            if name not in names:
                yield f"incremental.key: {name} is no column{nearest(name, names)}"


_MOST_NAMES = 20


def nearest(name: str, names: Sequence[str]) -> str:
    """Return the words that point from a name that is none to the nearest one that is, in brackets."""
    if near := difflib.get_close_matches(name, names, n=1):
        return f" (did you mean {near[0]}?)"
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return f" (there are {', '.join(names[:_MOST_NAMES])}{more})"


@dataclass(frozen=True, kw_only=True)
class External:
    """One source table's `external:` block. Without `rejects` not a single reject is accepted."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT
    # Where the options are explained, and options that are mappings of their own.
    documentation: ClassVar[str] = "docs/guides/sources/csv.md"
    nested: ClassVar[dict[str, type]] = {"rejects": Rejects}
    # What delivers the records, in a word.
    delivered_by: ClassVar[str] = "files"

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
        if self.location.startswith(TAP) and self.file_format != "singer":
            yield f"file_format: {self.location} is a tap, which is not read as {self.file_format}; write file_format: singer"

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield what is wrong with the columns of a source of this format."""
        for column in columns:
            for name in ("path", "start", "width"):
                if getattr(column, name) is not None:
                    yield f"column {column.name}: meta.{name} is not for this file_format"


def faults_of_paths(columns: Sequence[Column]) -> Iterator[str]:
    """Yield which paths of columns of JSON cannot be read, and what is for other formats."""
    for column in columns:
        if column.start is not None or column.width is not None:
            yield f"column {column.name}: meta.start and meta.width are for file_format: fixed_width"
        if column.path is not None:
            try:
                json_path.parse(column.path)
            except ValueError as error:
                yield f"column {column.name}: meta.path: {error}"


def faults_of_path(option: str, path: str | None) -> Iterator[str]:
    """Yield what is wrong with a path that an option names."""
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


def faults_of_encoding(name: str) -> Iterator[str]:
    """Yield that a name is none of an encoding of text."""
    try:
        # Python has codecs for other things than text (base64, …), and some that cannot read a stream.
        is_text = codecs.lookup(name).name not in _NO_ENCODINGS
        "".encode(codecs.lookup(name).name)
        codecs.getincrementaldecoder(name)
    except (LookupError, UnicodeError):
        is_text = False
    if not is_text:
        yield "encoding: is not an encoding of text that Python knows, such as utf-8, utf-16 or latin-1"
