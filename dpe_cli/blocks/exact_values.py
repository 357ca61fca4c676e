"""
Which values a PostgreSQL type loads as they are written.

PostgreSQL's input functions accept more than that, and change it: `1/1/24` becomes a date of 2001, 2.345 in numeric(10,2) is rounded,
a time of day in a date is cut off, `0x1F` is an integer (documentation, "Data Types": "Date/Time Input", "Numeric Types"; "Lexical
Structure": "Numeric Constants"). Accepted here are ISO 8601 dates and times, and plain decimal numbers.

Whole blocks are compared with one regular expression, by an automaton (RE2), which takes the same time for each byte.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property

from dpe_cli.blocks import automaton
from dpe_cli.blocks.automaton import Automaton, CsvExpressions
from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.csv_grammar import Dialect, split, value_of

INVALID_TEXT = "22P02"
_RIGHT_TRUNCATION = "22001"
_DATE = rb"(?:[0-9]{4,6}-[0-9]{2}-[0-9]{2}|[0-9]{8})"
_ERA = rb"(?: ?(?:BC|AD))?"
# A time of day that changes nothing.
_MIDNIGHT = rb"(?:[ Tt]00:?00(?::?00(?:\.0*)?)?(?:[Zz]|[+-]00(?::?00)?)?)?"
_UTC = rb"(?: ?(?:[Zz]|UTC|[+-]00(?::?00)?))"
_ZONE = rb"(?: ?(?:[Zz]|UTC|[+-][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2})?)?))"
_INFINITE = rb"|[+-]?(?i:infinity)"
_NO_NUMBER = rb"|(?i:nan|[+-]?inf(?:inity)?)"
_DECIMAL = rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_EXPONENT = rb"(?:[Ee][+-]?[0-9]{1,4})?"
_WITH_PRECISION = re.compile(r"(timestamp|time)(?:\(([0-6])\))? (with|without) time zone")
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
_VARYING = re.compile(r"character varying\((\d+)\)")
_LONGEST_NAME = 63
_LONGEST_SHOWN = 100


@dataclass(frozen=True)
class ExactType:
    """What a type loads unchanged: a pattern of bytes without quotes, and what is wrong with anything else."""

    pattern: bytes
    sqlstate: str
    fault: str
    # The most characters or bytes of a text, and decimals of a number; a value that the pattern does not match is compared with them.
    most_characters: int | None = None
    most_bytes: int | None = None
    scale: int | None = None

    def accepts(self, value: bytes) -> bool:
        """Return whether a value that is not null is loaded as it is written."""
        if self.most_bytes is not None:
            return len(value) <= self.most_bytes
        if re.fullmatch(self.pattern, value):
            return True
        if self.most_characters is not None:
            return len(value.decode(errors="replace")) <= self.most_characters
        return self.scale is not None and _decimals(value) <= self.scale


def _decimals(value: bytes) -> float:
    """Return how many decimals a number needs, fewer than none if it ends with zeros; infinitely many if it is not a plain number."""
    text = value.strip(b" ").decode(errors="replace")
    if not re.fullmatch(_DECIMAL + _EXPONENT, text.encode()):
        return float("inf")
    try:
        _, digits, exponent = Decimal(text).as_tuple()
    except InvalidOperation:
        return float("inf")
    written = "".join(map(str, digits)).rstrip("0")
    return -(int(exponent) + len(digits) - len(written)) if written else float("-inf")


def exact_type(data_type: str, *, rounds: bool = False) -> ExactType | None:
    """
    Return what a type (as format_type() names it) loads unchanged; None if it changes nothing that it accepts.

    If it `rounds`, surplus decimals are accepted.
    """
    if data_type in _SIMPLE:
        return _SIMPLE[data_type]
    if found := _VARYING.fullmatch(data_type):
        most = int(found[1])
        return ExactType(rb"(?s:.*[^ ])?", _RIGHT_TRUNCATION, f"is longer than {most} characters, including blanks at its end", most)
    if found := _NUMERIC.fullmatch(data_type):
        return _numeric(int(found[2]), rounds=rounds)
    return _time(data_type, rounds=rounds)


_INTEGER = ExactType(rb" *[+-]?[0-9]+ *", INVALID_TEXT, "is not a plain integer")
_NUMBER = ExactType(rb" *(?:%b%b%b) *" % (_DECIMAL, _EXPONENT, _NO_NUMBER), INVALID_TEXT, "is not a plain decimal number")
_SIMPLE = {
    **dict.fromkeys(("smallint", "integer", "bigint"), _INTEGER),
    **dict.fromkeys(("numeric", "real", "double precision"), _NUMBER),
    # PostgreSQL adds 2^32 to a negative one.
    "oid": ExactType(rb" *[0-9]+ *", INVALID_TEXT, "is not a plain integer without a sign"),
    "money": ExactType(rb" *-?[0-9]+(?:\.[0-9]{1,2})? *", INVALID_TEXT, "is not a plain decimal number with at most 2 decimals"),
    "name": ExactType(b"", _RIGHT_TRUNCATION, f"is longer than {_LONGEST_NAME} bytes", most_bytes=_LONGEST_NAME),
}


def _numeric(scale: int, *, rounds: bool) -> ExactType:
    if rounds:
        return ExactType(rb" *(?:%b%b|(?i:nan)) *" % (_DECIMAL, _EXPONENT), INVALID_TEXT, "is not a plain decimal number")
    if scale > 0:
        pattern = rb"(?:[0-9]+(?:\.[0-9]{0,%d}0*)?|\.[0-9]{1,%d}0*)" % (scale, scale)
    else:
        # Whether a number is rounded to tens depends on its last digits.
        pattern = rb"[0-9]+(?:\.0*)?" if scale == 0 else rb"0"
    allowed = f"{scale} decimals" if scale >= 0 else f"multiples of {10**-scale}"
    fault = f"is not a plain decimal number, or does not fit {allowed} without being rounded (declare `round: true` in the column's meta)"
    return ExactType(rb" *(?:[+-]?%b|(?i:nan)) *" % pattern, INVALID_TEXT, fault, scale=scale)


def _time(data_type: str, *, rounds: bool) -> ExactType | None:
    if data_type == "date":
        pattern = rb" *(?:%b%b%b%b) *" % (_DATE, rb"(?:[ Tt][0-9:.+Zz-]*)?" if rounds else _MIDNIGHT, _ERA, _INFINITE)
        return ExactType(pattern, INVALID_TEXT, "is not a date as in ISO 8601, YYYY-MM-DD (declare its `format` in the column's meta)")
    found = _WITH_PRECISION.fullmatch(data_type)
    if not found:
        return None
    precision = 6 if found[2] is None else int(found[2])
    fraction = rb"(?:\.[0-9]*)?" if rounds else rb"(?:\.[0-9]{0,%d}0*)?" % precision
    # PostgreSQL turns a second 60 into the next minute.
    clock = rb"(?:(?:[01][0-9]|2[0-4]):[0-5][0-9](?::[0-5][0-9]%b)?)" % fraction
    compact = rb"(?:[0-9]{4}(?:[0-9]{2}%b)?)" % fraction
    zone = _ZONE if found[3] == "with" else _UTC
    decimals = f"with at most {precision} decimals" if not rounds else "with any decimals"
    if found[1] == "time":
        zone = _ZONE if found[3] == "with" else rb"(?:[Zz])"
        return ExactType(rb" *%b%b? *" % (clock, zone), INVALID_TEXT, f"is not a time of day as in ISO 8601, HH:MM:SS {decimals}")
    what = "YYYY-MM-DD HH:MM:SS" + ("+HH:MM" if found[3] == "with" else ", without a time zone")
    pattern = rb" *(?:%b(?:[ Tt]+%b|[Tt]%b)?%b?%b%b) *" % (_DATE, clock, compact, zone, _ERA, _INFINITE)
    fault = f"is not a point in time as in ISO 8601, {what}, {decimals} (declare its `format` in the column's meta)"
    return ExactType(pattern, INVALID_TEXT, fault)


def shown(value: str) -> str:
    """Return a value for the reason of a reject."""
    return f'"{value}"' if len(value) <= _LONGEST_SHOWN else f'"{value[:_LONGEST_SHOWN]}…"'


@dataclass(frozen=True)
class Inexact:
    """A value that its type may change: the column's place, and its type."""

    place: int
    value: str
    exact: ExactType


