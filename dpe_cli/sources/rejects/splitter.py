"""
How a rejected record is split into columns, so that a person can correct them: the interface.

json_objects.py splits those of Parquet, Excel, JSON, databases, APIs and taps; CSV and fixed-width files split their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol


class Rejected(Protocol):
    """A record that was not loaded: as it was delivered, and which load of which file it is from."""

    @property
    def load_id(self) -> int:
        """The load."""

    @property
    def location(self) -> str:
        """The file or page."""

    @property
    def content_hash(self) -> str:
        """The hash of the file."""

    @property
    def raw(self) -> str:
        """The record."""


# Returns the fields of a record by column, as CSV writes them; None if the record cannot be split.
Splitter = Callable[[Rejected], Mapping[str, str] | None]
