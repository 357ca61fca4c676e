"""
CSV that all readers understand alike: quotes enclose whole fields, and a quote within them is doubled.

Other readers interpret an escape character differently.
"""

from __future__ import annotations

import re
from dataclasses import replace

from dpe_cli.blocks.csv_grammar import Dialect, Grammar, split
from dpe_cli.blocks.patterns import repeated


class Plain:
    """Rewrites records of one dialect as plain CSV, whose dialect is `dialect`."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = replace(dialect, escape=dialect.quote)
        self._given = dialect
        self._grammar = Grammar(dialect)
        self._quote, self._delimiter = dialect.quote.encode(), dialect.delimiter.encode()
        self._escape = b"" if dialect.escape == dialect.quote else dialect.escape.encode()
        quote, delimiter = re.escape(self._quote), re.escape(self._delimiter)
        # With a different escape character, doubled quotes end one part and start another.
        within = rb"[^%b]*" % quote + (b"" if self._escape else repeated(rb"%b%b[^%b]*" % (quote, quote, quote)))
        field = rb"(?:%b%b%b|[^%b%b\n]*)" % (quote, within, quote, quote, delimiter)
        record = field + repeated(delimiter + field) + b"\n"
        self._plain = re.compile(repeated(record))

    def of(self, data: bytes) -> bytes:
        """Return whole records as plain CSV, mostly unchanged."""
        data = data.replace(b"\r\n", b"\n")
        if self._is_plain(data):
            return data
        return b"".join(record if self._is_plain(record) else self._rewritten(record) for record in self._grammar.split(data))

    def _is_plain(self, data: bytes) -> bool:
        if self._escape and self._escape in data:
            return False
        return self._quote not in data or self._plain.fullmatch(data) is not None

    def _rewritten(self, record: bytes) -> bytes:
        """Return a record with every field that has quotes anywhere fully quoted; others may be the null string, and stay unquoted."""
        written = [field.encode() for field in split(record.decode(), self._given) or ()]
        values = self._grammar.fields(record)
        return self._delimiter.join(map(self._field, written, values)) + b"\n"

    def _field(self, written: bytes, value: bytes) -> bytes:
        return self._quote + value.replace(self._quote, self._quote * 2) + self._quote if self._quote in written else value
