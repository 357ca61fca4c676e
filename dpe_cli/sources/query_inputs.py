"""What all windows have in common: an API's, a database's or a tap's records are read whenever they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.inputs import Opened
from dpe_cli.sources.options.queries import Sql

# How much is to come, nobody knows; enough for every writer.
_UNKNOWN_SIZE = 1 << 40


class WindowInput:
    """
    A window, to be made special: `location` is what the ledger shall say.

    Subclasses open it, and say where it ends where its rows do not.
    """

    version: str | None = None
    is_compressed = False
    may_repeat = False
    plainly = False

    def __init__(self, location: str) -> None:
        self.location = location
        self.size = _UNKNOWN_SIZE
        self.after: str | None = None

    def content_hash(self) -> None:
        """Return nothing: it is read each time."""

    def is_known_as(self, content_hash: str) -> None:
        """Know nothing of it: it is read each time."""

    def begin(self, after: str | None) -> None:
        """Take note of where the last extract ended."""
        self.after = after

    def end(self) -> str | None:
        """Leave it to the rows to tell where the next one starts."""
        return None

    def open(self) -> AbstractContextManager[Opened]:
        """Open it, to be read once."""
        raise NotImplementedError


class TableInput(WindowInput):
    """A table or a query of a database, to be made special."""

    def __init__(self, options: Sql, columns: Sequence[Column]) -> None:
        super().__init__(f"{options.location} {options.table or 'query'}")
        self._options = options
        self._columns = columns
        self._end: str | None = None

    def end(self) -> str | None:
        """Return the greatest cursor that was there; None where there was none."""
        return self._end

    def _taken(self, names: Sequence[str]) -> list[str]:
        """Return the columns to read: all of them, for one too many is refused, unless nobody needs those."""
        wanted = {column.name for column in self._columns}
        return [name for name in names if name in wanted or self._options.extra_columns == "refuse"]