class ExactValues:
    """Finds records of a dialect with values that their columns' types may change. `types` are those of the columns, in their order."""

    def __init__(self, types: Sequence[ExactType | None], dialect: Dialect, *, null_quoted: Sequence[bool] = ()) -> None:
        self._types = types
        self._dialect = dialect.for_copy
        self._csv = CsvExpressions.of(dialect)
        self._null_quoted = null_quoted or [False] * len(types)

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
            if exact and value is not None and not exact.accepts(value.encode(errors="surrogateescape")):
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
        for exact, is_null_quoted in zip(self._types, self._null_quoted, strict=True):
            if exact is None:
                fields.append(self._csv.field)
            elif exact.most_bytes is not None:
                most = exact.most_bytes
                fields.append(rb"(?:[^%b%b\n]{0,%d}|%b[^%b%b]{0,%d}%b)" % (quote, delimiter, most, quote, quote, escape, most, quote))
            elif exact.most_characters is not None:
                fields.append(rb"(?:(?:[^%b%b\n]*[^%b%b\n ])?|%b(?:%b[^ %b])?%b)" % (*[quote, delimiter] * 2, quote, within, quote, quote))
            else:
                quoted = rb"%b(?:%b%b)%b" % (quote, exact.pattern, rb"|" + null if is_null_quoted else b"", quote)
                fields.append(rb"(?:%b|%b|%b)" % (null, exact.pattern, quoted))
        return automaton.compiled(rb"(?:%b\r?\n)*" % delimiter.join(fields))


