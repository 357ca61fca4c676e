"""What all windows have in common: an API's, a database's or a tap's records are read whenever they are asked for."""

from __future__ import annotations

from contextlib import AbstractContextManager

from dpe_cli.load.inputs import Opened

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
