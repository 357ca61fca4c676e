"""What all query inputs share: the records of an API, a database or a tap, which every extract reads again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from dpe_cli.blocks.contract import Column, by_delivered_name
from dpe_cli.blocks.inputs import Opened
from dpe_cli.sources.options.queries import Sql

# The amount of data is unknown; large enough for every writer.
_UNKNOWN_SIZE = 1 << 40


class BaseQueryInput:
    """
    Base class of query inputs; `location` is what the ledger calls it.

    Subclasses open it, and report where it ends if its rows do not show that.
    """

    version: str | None = None
    is_compressed = False
    may_repeat = False
    as_text = False

    def __init__(self, location: str) -> None:
        self.location = location
        self.size = _UNKNOWN_SIZE
        self.after: str | None = None

    def content_hash(self) -> None:
        """Return None, because it is read each time."""

    def is_known_as(self, content_hash: str) -> None:
        """Do nothing, because it is read each time."""

    def begin(self, after: str | None) -> None:
        """Note where the last extract ended."""
        self.after = after

    def end(self) -> str | None:
        """Return None: the rows determine where the next one starts."""
        return None

    def open(self) -> AbstractContextManager[Opened]:
        """Open it, to be read once."""
        raise NotImplementedError


class TableInput(BaseQueryInput):
    """Base class of a database's tables and queries."""

    def __init__(self, options: Sql, columns: Sequence[Column]) -> None:
        super().__init__(f"{options.location} {options.table or 'query'}")
        self._options = options
        self._columns = columns
        self._end: str | None = None

    def end(self) -> str | None:
        """Return the greatest cursor value; None if there was none."""
        return self._end

    def _taken(self, names: Sequence[str]) -> list[str]:
        """Return the columns to read: all of them, so that an extra one is refused, unless extra ones are ignored."""
        wanted = by_delivered_name(self._columns)
        return [name for name in names if name in wanted or self._options.extra_columns == "refuse"]

    def _delivered_as(self, column: Column, names: Sequence[str]) -> str:
        """Return the name under which the database has a column."""
        return next((name for name in column.names if name in names), column.name)
