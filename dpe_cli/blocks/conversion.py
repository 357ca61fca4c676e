"""Rewrites the values of records whose columns declare another form than PostgreSQL's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property

from dpe_cli.blocks import automaton
from dpe_cli.blocks.automaton import Automaton, CsvExpressions
from dpe_cli.blocks.csv_grammar import Dialect, split, value_of
from dpe_cli.blocks.exact_scalars import shown
from dpe_cli.blocks.time_formats import FixedForm, TimeFormat


class Converter:
    """Converts records of `width` fields. `formats` are those of the columns at these places."""

    def __init__(self, formats: Mapping[int, TimeFormat], dialect: Dialect, *, null_quoted: Sequence[bool], width: int) -> None:
        self._formats = formats
        self._dialect = dialect.for_copy
        self._null_quoted = null_quoted
        self._width = width

    def convert_all(self, data: bytes) -> bytes | None:
        """Return a block as COPY loads it; None if its records have to be converted one by one: a value may have another form."""
        if self._simple is None or self._simple.fullmatch(data) is None:
            return None
        for expression, written in self._replacements:
            data = expression.sub(written, data)
        return data

    @cached_property
    def _fixed(self) -> dict[int, FixedForm]:
        """The formats for whole blocks; none if one of them is not fixed, or may be divided or meant as a missing value."""
        fixed = {place: declared.fixed for place, declared in self._formats.items() if declared.fixed is not None}
        special = {self._dialect.delimiter, self._dialect.quote, self._dialect.escape, "\r", "\n"}
        if (
            len(fixed) < len(self._formats)
            or self._dialect.delimiter.isalnum()
            or any(special & {*form.text} or re.fullmatch(form.accepted, self._dialect.null_string) for form in fixed.values())
        ):
            return {}
        return fixed

    @cached_property
    def _simple(self) -> Automaton | None:
        """Blocks in which each line is a record, and each value that is not missing has the form that its column declares."""
        if not self._fixed:
            return None
        csv = CsvExpressions.of(self._dialect)
        null = re.escape(self._dialect.null_string.encode())
        fields = [self._field] * self._width
        for place, form in self._fixed.items():
            accepted = form.accepted.encode()
            quoted = accepted + (b"|" + null if self._null_quoted[place] else b"")
            fields[place] = rb"(?:%b|%b|%b(?:%b)%b)" % (accepted, null, csv.quote, quoted, csv.quote)
        return automaton.compiled(rb"(?:%b\r?\n)*" % csv.delimiter.join(fields))

    @cached_property
    def _field(self) -> bytes:
        """A field that ends on its line, in which no quote is escaped."""
        csv = CsvExpressions.of(self._dialect)
        return rb"(?:[^%b%b\r\n]*|%b[^%b%b\r\n]*%b)" % (csv.quote, csv.delimiter, csv.quote, csv.quote, csv.escape, csv.quote)

    @cached_property
    def _replacements(self) -> list[tuple[re.Pattern[bytes], bytes]]:
        csv = CsvExpressions.of(self._dialect)
        quote = self._dialect.quote.encode().replace(b"\\", b"\\\\")
        return [
            (
                re.compile(
                    rb"^((?:%b%b){%d})%b?%b%b?(?=%b|\r?\n)"
                    % (self._field, csv.delimiter, place, csv.quote, form.parts.encode(), csv.quote, csv.delimiter),
                    re.MULTILINE,
                ),
                rb"\1" + quote + form.written.encode() + quote,
            )
            for place, form in self._fixed.items()
        ]

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
