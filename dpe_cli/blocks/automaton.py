"""Regular expressions for whole blocks: an automaton (RE2) takes the same time for each byte, whatever the expression."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol, cast

from dpe_cli.blocks.csv_grammar import Dialect

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
    """Return an expression, in RE2's syntax; a dot matches line feeds, too."""
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = _BYTES
    options.log_errors = False
    options.longest_match = True
    return cast(Automaton, re2.compile(b"(?s)" + pattern, options))


@dataclass(frozen=True)
class CsvExpressions:
    """Expressions for the CSV of a dialect in which quotes enclose whole fields."""

    delimiter: bytes
    quote: bytes
    escape: bytes

    @classmethod
    def of(cls, dialect: Dialect) -> CsvExpressions:
        """Return those of a block for COPY."""
        return cls(*(re.escape(character.encode()) for character in (dialect.delimiter, dialect.copy_quote, dialect.copy_escape)))

    @property
    def within(self) -> bytes:
        """What quotes enclose."""
        if self.escape == self.quote:
            return rb"(?:[^%b]|%b%b)*" % (self.quote, self.quote, self.quote)
        return rb"(?:[^%b%b]|%b.)*" % (self.quote, self.escape, self.escape)

    @property
    def field(self) -> bytes:
        """Any field."""
        return rb"(?:[^%b%b\n]*|%b%b%b)" % (self.quote, self.delimiter, self.quote, self.within, self.quote)

    @property
    def record(self) -> bytes:
        """Any record."""
        return rb"(?:%b(?:%b%b)*\r?\n)" % (self.field, self.delimiter, self.field)
