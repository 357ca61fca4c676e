"""Regular expressions for whole blocks: an automaton (RE2) takes the same time for each byte, whatever the expression."""

from __future__ import annotations

from typing import Protocol, cast

_BYTES = 64 * 1024 * 1024


class Match(Protocol):
    """What an expression matched."""

    def end(self) -> int:
        """Return the offset after it."""


class Automaton(Protocol):
    """A compiled expression, over bytes."""

    def match(self, data: bytes, position: int = 0) -> Match | None:
        """Return the longest match at a position."""

    def fullmatch(self, data: bytes) -> Match | None:
        """Return a match of all of the data."""


def compiled(pattern: bytes) -> Automaton:
    """Return an expression, in RE2's syntax."""
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _BYTES
    options.log_errors = False
    options.longest_match = True
    return cast(Automaton, re2.compile(pattern, options))
