"""Words for money, time zones, units, people and order, as specs and names of columns use them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dpe_cli.specs.requirement import ContractColumn
from dpe_cli.specs.text import Text

# The parts of a name: `net_amount`, `netAmount`, `Net amount`.
_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")

_AMOUNT = re.compile(
    r"\b(?:amounts?|prices?|costs?|fees?|salar(?:y|ies)|wages?|revenues?|turnover|balances?|charges?|payments?|budgets?|rents?|premiums?|discounts?|"
    r"refunds?|deposits?|gross|net|invoiced|granted|paid|fare|tariff|bonus(?:es)?)\b",
    re.IGNORECASE,
)
# Counts, shares and days are not amounts of money, whatever else their names say.
_NOT_MONEY = re.compile(
    r"\b(?:count|number|quantity|date|day|days|time|at|id|code|status|method|type|rate|percent|percentage|share|kwh|kg|is|has|flag|name|ratio|no|nr|key|ref|reference|account|period|month|year|category|class|group|due|reason|plan)\b",
    re.IGNORECASE,
)
CURRENCY = re.compile(
    r"\b(?:EUR|USD|GBP|CHF|JPY|CAD|AUD|SEK|NOK|DKK|PLN|CZK|HUF|INR|CNY|BRL|MXN|NZD|SGD|ZAR|TRY)\b|[€$£¥]|\b(?:euros?|euro cents?|(?:us |american )?dollars?|pounds? sterling|pounds?|"
    r"swiss francs?|francs?|yen|kron(?:a|or|er?)|zloty|cents?|pence)\b",
)
_CURRENCY_LOWER = re.compile(r"\b(?:eur|usd|gbp|chf|euros?|cents?|dollars?|pounds?|francs?)\b", re.IGNORECASE)
_CURRENCY_NAME = re.compile(r"\b(?:currency|curr|ccy)\b", re.IGNORECASE)
_MOMENT_TYPE = re.compile(r"timestamp|date ?time|\btime\b", re.IGNORECASE)
_WITH_ZONE = re.compile(r"timestamptz|with time zone|with (?:utc )?offset|with zone", re.IGNORECASE)
ZONE = re.compile(
    r"\b(?:UTC|GMT|Zulu|C?E[SD]?T|CES?T|[PMCE][SD]T|BST)\b|\bZ\b|\b(?:Europe|America|Asia|Africa|Australia|Pacific|Atlantic|Indian)/\w+|[+-]\d\d:\d\d\b|"
    r"\btime ?zones?\b|\boffset\b|\blocal times?\b|\blocal\b|\btime (?:in|of|at) [A-Z]\w+|\b[A-Z]\w+(?: [A-Z]\w+)? (?:local|summer|winter|standard) time\b|(?:\b(?:in|at|is)|\d) [A-Z]\w+(?: [A-Z]\w+)? time\b|\bclock (?:in|of|at)\b|\bepoch\b",
)
_PERSON = re.compile(
    r"\b(?:first ?name|last ?name|sur ?name|given ?name|family ?name|full ?name|maiden name|e ?mail|mail address|phone|telephone|mobile|cell ?phone|birth|birthday|dob|"
    r"ssn|social security|national id|passport|iban|home address|street|street address|postal address|nationality|religion|diagnos[ie]s|"
    r"(?:customer|patient|member|borrower|employee|guest|driver|student|contact|applicant|donor|person|staff|user|tenant|resident)(?:'?s)? ?name|name of (?:the |a )?"
    r"(?:customer|patient|member|borrower|employee|guest|driver|student|contact|applicant|donor|person))\b",
    re.IGNORECASE,
)

# By which a limit is recognized.
COMPARES = re.compile(
    r"\b(?:at most|at least|more than|less than|under|over|above|below|between|exceeds?|maximum|minimum|within|up to|greater than|longer than|shorter than|higher than|lower than|"
    r"no more than|not more than|older than|younger than|not exceed|before|after)\b|[<>≤≥]",
    re.IGNORECASE,
)

# The units that can be compared, by what they measure.
UNITS: Mapping[str, Mapping[str, str]] = {
    "time": {
        "seconds": r"s|secs?|seconds?",
        "minutes": r"mins?|minutes?",
        "hours": r"h|hrs?|hours?",
        "days": r"days?|d",
        "weeks": r"weeks?",
        "months": r"months?",
        "years": r"years?",
        "milliseconds": r"ms|milliseconds?",
    },
    "length": {
        "kilometres": r"km|kilomet(?:re|er)s?",
        "metres": r"m|met(?:re|er)s?",
        "miles": r"mi|miles?",
        "feet": r"ft|feet|foot",
        "centimetres": r"cm|centimet(?:re|er)s?",
        "millimetres": r"mm|millimet(?:re|er)s?",
    },
    "weight": {"kilograms": r"kg|kilos?|kilograms?", "grams": r"g|grams?", "tonnes": r"t|tons?|tonnes?", "pounds": r"lbs?"},
    "energy": {"kWh": r"kwh|kilowatt.hours?", "MWh": r"mwh|megawatt.hours?", "Wh": r"wh|watt.hours?", "joules": r"joules?|kj|mj"},
    "power": {"kW": r"kw|kilowatts?", "MW": r"mw|megawatts?", "W": r"w|watts?"},
    "speed": {
        "km/h": r"km/h|kmh|kph|kilomet(?:re|er)s? per hour",
        "mph": r"mph|miles per hour|miles an hour",
        "m/s": r"m/s|met(?:re|er)s? per second",
        "knots": r"kn|knots?",
    },
    "temperature": {
        "degrees Celsius": r"°\s?c|celsius|degrees celsius",
        "degrees Fahrenheit": r"°\s?f|fahrenheit|degrees fahrenheit",
        "kelvin": r"kelvin",
    },
    "volume": {"litres": r"l|lit(?:re|er)s?", "cubic metres": r"m3|m³|cubic met(?:re|er)s?", "gallons": r"gal|gallons?"},
    "share": {"percent": r"%|percent|per cent|percentage|pct", "a fraction": r"fraction|ratio"},
    "money": {
        "EUR": r"eur|euros?|€",
        "USD": r"usd|dollars?|\$",
        "GBP": r"gbp|pounds sterling|£",
        "CHF": r"chf|swiss francs?",
        "cents": r"cents?|euro cents?",
    },
}
# A letter before it would make it part of a word; a digit or a sign may stand before it.
_UNIT = re.compile(
    "|".join(
        rf"(?P<u{number}>(?<![^\W\d])(?:{wording})(?![\w/]))"
        for number, wording in enumerate(wording for units in UNITS.values() for wording in units.values())
    ),
    re.IGNORECASE,
)
_ALL = [(measure, unit) for measure, units in UNITS.items() for unit in units]


def words_of(name: str) -> str:
    """Return a name as words in lower case: `net amount` for `net_amount` and `netAmount`."""
    return " ".join(part.lower() for part in _PARTS.findall(name))


def units_in(text: str) -> list[tuple[str, str, int]]:
    """Return the units that a text names, each with what it measures and its position."""
    found = []
    for match in _UNIT.finditer(text):
        number = int(str(match.lastgroup)[1:])
        measure, unit = _ALL[number]
        found.append((measure, unit, match.start()))
    return found


def is_amount(column: ContractColumn) -> bool:
    """Return whether a column holds amounts of money."""
    if not re.search(r"num|dec|int|float|double|real|money", column.data_type.lower) and column.data_type:
        return False
    name = words_of(column.name.bare)
    return bool(_AMOUNT.search(name) and not _NOT_MONEY.search(name)) or bool(CURRENCY.search(column.meaning.bare) and column.data_type)


def is_currency(column: ContractColumn) -> bool:
    """Return whether a column holds the currency of an amount."""
    return _CURRENCY_NAME.search(words_of(column.name.bare)) is not None


def names_currency(text: Text | str) -> bool:
    """Return whether a text, or a name, says a currency."""
    words = str(text)
    return CURRENCY.search(words) is not None or _CURRENCY_LOWER.search(words_of(words)) is not None


def is_moment_without_zone(column: ContractColumn) -> bool:
    """Return whether a column holds times that could be of any time zone."""
    data_type = column.data_type.lower
    return bool(_MOMENT_TYPE.search(data_type)) and not _WITH_ZONE.search(data_type)


def names_zone(text: Text | str) -> bool:
    """Return whether a text says a time zone."""
    return ZONE.search(str(text)) is not None


def is_personal(name: str, meaning: str = "") -> bool:
    """Return whether a column holds personal data."""
    return _PERSON.search(words_of(name)) is not None or (
        words_of(name) in {"name", "address"} and _PERSON.search(f"name of {meaning}") is not None
    )
