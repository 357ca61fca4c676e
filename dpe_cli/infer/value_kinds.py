"""What kinds of value a column has: DuckDB looks at each different one, once, at C speed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dpe_cli.safe_text.redaction import hide

# What people and programs write for a value that is missing. NaN is none of them: it is a number of double precision.
NULL_WORDS = ("NA", "N/A", "n/a", "na", "NULL", "null", "Null", r"\N", "None", "none", "-", "--", "#N/A", "nil", "(null)", "?", ".")

_DATE = r"\d{4}-\d{2}-\d{2}"
_TIMESTAMP = _DATE + r"[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?"
_ZONE = r" ?(Z|UTC|[+-](0\d|1[0-4])(:?[0-5]\d)?)"
_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_INTEGER = r"-?(0|[1-9]\d*)"
_DECIMAL = r"-?(0|[1-9]\d*)?\.\d+"
_FLOAT = r"-?(0|[1-9]\d*)?(\.\d+)?[eE][+-]?\d{1,3}"
_IS_DAY = "left(t, 4) <> '0000' and try_cast(replace(left(t, 10), '/', '-') as date) is not null"
# Nothing that PostgreSQL refuses, and no zeros in front, which a number would lose: codes of places, numbers of telephones.
_KIND = rf"""
    case
        when v in $words then 'null:' || v
        when regexp_full_match(t, '{_INTEGER}') and length(t) < 1000 then 'integer'
        when regexp_full_match(t, '{_DECIMAL}') and length(t) < 1000 then 'decimal'
        when lower(t) in ('true', 'false') then 'boolean'
        when regexp_full_match(t, '{_DATE}|{_DATE.replace("-", "/")}') and {_IS_DAY} then 'date'
        when regexp_full_match(t, '{_TIMESTAMP}') and {_IS_DAY} then 'timestamp'
        when regexp_full_match(t, '{_TIMESTAMP}{_ZONE}') and {_IS_DAY} then 'timestamptz'
        when regexp_full_match(v, '{_UUID}') then 'uuid'
        when regexp_full_match(t, '{_FLOAT}') and (regexp_matches(t, '^[-0.]+[eE]') or abs(try_cast(t as double)) between 1e-300 and 1e300)
            and regexp_matches(t, '^-?[.]?\d') then 'float'
        when lower(t) in ('nan', 'infinity', '-infinity', 'inf', '-inf') then 'float'
        else 'text'
    end
"""
# Fifteen digits, a double always keeps; more of them, where it is written with just those, or with the seventeen that tell it apart.
_SURVIVES = r"""
    length(ltrim(regexp_replace(regexp_replace(t, '[eE].*', ''), '[-.]', '', 'g'), '0')) <= 15
    or t = try_cast(t as double)::varchar
    or t = printf('%.17g', try_cast(t as double))
    or lower(t) similar to '-?(nan|inf|infinity)'
"""

# What PostgreSQL passes over around a value; other blanks of Unicode it does not.
_BLANKS = "' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)"


@dataclass(frozen=True)
class Kind:
    """
    Values of one kind. `least` and `greatest` are of whole numbers, None where there are larger ones than 128 bits hold.

    `fewest_decimals` and `most_decimals` count digits behind the point. `as_double`: all of them are kept by a double.
    `example` is one of them, in the input `location`; `at_midnight` counts times that are dates.
    """

    count: int
    distinct: int
    least: int | None
    greatest: int | None
    fewest_decimals: int
    most_decimals: int
    as_double: bool
    at_midnight: int
    example: str
    location: str


@dataclass(frozen=True)
class Values:
    """What was seen in a column: how many records, how many of them without a value, and the kinds of the others."""

    records: int
    nulls: int
    distinct: int
    kinds: Mapping[str, Kind]

    @property
    def names(self) -> frozenset[str]:
        """The kinds that were seen."""
        return frozenset(self.kinds)


def of_column(connection: Any, column: str) -> Values:
    """Return what a column of DuckDB's table `looked` holds."""
    records, nulls, distinct = connection.execute(
        f"""select count(*), count(*) - count("{column}"), count(distinct lower(trim("{column}", {_BLANKS}))) from looked"""
    ).fetchone()
    rows = connection.execute(_query(column), {"words": list(NULL_WORDS)}).fetchall()
    return Values(records, nulls, distinct, {name: Kind(*found) for name, *found in rows})


def _query(column: str) -> str:
    whole = f"case when regexp_full_match(t, '{_INTEGER}') then try_cast(t as hugeint) end"
    return f"""
        with different as (
            select "{column}" as v, count(*) as n, min(location) as location from looked where "{column}" is not null group by all
        ),
        trimmed as (select *, trim(v, {_BLANKS}) as t from different),
        judged as (
            select *, {_KIND} as kind, {whole} as whole, length(regexp_extract(t, '\\.(\\d+)$', 1)) as decimals from trimmed
        )
        select
            kind,
            sum(n)::bigint,
            count(*),
            case when count(whole) = count(*) then min(whole) end,
            case when count(whole) = count(*) then max(whole) end,
            min(decimals),
            max(decimals),
            bool_and(coalesce({_SURVIVES}, false)),
            coalesce(sum(n) filter (t like '%00:00:00'), 0)::bigint,
            arg_min(v, length(v)),
            arg_min(location, length(v))
        from judged
        group by kind
    """


def is_null_word(kind: str) -> bool:
    """Tell whether a kind is that of a word for a missing value."""
    return kind.startswith("null:")


def null_word(kind: str) -> str:
    """Return the word of such a kind."""
    return kind.removeprefix("null:")


def shown(text: str) -> str:
    """Return a value on one line of a comment, shortened."""
    line = re.sub(r"[^\x20-\x7e\xa0-\uffff]", "�", hide(text))
    return line if len(line) <= 30 else f"{line[:30]}…"
