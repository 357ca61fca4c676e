"""Counts, durations, sizes and hints as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


class Limited(list[T]):
    """The first of some things, and how many there are in `total`."""

    def __init__(self, items: Iterable[T], total: int) -> None:
        super().__init__(items)
        self.total = total

    def counted(self, noun: str, nouns: str = "") -> str:
        """Return how many these are, and of how many: `3 extracts`, `The first 20 of 431 extracts; --limit shows more`."""
        if len(self) >= self.total:
            return plural(len(self), noun, nouns)
        return f"The first {len(self):,} of {plural(self.total, noun, nouns)}; --limit shows more"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Return a count with its noun: `1 file`, `2,000 files`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def duration(seconds: float) -> str:
    """Return a duration: `0.3 s`, `2 min 5 s`."""
    whole = round(seconds)
    return f"{seconds:.1f} s" if whole < 60 else f"{whole // 60:,} min {whole % 60} s"


def size(count: float) -> str:
    """Return a number of bytes in decimal units: `12.3 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name among `known` that is most like the one given, ignoring case; None if none is like it."""
    import difflib  # only for mistakes

    names = {known_name.casefold(): known_name for known_name in known}
    return next((names[found] for found in difflib.get_close_matches(name.casefold(), list(names), n=1)), None)


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return `did you mean …?` with the nearest of the names, or `otherwise`."""
    near = nearest(name, known)
    return otherwise if near is None else f"did you mean {near}?"
