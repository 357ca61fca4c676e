"""
Which intervals PostgreSQL loads as they are written: in ISO 8601 (`P1DT2H`), in its own form (`1 day 02:00:00`), in standard SQL (`1-2`).

It rounds seconds to the precision of the type, drops what is shorter than the last field of a type such as `interval day`, and spreads
fractions of days and longer units over shorter ones, as if each month had 30 days (documentation, "Date/Time Types", "Interval Input").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from dpe_cli.blocks.exact_scalars import INVALID_TEXT, ExactType

_NAME = re.compile(r"interval(?: (?:([a-z]+) to )?(year|month|day|hour|minute|second))?(?:\(([0-6])\))?")
_MOST_DECIMALS = 6
# Far longer than an interval is: whatever takes more room is not looked at.
_LONGEST = 200
# The fields of a type, and the shortest amount that each of them keeps.
_SECONDS = {"hour": 3600, "minute": 60, "second": 1}
_FIELDS = ("year", "month", "day", *_SECONDS)
# PostgreSQL's words. `m` is missing, because it is a minute there, and a month in ISO 8601.
_WORDS = {
    "year": "years?|yrs?|y",
    "month": "months?|mons?",
    "week": "weeks?|w",
    "day": "days?|d",
    "hour": "hours?|hrs?|h",
    "minute": "minutes?|mins?",
    "second": "seconds?|secs?|s",
    "millisecond": "milliseconds?|msecs?|ms",
    "microsecond": "microseconds?|usecs?|us",
}
# What each unit is, in the units that PostgreSQL stores.
_MONTHS = {"year": 12, "month": 1}
_DAYS = {"week": 7, "day": 1}
_IN_SECONDS: dict[str, int | Fraction] = {**_SECONDS, "millisecond": Fraction(1, 1000), "microsecond": Fraction(1, 1_000_000)}

# With a fraction, PostgreSQL may read it as a double, which has fifteen digits for certain.
_NUMBER = r"[+-]?(?:[0-9]{1,15}|[0-9]{1,9}\.[0-9]*|\.[0-9]+)"
_TIME = r"(?P<hour>[0-9]{1,9}):(?P<minute>[0-5]?[0-9])(?::(?P<second>[0-5]?[0-9](?:\.[0-9]*)?))?"
_CLOCK = f"(?P<sign>[+-]?){_TIME}"
_MINUTES_AND_SECONDS = r"(?P<sign>[+-]?)(?P<minute>[0-9]{1,9}):(?P<second>[0-5]?[0-9](?:\.[0-9]*)?)"
_ISO = re.compile(
    "P"
    + "".join(f"(?:(?P<{unit}>{_NUMBER}){letter})?" for unit, letter in (("year", "Y"), ("month", "M"), ("week", "W"), ("day", "D")))
    + "(?:T"
    + "".join(f"(?:(?P<{unit}>{_NUMBER}){letter})?" for unit, letter in (("hour", "H"), ("minute", "M"), ("second", "S")))
    + ")?"
)
_FORMS = (
    _ISO,
    re.compile(rf"P(?P<year>[0-9]{{4}})-(?P<month>[0-9]{{2}})-(?P<day>[0-9]{{2}})(?:T{_TIME})?"),
    re.compile(r"(?P<year>[+-]?[0-9]{1,9})-(?P<month>[0-9]{1,2})"),
    # With a minus, standard SQL means the time, too, and PostgreSQL only the days.
    re.compile(rf"\+?(?P<day>[0-9]{{1,9}}) +{_TIME}"),
)
_OF_MINUTES = re.compile(_MINUTES_AND_SECONDS)
_TERM = re.compile(rf"(?:{_CLOCK}|(?P<number>{_NUMBER}) *(?P<word>[a-z]+))(?:,? +|$)", re.IGNORECASE)
_UNIT_OF_WORD = {unit: re.compile(words, re.IGNORECASE) for unit, words in _WORDS.items()}
_INFINITE = rb"[+-]?(?i:infinity)"


@dataclass(frozen=True)
class ExactInterval(ExactType):
    """Intervals of a type that keeps `decimals` of seconds, and nothing shorter than `last`; `first` is a type's first field."""

    first: str | None = None
    last: str = "second"
    decimals: int = _MOST_DECIMALS
    rounds: bool = False

    def accepts(self, value: bytes) -> bool:
        """Return whether a value that is not null is loaded as it is written."""
        if super().accepts(value):
            return True
        terms = self._terms(value.decode(errors="replace").strip(" ")) if len(value) <= _LONGEST else None
        if not terms:
            return False
        months, days = (sum((number * units[unit] for unit, number in terms if unit in units), Fraction()) for units in (_MONTHS, _DAYS))
        if any(number.denominator > 1 and unit not in _IN_SECONDS for unit, number in terms):
            return False
        seconds = sum((number * _IN_SECONDS[unit] for unit, number in terms if unit in _IN_SECONDS), Fraction())
        return self.rounds or self._keeps(months, days, seconds)

    def _keeps(self, months: Fraction, days: Fraction, seconds: Fraction) -> bool:
        if self.last in _SECONDS:
            unit = _SECONDS[self.last] if self.last != "second" else Fraction(1, 10**self.decimals)
            return seconds % unit == 0
        return not seconds and (self.last == "day" or not days) and (self.last != "year" or months % 12 == 0)

    def _terms(self, text: str) -> list[tuple[str, Fraction]] | None:
        """Return what an interval consists of; None if it is not written in one of the forms."""
        if self.first == self.last and re.fullmatch(_NUMBER, text):
            return [(self.last, Fraction(text))]
        if (self.first, self.last) == ("minute", "second") and (found := _OF_MINUTES.fullmatch(text)):
            return list(_parts(found))
        for form in _FORMS:
            if found := form.fullmatch(text):
                return list(_parts(found))
        return _of_words(text)


