"""What words and names mean: money, time zones, units, people, and what is not known yet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from dpe_cli.specs import phrases
from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.requirement import ContractColumn
from dpe_cli.specs.text import Text

# The parts of a name: `net_amount`, `netAmount`, `Net amount`.
_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")

_AMOUNTS = Phrases("columns", "amounts")
_NOT_MONEY = Phrases("columns", "not money")
_NUMBERS = Phrases("columns", "numbers")
_CURRENCY_COLUMNS = Phrases("columns", "currency columns")
_CURRENCIES = Phrases("columns", "currencies", is_cased=True)
_CURRENCIES_IN_NAMES = Phrases("columns", "currencies in names")
_MOMENTS = Phrases("columns", "moments")
_WITH_ZONE = Phrases("columns", "moments with a zone")
_ZONES = Phrases("columns", "zones", is_cased=True)
_PERSONAL = Phrases("columns", "personal")
_OPEN = Phrases("open_points", "open")
_NOTHING = Phrases("open_points", "nothing")

# Of a sentence with a limit.
COMPARES = Phrases("columns", "compares")


@cache
def _units() -> tuple[re.Pattern[str], tuple[tuple[str, str], ...]]:
    """Return the expression of all units, each a group, and what the groups measure, with the unit's name."""
    measures: Mapping[str, Mapping[str, list[str]]] = phrases.content("units")
    named = [(measure, unit, wordings) for measure, units in measures.items() for unit, wordings in units.items()]
    # A letter before it would make it part of a word; a digit or a sign may stand before it.
    groups = "|".join(rf"(?P<u{number}>(?:{phrases.any_of(wordings)})(?![\w/]))" for number, (_, _, wordings) in enumerate(named))
    pattern = re.compile(rf"(?<![^\W\d])(?:{groups})", re.IGNORECASE)
    return pattern, tuple((measure, unit) for measure, unit, _ in named)


def words_of(name: str) -> str:
    """Return a name as words in lower case: `net amount` for `net_amount` and `netAmount`."""
    return " ".join(part.lower() for part in _PARTS.findall(name))


def units_in(text: str) -> list[tuple[str, str, int]]:
    """Return the units that a text names, each with what it measures and its position."""
    pattern, units = _units()
    return [(*units[int(str(match.lastgroup)[1:])], match.start()) for match in pattern.finditer(text)]


def is_amount(column: ContractColumn) -> bool:
    """Return whether a column holds amounts of money."""
    if column.data_type and not _NUMBERS.is_in(column.data_type.lower):
        return False
    name = words_of(column.name.bare)
    return (_AMOUNTS.is_in(name) and not _NOT_MONEY.is_in(name)) or (bool(column.data_type) and _CURRENCIES.is_in(column.meaning.bare))


def is_currency(column: ContractColumn) -> bool:
    """Return whether a column holds the currency of an amount."""
    return _CURRENCY_COLUMNS.is_in(words_of(column.name.bare))


def names_currency(text: object) -> bool:
    """Return whether a text, or a name, says a currency."""
    return _CURRENCIES.is_in(text) or _CURRENCIES_IN_NAMES.is_in(words_of(str(text)))


def is_moment_without_zone(column: ContractColumn) -> bool:
    """Return whether a column holds times that could be of any time zone."""
    data_type = column.data_type.lower
    return _MOMENTS.is_in(data_type) and not _WITH_ZONE.is_in(data_type)


def names_zone(text: object) -> bool:
    """Return whether a text says a time zone."""
    return _ZONES.is_in(text)


def is_personal(name: str, meaning: str = "") -> bool:
    """Return whether a column holds personal data."""
    words = words_of(name)
    return _PERSONAL.is_in(words) or (words in phrases.words("columns", "perhaps personal") and _PERSONAL.is_in(f"name of {meaning}"))


def is_open(text: Text) -> bool:
    """Return whether a cell or field says that its content is not known yet."""
    return _OPEN.fullmatch(text.bare) is not None


def says_nothing(text: Text) -> bool:
    """Return whether a cell or field is empty, or says that there is nothing: `none`, `n/a`, `-`."""
    words = text.bare.removesuffix(".").removesuffix("!")
    return not words or _NOTHING.fullmatch(words) is not None
