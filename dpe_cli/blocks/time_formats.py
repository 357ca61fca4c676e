"""
Dates and times in a declared format, in PostgreSQL's template patterns (documentation, "Data Type Formatting Functions").

Unlike to_timestamp(), which skips what it does not expect, this accepts exactly the declared form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december")
_FULL = "|".join(_MONTHS)
_SHORT = "|".join(name[:3] for name in _MONTHS)
# Each template pattern as an expression; named groups are the parts of a point in time. The longest comes first.
_PATTERNS: Mapping[str, str] = {
    "MONTH": f"(?P<month_name>(?i:{_FULL}))",
    "YYYY": r"(?P<year>\d{4})",
    "HH24": r"(?P<hour>\d{2})",
    "HH12": r"(?P<hour12>\d{2})",
    "A.M.": r"(?P<half>(?i:a\.m\.|p\.m\.))",
    "P.M.": r"(?P<half>(?i:a\.m\.|p\.m\.))",
    "MON": f"(?P<month_name>(?i:{_SHORT}))",
    "TZH": r"(?P<zone_hour>[+-]?\d{2})",
    "TZM": r"(?P<zone_minute>\d{2})",
    "YY": r"(?P<short_year>\d{2})",
    "MM": r"(?P<month>\d{2})",
    "DD": r"(?P<day>\d{2})",
    "HH": r"(?P<hour12>\d{2})",
    "MI": r"(?P<minute>\d{2})",
    "SS": r"(?P<second>\d{2})",
    "MS": r"(?P<fraction>\d{3})",
    "US": r"(?P<fraction>\d{6})",
    **{f"FF{digits}": rf"(?P<fraction>\d{{{digits}}})" for digits in range(1, 7)},
    "AM": r"(?P<half>(?i:am|pm))",
    "PM": r"(?P<half>(?i:am|pm))",
}
_NAMES = "|".join(map(re.escape, sorted(_PATTERNS, key=len, reverse=True)))
_TOKEN = re.compile(rf'(?P<fill>FM)?(?P<pattern>{_NAMES})|"(?P<text>[^"]*)"|(?P<other>.)', re.IGNORECASE | re.DOTALL)
# The same for whole blocks: parts of fixed width, for those days of the calendar that exist. Each line names days of some months and years.
_FIXED = {"year": "YYYY", "month": "MM", "day": "DD", "hour": "HH24", "minute": "MI", "second": "SS"}
_LEAP = r"[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00"
_ANY_YEAR = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_CALENDAR = (
    {"day": "(?:0[1-9]|1[0-9]|2[0-8])", "month": "(?:0[1-9]|1[0-2])", "year": _ANY_YEAR},
    {"day": "(?:29|30)", "month": "(?:0[13-9]|1[0-2])", "year": _ANY_YEAR},
    {"day": "31", "month": "(?:0[13578]|1[02])", "year": _ANY_YEAR},
    {"day": "29", "month": "02", "year": f"(?:{_LEAP})"},
)
_OF_CLOCK = {"hour": "(?:[01][0-9]|2[0-3])", "minute": "[0-5][0-9]", "second": "[0-5][0-9]"}
# PostgreSQL takes two digits for the year nearest to 2020.
_FIRST_OF_LAST_CENTURY = 70


@dataclass(frozen=True)
class FixedForm:
    """
    A format whose parts are digits at fixed places, for regular expressions over whole blocks.

    `accepted` matches the values that `TimeFormat.iso` accepts, without blanks around them. `parts` matches these too, and captures their
    parts, from which `written`, a replacement, makes ISO 8601 if the first of its groups is number 2. `text` is all else in the format.
    """

    accepted: str
    parts: str
    written: str
    text: str


@dataclass(frozen=True)
class TimeFormat:
    """A declared format. `iso` returns a value as ISO 8601 writes it; None if it does not have this form, or is not a day or time."""

    template: str
    iso: Callable[[str], str | None]
    fixed: FixedForm | None


def parse(template: str) -> TimeFormat:
    """
    Return a format, given in template patterns.

    Raises:
        ValueError: it has a pattern that is not supported, or one that means the same as another, or no year, month and day.
    """
    expression = re.compile("".join(_expressions(template)), re.ASCII)
    groups = set(expression.groupindex)
    if not {"year", "short_year"} & groups or not {"month", "month_name"} & groups or "day" not in groups:
        raise ValueError("has to have a year, a month and a day (YYYY, MM, DD)")
    if "hour12" in groups and "half" not in groups:
        raise ValueError("HH12 needs AM or PM; write HH24 if hours count to 23")
    return TimeFormat(template, lambda value: _iso(expression.fullmatch(value.strip(" "))), _fixed(template))


def _expressions(template: str) -> Iterator[str]:
    seen: set[str] = set()
    for token in _TOKEN.finditer(template):
        if token["pattern"] is None:
            text = token["text"] if token["text"] is not None else token["other"]
            if token["other"] and text.isalpha() and text != "T":
                raise ValueError(f"{text} at character {token.start() + 1} is not a pattern; write text in double quotes")
            yield re.escape(text)
            continue
        expression = _PATTERNS[token["pattern"].upper()]
        name = expression.partition("<")[2].partition(">")[0]
        if name in seen:
            raise ValueError(f"{token['pattern']} repeats what another pattern says")
        seen.add(name)
        # FM: without leading zeros.
        yield expression.replace(r"\d{2}", r"\d{1,2}") if token["fill"] else expression


def _fixed(template: str) -> FixedForm | None:
    names = {pattern: name for name, pattern in _FIXED.items()}
    order: list[str] = []
    pieces: list[tuple[str | None, str]] = []
    for token in _TOKEN.finditer(template):
        pattern = (token["pattern"] or "").upper()
        if token["fill"] or (pattern and pattern not in names and not pattern.startswith(("FF", "MS", "US"))):
            return None
        if not pattern:
            text = token["text"] if token["text"] is not None else token["other"]
            pieces.append((None, text))
            continue
        name = names.get(pattern, "fraction")
        order.append(name)
        pieces.append((name, _PATTERNS[pattern].partition(">")[2].removesuffix(")").replace(r"\d", "[0-9]")))
    accepted = "|".join(
        "".join(re.escape(piece) if name is None else (days | _OF_CLOCK).get(name, piece) for name, piece in pieces) for days in _CALENDAR
    )
    parts = "".join(re.escape(piece) if name is None else f"({piece})" for name, piece in pieces)
    group = {name: rf"\g<{number}>" for number, name in enumerate(order, 2)}
    written = f"{group['year']}-{group['month']}-{group['day']}"
    if order != [name for name in order if name in {"year", "month", "day"}]:
        fraction = f".{group['fraction']}" if "fraction" in group else ""
        written += f" {group.get('hour', '00')}:{group.get('minute', '00')}:{group.get('second', '00')}{fraction}"
    return FixedForm(f"(?:{accepted})", parts, written, "".join(piece for name, piece in pieces if name is None))


def _iso(found: re.Match[str] | None) -> str | None:
    if found is None:
        return None
    parts = {name: value for name, value in found.groupdict().items() if value is not None}
    year = int(parts["year"]) if "year" in parts else _long_year(int(parts["short_year"]))
    month = int(parts["month"]) if "month" in parts else _number_of(parts["month_name"])
    try:
        day = date(year, month, int(parts["day"]))
    except ValueError:
        return None
    clock = _clock(parts)
    return None if clock is None else f"{day:%Y-%m-%d}".rjust(10, "0") + clock


def _clock(parts: Mapping[str, str]) -> str | None:
    """Return the time of day, to be written after a date; empty if the format has none, None if it is not a time (25:00)."""
    if not {"hour", "hour12", "minute", "second", "fraction"} & parts.keys():
        return ""
    hour = int(parts.get("hour", 0))
    if "hour12" in parts:
        hour = int(parts["hour12"])
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if parts["half"].lower().startswith("p") else 0)
    minute, second = int(parts.get("minute", 0)), int(parts.get("second", 0))
    if hour > 23 or minute > 59 or second > 59:
        return None
    fraction = f".{parts['fraction']}" if "fraction" in parts else ""
    sign = "" if "zone_hour" not in parts or parts["zone_hour"][0] in "+-" else "+"
    zone = f"{sign}{parts['zone_hour']}:{parts.get('zone_minute', '00')}" if "zone_hour" in parts else ""
    return f" {hour:02}:{minute:02}:{second:02}{fraction}{zone}"


def _long_year(short: int) -> int:
    return short + (1900 if short >= _FIRST_OF_LAST_CENTURY else 2000)


def _number_of(month: str) -> int:
    return next(number for number, name in enumerate(_MONTHS, 1) if name.startswith(month.lower()))
