"""Rewrites the values of records whose columns declare another form than PostgreSQL's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dpe_cli.blocks.csv_grammar import Dialect, split
from dpe_cli.blocks.exact_values import unquoted
from dpe_cli.blocks.time_formats import TimeFormat

_LONGEST_VALUE = 100


class Converter:
    """Converts records of `width` fields. `formats` are those of the columns at these places."""

    def __init__(self, formats: Mapping[int, TimeFormat], dialect: Dialect, *, null_quoted: Sequence[bool], width: int) -> None:
        self._formats = formats
        self._dialect = replace(dialect, quote=dialect.copy_quote, escape=dialect.copy_escape)
        self._null_quoted = null_quoted
        self._width = width

    def convert(self, raw: bytes) -> bytes | tuple[int, str]:
        """Return a record as COPY loads it; or the place of the first value that has another form, and what is wrong with it."""
        text = raw.decode(errors="surrogateescape")
        written = split(text, self._dialect)
        # The server refuses records with another number of fields.
        if written is None or len(written) != self._width:
            return raw
        for place, declared in self._formats.items():
            is_quoted = written[place].startswith(self._dialect.quote)
            value = unquoted(written[place], self._dialect) if is_quoted else written[place]
            if value == self._dialect.null_string and (not is_quoted or self._null_quoted[place]):
                continue
            iso = declared.iso(value)
            if iso is None:
                shown = value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}…"
                return place, f'"{shown}" is not a date or time in the format {declared.template}'
            written[place] = f"{self._dialect.quote}{iso}{self._dialect.quote}"
        end = text[len(text.removesuffix("\n").removesuffix("\r")) :]
        return (self._dialect.delimiter.join(written) + end).encode(errors="surrogateescape")
