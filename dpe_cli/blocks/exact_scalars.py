"""
Which values a PostgreSQL type of single values loads as they are written.

PostgreSQL's input functions accept more than that, and change it: `1/1/24` becomes a date of 2001, 2.345 in numeric(10,2) is rounded,
a time of day in a date is cut off, `0x1F` is an integer (documentation, "Data Types": "Date/Time Input", "Numeric Types"; "Lexical
Structure": "Numeric Constants"). Accepted here are ISO 8601 dates and times, and plain decimal numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

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
_TEXT = re.compile(r"(?:character varying|character)\((\d+)\)")
_LONGEST_NAME = 63
_LONGEST_SHOWN = 100
# An automaton needs a state for each.
_MOST_COUNTED = 100


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
    # Whether blanks at the end are usual, because they fill the type's length.
    is_padded: bool = False

    def accepts(self, value: bytes) -> bool:
        """Return whether a value that is not null is loaded as it is written."""
        if self.most_bytes is not None:
            return len(value) <= self.most_bytes
        if re.fullmatch(self.pattern, value):
            return True
        if self.most_characters is not None:
            return len(value.decode(errors="replace")) <= self.most_characters
        return self.scale is not None and _decimals(value) <= self.scale

    def counted(self, excluded: bytes) -> bytes:
        """Return an expression for a padded text that is not too long, without the `excluded` characters (as in a set), or nothing."""
        if not self.is_padded or self.most_characters is None or self.most_characters > _MOST_COUNTED:
            return b""
        # A character of UTF-8 is one byte, and any that continue it.
        return rb"|(?:[^%b\x80-\xbf][\x80-\xbf]*){0,%d}" % (excluded, self.most_characters)

    def refusal(self, value: bytes) -> tuple[str, str]:
        """Return the SQLSTATE and the reason of a value that may be changed."""
        return self.sqlstate, f"{shown(value.decode(errors='surrogateescape'))} {self.fault}"


def shown(value: str) -> str:
    """Return a value for the reason of a reject."""
    return f'"{value}"' if len(value) <= _LONGEST_SHOWN else f'"{value[:_LONGEST_SHOWN]}…"'


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


def scalar(data_type: str, *, rounds: bool) -> ExactType | None:
    """Return what a type of single values (as format_type() names it) loads unchanged; None if it changes nothing that it accepts."""
    if data_type in _SIMPLE:
        return _SIMPLE[data_type]
    if found := _TEXT.fullmatch(data_type):
        most = int(found[1])
        fault = f"is longer than {most} characters, including blanks at its end"
        return ExactType(rb"(?s:.*[^ ])?", _RIGHT_TRUNCATION, fault, most, is_padded=data_type.startswith("character("))
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
    # A type of one byte, which PostgreSQL's own catalogs use.
    '"char"': ExactType(b"", _RIGHT_TRUNCATION, "is longer than 1 byte", most_bytes=1),
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
