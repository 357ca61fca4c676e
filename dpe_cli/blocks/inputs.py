"""What a source is read from: inputs, as the loader asks for them and sources answer."""

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


class Input(Protocol):
    """One load's worth of records: a file, a member of a zip file, or a window."""

    @property
    def location(self) -> str:
        """Where it is, as the ledger shall say it."""

    @property
    def version(self) -> str | None:
        """What its place calls this version of it, if it does: the same at the same location means the same content."""

    @property
    def size(self) -> int:
        """Its size as delivered, in bytes."""

    @property
    def is_compressed(self) -> bool:
        """Whether it holds more bytes of records than its size says."""

    def content_hash(self) -> str | None:
        """Hash its content as delivered; free once it has been read. A window has none."""

    def is_known_as(self, content_hash: str) -> None:
        """Take note of the hash of its content, which need not be read for it."""

    def open(self) -> AbstractContextManager[Opened]:
        """Open it to be read once."""


@runtime_checkable
class Window(Input, Protocol):
    """
    What an API, a database or a tap is asked for: no content tells whether it is new, so that it is read each time.

    Where it goes on from is a cursor, or a state, that is committed with what was read.
    """

    plainly: bool
    """Whether to read it so that each record can be told apart, which may take longer."""

    @property
    def may_repeat(self) -> bool:
        """Whether a record may come twice within it, as from an API whose records move from page to page meanwhile."""

    def begin(self, after: str | None) -> None:
        """Say where the last extract ended; None where there was none, or all is to be read."""

    def end(self) -> str | None:
        """Return where the next extract goes on, once all was read; None where the rows themselves tell."""


@dataclass(frozen=True)
class Increment:
    """
    How a source goes on where it ended: by the greatest value of a column.

    `overlap` is how far before it the next extract starts (an interval, or a number), so that late records are not missed.
    """

    column: str
    data_type: str
    overlap: str | None = None
