"""
Finds values that PostgreSQL would change, in whole blocks of CSV.

These are compared with one regular expression, by an automaton (RE2), which takes the same time for each byte. Only the records that it
does not match are looked at one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from dpe_cli.blocks import automaton
from dpe_cli.blocks.automaton import Automaton, CsvExpressions
from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.csv_grammar import Dialect, split, value_of
from dpe_cli.blocks.exact_containers import ExactContainer
from dpe_cli.blocks.exact_types import Exact, canonical, exact_type

# Their expressions are long, and that of a record has to fit into an automaton: values of further columns are looked at one by one.
_MOST_CONTAINERS = 50


@dataclass(frozen=True)
class Inexact:
    """A value that its type may change: the column's place, and its type."""

    place: int
    value: str
    exact: Exact


class ExactValues:
    """
    Finds records of a dialect with values that their columns' types may change. `types` are those of the columns, in their order.

    `plain` returns the value of a field in which the dialect's quotes do not tell all (COPY's text format).
    """

    def __init__(
        self,
        types: Sequence[Exact | None],
        dialect: Dialect,
        *,
        null_quoted: Sequence[bool] = (),
        plain: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self._types = types
        self._dialect = dialect.for_copy
        self._csv = CsvExpressions.of(dialect)
        self._null_quoted = null_quoted or [False] * len(types)
        self._plain = plain

    @property
    def key(self) -> Hashable:
        """What it compares with."""
        return tuple(self._types), self._dialect, tuple(self._null_quoted)

    @cached_property
    def _automaton(self) -> Automaton:
        return self._compiled()

    def match(self, data: bytes) -> bool:
        """Return whether all records of a block have as many fields as there are types, each of which loads its values unchanged."""
        return self._automaton.fullmatch(data) is not None

    def records(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield the start and the end of records of a block that have to be looked at: they may have such values."""
        if not any(self._types):
            return
        position = 0
        while position < len(data):
            found = self._automaton.match(data, position)
            position = found.end() if found else position
            if position == len(data):
                return
            start = position
            found = self._record.match(data, start)
            position = found.end() if found else len(data)
            yield start, position

    def of(self, raw: bytes) -> list[Inexact]:
        """Return the values of a record that their types may change; none if it has another number of fields."""
        written = split(raw.decode(errors="surrogateescape"), self._dialect)
        if written is None or len(written) != len(self._types):
            return []
        found = []
        for place, (field, exact) in enumerate(zip(written, self._types, strict=True)):
            value = value_of(field, self._dialect, null_quoted=self._null_quoted[place])
            if exact and value is not None and not exact.accepts(self._plain(value.encode(errors="surrogateescape"))):
                found.append(Inexact(place, value, exact))
        return found

    @cached_property
    def _record(self) -> Automaton:
        """One record, whatever its values."""
        return automaton.compiled(self._csv.record)

    def _compiled(self) -> Automaton:
        delimiter, quote, escape, within = self._csv.delimiter, self._csv.quote, self._csv.escape, self._csv.within
        null = re.escape(self._dialect.null_string.encode())
        fields = []
        containers = 0
        for exact, is_null_quoted in zip(self._types, self._null_quoted, strict=True):
            if exact is None:
                fields.append(self._csv.field)
            elif isinstance(exact, ExactContainer):
                containers += 1
                fields.append(self._container(exact, null, is_null_quoted=is_null_quoted) if containers <= _MOST_CONTAINERS else null)
            elif exact.most_bytes is not None:
                most = exact.most_bytes
                fields.append(rb"(?:[^%b%b\n]{0,%d}|%b[^%b%b]{0,%d}%b)" % (quote, delimiter, most, quote, quote, escape, most, quote))
            elif exact.most_characters is not None:
                bare, quoted = exact.counted(quote + delimiter + rb"\n"), exact.counted(quote + escape)
                unpadded = rb"(?:[^%b%b\n]*[^%b%b\n ])?%b|%b(?:(?:%b[^ %b])?%b)%b" % (
                    *[quote, delimiter] * 2,
                    bare,
                    quote,
                    within,
                    quote,
                    quoted,
                    quote,
                )
                fields.append(rb"(?:%b)" % unpadded)
            else:
                quoted = rb"%b(?:%b%b)%b" % (quote, exact.pattern, rb"|" + null if is_null_quoted else b"", quote)
                fields.append(rb"(?:%b|%b|%b)" % (null, exact.pattern, quoted))
        return automaton.compiled(rb"(?:%b\r?\n)*" % delimiter.join(fields))

    def _container(self, exact: ExactContainer, null: bytes, *, is_null_quoted: bool) -> bytes:
        """Return an expression for a field of arrays, ranges or composite values, which may have quotes of their own within the field's."""
        delimiter, quote, escape = self._csv.delimiter, self._csv.quote, self._csv.escape
        is_same = self._dialect.quote == '"'
        bare = exact.pattern(None if is_same else b'"', quote + escape + delimiter + rb"\n")
        within = exact.pattern(escape + quote if is_same else b'"', quote + escape)
        if bare is None or within is None:
            return null
        return rb"(?:%b|%b|%b(?:%b%b)%b)" % (null, bare, quote, within, rb"|" + null if is_null_quoted else b"", quote)


def of_contract(columns: Sequence[Column | None], dialect: Dialect) -> ExactValues | None:
    """
    Return what the types that columns declare load unchanged; None stands for a column that the contract does not name.

    None if a column declares a format, because its values are converted before they are compared.
    """
    if any(column is not None and column.format for column in columns):
        return None
    types = [exact_type(canonical(column.data_type), rounds=column.rounds) if column else None for column in columns]
    return ExactValues(types, dialect, null_quoted=[dialect.null_quoted or bool(column and column.null_quoted) for column in columns])
