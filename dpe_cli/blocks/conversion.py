"""Rewrites the values of records whose columns declare another form than PostgreSQL's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dpe_cli.blocks.csv_grammar import Dialect, split, value_of
from dpe_cli.blocks.exact_scalars import shown
from dpe_cli.blocks.time_formats import TimeFormat


class Converter:
    """Converts records of `width` fields. `formats` are those of the columns at these places."""

    def __init__(self, formats: Mapping[int, TimeFormat], dialect: Dialect, *, null_quoted: Sequence[bool], width: int) -> None:
        self._formats = formats
        self._dialect = dialect.for_copy
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
            value = value_of(written[place], self._dialect, null_quoted=self._null_quoted[place])
            if value is None:
                continue
            iso = declared.iso(value)
            if iso is None:
                return place, f"{shown(value)} is not a date or time in the format {declared.template}"
            written[place] = f"{self._dialect.quote}{iso}{self._dialect.quote}"
        end = text[len(text.removesuffix("\n").removesuffix("\r")) :]
        return (self._dialect.delimiter.join(written) + end).encode(errors="surrogateescape")
