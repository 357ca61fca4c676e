"""Inputs: the interface between the loader and sources."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect


class Opened(Protocol):
    """An input that is being read: the names of its columns in order, and its blocks."""

    columns: tuple[str, ...]
    dialect: Dialect

    def blocks(self) -> Iterator[Block]:
        """Yield the input's blocks once."""


@runtime_checkable
class MayLackColumns(Protocol):
    """An input whose records may each lack columns, such as JSON."""

    def missing(self) -> tuple[str, ...]:
        """Return the columns that no record had, although they may be missing; called after the last block."""


class Input(Protocol):
    """One load's worth of records: a file, a member of a zip file, or a query."""

    @property
    def location(self) -> str:
        """Its name in the ledger: a path, a URL or the like."""

    @property
    def version(self) -> str | None:
        """Its version (an ETag, for example), if its place has any: the same version at the same location means the same content."""

    @property
    def size(self) -> int:
        """Its size as delivered, in bytes."""

    @property
    def is_compressed(self) -> bool:
        """Whether it holds more bytes of records than its size suggests."""

    def content_hash(self) -> str | None:
        """Hash its content as delivered; free once it has been read. None for a query."""

    def is_known_as(self, content_hash: str) -> None:
        """Note the hash of its content, so that it need not be read to compute it."""

    def open(self) -> AbstractContextManager[Opened]:
        """Open it to be read once."""


@runtime_checkable
class QueryInput(Input, Protocol):
    """
    The answer of an API, a database or a tap. Its content cannot tell whether it is new, so it is read each time.

    It resumes from a cursor, or a state, that is committed with what was read.
    """

    as_text: bool
    """Whether to read it so that each record can be told apart, which may take longer."""

    @property
    def may_repeat(self) -> bool:
        """Whether a record may come twice within it, as from an API whose records move between pages while it is read."""

    def begin(self, after: str | None) -> None:
        """Start after where the last extract ended; None for the first one, or to read everything."""

    def end(self) -> str | None:
        """Return where the next extract resumes, once all was read; None if the rows themselves determine it."""


@dataclass(frozen=True)
class Increment:
    """
    How a source resumes where it ended: from the greatest value of a column.

    `overlap` is how far before it the next extract starts (an interval, or a number), so that late records are not missed.
    """

    column: str
    data_type: str
    overlap: str | None = None
