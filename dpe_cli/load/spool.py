"""A list that moves to a temporary file when it grows, so that memory stays flat however many records are rejected."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

_BYTES_IN_MEMORY = 4 * 1024 * 1024

T = TypeVar("T")


class Spool(Generic[T]):
    """Items in the order they came. The file has no name and disappears with the process; only this process wrote it."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_BYTES_IN_MEMORY)  # noqa: SIM115 it lives as long as the spool
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def extend(self, items: Sequence[T]) -> None:
        """Add items at the end."""
        self._file.seek(0, os.SEEK_END)
        pickle.dump(items, self._file)
        self._length += len(items)

    def __iter__(self) -> Iterator[T]:
        """Yield all items; none may be added meanwhile."""
        self._file.seek(0)
        remaining = self._length
        while remaining:
            items = pickle.load(self._file)  # noqa: S301 written by this process to a nameless file
            remaining -= len(items)
            yield from items
