"""A list that moves to a temporary file when it grows, so that memory stays flat however many records are rejected."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Generic, TypeVar

_IN_MEMORY = 10_000

T = TypeVar("T")


class Spool(Generic[T]):
    """Items in the order they came. The file has no name and goes with the process; only this process wrote it."""

    def __init__(self) -> None:
        self._tail: list[T] = []
        self._file: IO[bytes] | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def extend(self, items: Iterable[T]) -> None:
        """Add items at the end."""
        before = len(self._tail)
        self._tail.extend(items)
        self._length += len(self._tail) - before
        if len(self._tail) >= _IN_MEMORY:
            if self._file is None:
                self._file = tempfile.TemporaryFile()
            pickle.dump(self._tail, self._file)
            self._tail = []

    def __iter__(self) -> Iterator[T]:
        """Yield all items; nothing may be added meanwhile."""
        if self._file is not None:
            self._file.seek(0)
            while True:
                try:
                    yield from pickle.load(self._file)  # noqa: S301 written by this process to a nameless file
                except EOFError:
                    break
        yield from self._tail
