"""
The type of a column, from the kinds of its values: never one that would refuse, or lose, a value that was seen.

If no other type fits, it is text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dpe_cli.infer.survey import Draft
from dpe_cli.infer.value_kinds import SLASHED_DATE, KindStatistics, Values, is_null_word, null_word, shown

_INTEGER = range(-(2**31), 2**31)
_BIGINT = range(-(2**63), 2**63)
_SMALLINT = range(-(2**15), 2**15)
# Amounts are decimal fractions that get added up: even if a double keeps each of them, it would not keep their sum.
_AMOUNT = re.compile(r"amount|price|cost|fee|total|tax|balance|salary|revenue|payment|discount|budget|charge|paid", re.IGNORECASE)
_NUMBERS = frozenset({"integer", "decimal", "float"})
_WORDS = {"decimal": "number", "float": "number", "integer": "whole number", "timestamptz": "time with zone", "timestamp": "time"}
# The kinds of value that each type accepts, if a file or a database declares it; other types accept whatever they are said to hold.
_TAKEN: Mapping[str, frozenset[str]] = {
    "boolean": frozenset({"boolean"}),
    "smallint": frozenset({"integer"}),
    "integer": frozenset({"integer"}),
    "bigint": frozenset({"integer"}),
    "numeric": _NUMBERS,
    "real": _NUMBERS,
    "double precision": _NUMBERS,
    "date": frozenset({"date"}),
    "timestamp": frozenset({"timestamp", "date"}),
    "timestamptz": frozenset({"timestamptz"}),
    "uuid": frozenset({"uuid"}),
}
_RANGES = {"smallint": _SMALLINT, "integer": _INTEGER, "bigint": _BIGINT}


def of(draft: Draft, values: Values, *, null_string: str = "", midnights_are_dates: bool = False) -> str:
    """Return the type of a column whose missing values are written as `null_string`."""
    kinds = _without_nulls(values, null_string)
    if draft.declared is not None:
        return draft.declared if draft.is_enforced else _checked(draft.declared, kinds)
    if draft.kinds is not None and not kinds.keys() <= draft.kinds:
        return "text"
    return _of_kinds(draft.name, kinds, midnights_are_dates=midnights_are_dates)


def _of_kinds(name: str, kinds: Mapping[str, KindStatistics], *, midnights_are_dates: bool) -> str:
    names = kinds.keys()
    if names and names <= _NUMBERS:
        return _number(name, kinds)
    if names == {SLASHED_DATE}:
        return "date"
    if names == {"date", "timestamp"}:
        return "timestamp"
    if names == {"timestamp"} and midnights_are_dates and kinds["timestamp"].at_midnight == kinds["timestamp"].count:
        return "date"
    return next(iter(names)) if len(names) == 1 and not is_null_word(next(iter(names))) else "text"


def _number(name: str, kinds: Mapping[str, KindStatistics]) -> str:
    whole = kinds.get("integer")
    if kinds.keys() == {"integer"} and whole is not None:
        return _whole(whole, "integer")
    as_double = all(kind.as_double for kind in kinds.values())
    if "float" in kinds:
        return "double precision" if as_double else "numeric"
    decimals = kinds["decimal"]
    # Amounts always have the same number of decimals; a double printed by a program has as many as it needs.
    is_fixed = whole is None and decimals.fewest_decimals == decimals.most_decimals
    return "numeric" if is_fixed or not as_double or _AMOUNT.search(name) else "double precision"


def _whole(kind: KindStatistics, at_least: str) -> str:
    """Return the smallest integer type, starting with `at_least`, that holds the least and the greatest value."""
    if kind.least is None or kind.greatest is None:
        return "numeric"
    for data_type in list(_RANGES)[list(_RANGES).index(at_least) :]:
        if kind.least in _RANGES[data_type] and kind.greatest in _RANGES[data_type]:
            return data_type
    return "numeric"


def _checked(declared: str, kinds: Mapping[str, KindStatistics]) -> str:
    """Return the declared type, or another one if that does not fit the values: not every database enforces its types."""
    names = kinds.keys()
    if declared == "jsonb" and not all(kind.is_json for kind in kinds.values()):
        # A NaN within a struct, for example.
        return "text"
    if not kinds or names <= _TAKEN.get(declared, names):
        return _whole(kinds["integer"], declared) if declared in _RANGES and kinds else declared
    if declared == "boolean" and names == {"integer"} and {kinds["integer"].least, kinds["integer"].greatest} <= {0, 1}:
        return declared
    if declared in _RANGES and names <= _NUMBERS:
        return "numeric"
    # Times without any zone, or dates with a time.
    return "timestamp" if declared in {"timestamptz", "date"} and names <= {"timestamp", "date"} else "text"


def null_string(drafts: Sequence[Draft], seen: Sequence[Values], *, blanks_are_null: bool) -> str:
    """
    Return how missing values are written: the word without which most columns have a type, or nothing.

    A source has one such word. If there is one, an empty value is text, unless `blanks_are_null` applies as well.
    """
    words = sorted({null_word(kind) for values in seen for kind in values.kinds if is_null_word(kind)})

    def typed(word: str) -> int:
        return sum(
            of(draft, values, null_string=word) != "text"
            for draft, values in zip(drafts, seen, strict=True)
            if not word or blanks_are_null or values.nulls == 0
        )

    return max(["", *words], key=typed)


def why_text(draft: Draft, values: Values, *, may_have_null_string: bool) -> str:
    """Return why a column is text although most values fit another type, or contains a word for missing values; empty if neither."""
    if draft.kinds is not None and not values.kinds.keys() <= draft.kinds:
        return ""
    count = sum(kind.count for kind in values.kinds.values())
    words = {name: kind for name, kind in values.kinds.items() if is_null_word(name)}
    typed = {name: kind for name, kind in values.kinds.items() if name != "text" and name not in words}
    name, most = max(typed.items(), key=lambda item: item[1].count, default=("", None))
    # A number with a fraction fits in with integers.
    family = _NUMBERS if name in _NUMBERS else {name}
    strange = [kind for other, kind in values.kinds.items() if other not in family]
    if most is not None and strange and most.count * 2 >= count:
        odd = min(strange, key=lambda kind: len(kind.example))
        strangers = sum(kind.count for kind in strange)
        return f"text: {strangers:,} of {count:,} values are not a {_WORDS.get(name, name)}, as {shown(odd.example)!r} in {odd.location}"
    if words and may_have_null_string:
        word, kind = max(words.items(), key=lambda item: item[1].count)
        return f"{kind.count:,} of {count:,} values are {null_word(word)!r}: set null_string if that means a missing value"
    return ""


def _without_nulls(values: Values, null_string: str) -> dict[str, KindStatistics]:
    return {name: kind for name, kind in values.kinds.items() if not (null_string and name == f"null:{null_string}")}