def _parts(found: re.Match[str]) -> Iterator[tuple[str, Fraction]]:
    groups = found.groupdict()
    sign = -1 if groups.pop("sign", "") == "-" else 1
    for unit, number in groups.items():
        if number is not None and unit in _WORDS:
            # Standard SQL's sign of years is that of the months, too; which of them it is does not matter here.
            yield unit, sign * Fraction(number)


def _of_words(text: str) -> list[tuple[str, Fraction]] | None:
    """Return the terms of `1 day 02:00:00`, or `@ 1 year 2 mons ago`."""
    text = text.removeprefix("@").lstrip(" ")
    if text[-4:].lower() == " ago":
        text = text[:-4].rstrip(" ")
    terms: list[tuple[str, Fraction]] = []
    position = 0
    while position < len(text):
        found = _TERM.match(text, position)
        if not found:
            return None
        if found["word"]:
            unit = next((unit for unit, words in _UNIT_OF_WORD.items() if words.fullmatch(found["word"])), None)
            if unit is None:
                return None
            terms.append((unit, Fraction(found["number"])))
        else:
            terms += _parts(found)
        position = found.end()
    return terms


def interval(data_type: str, *, rounds: bool) -> ExactType | None:
    """Return which intervals a type (as format_type() names it) loads unchanged; None if it is another type."""
    found = _NAME.fullmatch(data_type)
    if not found:
        return None
    last = found[2] or "second"
    decimals = _MOST_DECIMALS if found[3] is None else int(found[3])
    shorter = f"at most {decimals} decimals of seconds" if last == "second" else f"nothing shorter than a {last}"
    fault = (
        f"is not an interval as in ISO 8601, P1DT2H, or as PostgreSQL writes it, 1 day 02:00:00, with {shorter}, and without fractions of "
        "days and longer units"
    )
    pattern = _pattern(last, decimals, is_bare=found[2] is not None and found[1] is None)
    first = found[1] or found[2]
    return ExactInterval(pattern, INVALID_TEXT, fault, first=first, last=last, decimals=decimals, rounds=rounds)


def _pattern(last: str, decimals: int, *, is_bare: bool) -> bytes:
    """Return an expression for what is written most often; anything else is looked at one by one."""
    kept = _FIELDS[: _FIELDS.index(last) + 1]
    fraction = rf"(?:\.[0-9]{{0,{decimals}}}0*)?" if last == "second" else ""
    words = "|".join(_WORDS[unit] for unit in kept if unit != "second")
    # A number with a fraction is read as a double.
    seconds = rf"|(?:[+-]?[0-9]{{1,9}}{fraction} ?(?i:{_WORDS['second']}))" if last == "second" else ""
    clock = {"hour": "00(?::00)?", "minute": "[0-5][0-9](?::00)?", "second": f"[0-5][0-9](?::[0-5][0-9]{fraction})?"}.get(last)
    clock = rf"[+-]?[0-9]+:{clock}" if clock else "[+-]?0+:00(?::00)?"
    dates, times = (
        "".join(rf"(?:[+-]?[0-9]+{unit[0].upper()})?" for unit in kept if unit != "second" and (unit in _SECONDS) is is_time)
        for is_time in (False, True)
    )
    times += rf"(?:[+-]?[0-9]{{1,9}}{fraction}S)?" if last == "second" else ""
    forms = [rf"(?:(?:[+-]?[0-9]+ ?(?i:{words}){seconds}) ?)*(?:{clock})?", f"P{dates}(?:T{times})?"]
    forms += ["[+-]?[0-9]+"] if is_bare and last != "second" else []
    return rb" *(?:%b|%b) *" % ("|".join(forms).encode(), _INFINITE)