_ALIASES = {
    "int": "integer",
    "int4": "integer",
    "int2": "smallint",
    "int8": "bigint",
    "float": "double precision",
    "float8": "double precision",
    "float4": "real",
    "decimal": "numeric",
    "varchar": "character varying",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "timetz": "time with time zone",
}
_DECLARED = re.compile(r"([a-z0-9_ ]+?) ?(\([0-9, ]+\))?( with(?:out)? time zone)?")


def of_contract(columns: Sequence[Column | None], dialect: Dialect) -> ExactValues | None:
    """
    Return what the types that columns declare load unchanged; None stands for a column that the contract does not name.

    None if a column declares a format, because its values are converted before they are compared.
    """
    if any(column is not None and column.format for column in columns):
        return None
    types = [exact_type(canonical(column.data_type), rounds=column.rounds) if column else None for column in columns]
    return ExactValues(types, dialect, null_quoted=[dialect.null_quoted or bool(column and column.null_quoted) for column in columns])


def canonical(data_type: str) -> str:
    """Return a declared type as format_type() names it, as far as it is PostgreSQL's own."""
    found = _DECLARED.fullmatch(" ".join(data_type.lower().split()))
    if not found:
        return data_type
    name = _ALIASES.get(found[1] + (found[3] or ""), found[1] + (found[3] or ""))
    modifier = (found[2] or "").replace(" ", "")
    if name == "numeric" and modifier and "," not in modifier:
        modifier = modifier.replace(")", ",0)")
    first, blank, rest = name.partition(" ")
    return f"{first}{modifier}{blank}{rest}" if first in {"timestamp", "time"} else name + modifier
