"""The kinds of value in a column: DuckDB examines each distinct one, once, at C speed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dpe_cli.safe_text.redaction import hide

# Words that people and programs write for a missing value. NaN is not one of them: it is a double precision number.
NULL_WORDS = ("NA", "N/A", "n/a", "na", "NULL", "null", "Null", r"\N", "None", "none", "-", "--", "#N/A", "nil", "(null)", "?", ".")

# Dates written as 2024/12/31, and how a column declares them.
SLASHED_DATE, SLASHED_FORMAT = "date with slashes", "YYYY/MM/DD"
_DATE = r"\d{4}-\d{2}-\d{2}"
_TIMESTAMP = _DATE + r"[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?"
_ZONE = r" ?(Z|UTC|[+-](0\d|1[0-4])(:?[0-5]\d)?)"
_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_INTEGER = r"-?(0|[1-9]\d*)"
_DECIMAL = r"-?(0|[1-9]\d*)?\.\d+"
_FLOAT = r"-?(0|[1-9]\d*)?(\.\d+)?[eE][+-]?\d{1,3}"
_IS_DAY = "left(t, 4) <> '0000' and try_cast(replace(left(t, 10), '/', '-') as date) is not null"
# Nothing that PostgreSQL refuses, and no leading zeros, which a number would lose: postal codes, phone numbers.
_KIND = rf"""
    case
        when v in $words then 'null:' || v
        when regexp_full_match(t, '{_INTEGER}') and length(t) < 1000 then 'integer'
        when regexp_full_match(t, '{_DECIMAL}') and length(t) < 1000 then 'decimal'
        when lower(t) in ('true', 'false') then 'boolean'
        when regexp_full_match(t, '{_DATE}') and {_IS_DAY} then 'date'
        when regexp_full_match(t, '{_DATE.replace("-", "/")}') and {_IS_DAY} then '{SLASHED_DATE}'
        when regexp_full_match(t, '{_TIMESTAMP}') and {_IS_DAY} then 'timestamp'
        when regexp_full_match(t, '{_TIMESTAMP}{_ZONE}') and {_IS_DAY} then 'timestamptz'
        when regexp_full_match(v, '{_UUID}') then 'uuid'
        when regexp_full_match(t, '{_FLOAT}') and (regexp_matches(t, '^[-0.]+[eE]') or abs(try_cast(t as double)) between 1e-300 and 1e300)
            and regexp_matches(t, '^-?[.]?\d') then 'float'
        when lower(t) in ('nan', 'infinity', '-infinity', 'inf', '-inf') then 'float'
        else 'text'
    end
"""
# A double always keeps fifteen digits; more only if written in its shortest form, or with the seventeen that identify it.
_SURVIVES = r"""
    length(ltrim(regexp_replace(regexp_replace(t, '[eE].*', ''), '[-.]', '', 'g'), '0')) <= 15
    or t = try_cast(t as double)::varchar
    or t = printf('%.17g', try_cast(t as double))
    or lower(t) similar to '-?(nan|inf|infinity)'
"""

# What PostgreSQL accepts as jsonb; DuckDB also takes trailing commas, NaN and Infinity for JSON.
_JSON = r"""
    json_valid(t)
    and not regexp_matches(regexp_replace(t, '"([^"\\]|\\.)*"', '""', 'g'), ',\s*[}\]]|(?i:nan|inf)')
    and not contains(t, '\u0000')
"""

# The blanks around a value that are not part of it.
_BLANKS = "' '"


@dataclass(frozen=True)
class KindStatistics:
    """
    Values of one kind. `least` and `greatest` are for whole numbers, None if some exceed 128 bits.

    `fewest_decimals` and `most_decimals` count digits after the decimal point. `as_double`: a double keeps all of them.
    `example` is one of them, in the input `location`; `at_midnight` counts times that are dates. `is_json`: PostgreSQL takes all for jsonb.
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
    is_json: bool


@dataclass(frozen=True)
class Values:
    """The values of a column: the number of records, of those without a value, and the kinds of the others."""

    records: int
    nulls: int
    distinct: int
    kinds: Mapping[str, KindStatistics]

    @property
    def names(self) -> frozenset[str]:
        """The kinds that occur."""
        return frozenset(self.kinds)


def of_column(connection: Any, column: str) -> Values:
    """Return the values of a column of DuckDB's table `sampled`."""
    records, nulls, distinct = connection.execute(
        f"""select count(*), count(*) - count("{column}"), count(distinct lower(trim("{column}", {_BLANKS}))) from sampled"""
    ).fetchone()
    rows = connection.execute(_query(column), {"words": list(NULL_WORDS)}).fetchall()
    return Values(records, nulls, distinct, {name: KindStatistics(*found) for name, *found in rows})


def _query(column: str) -> str:
    whole = f"case when regexp_full_match(t, '{_INTEGER}') then try_cast(t as hugeint) end"
    return f"""
        with different as (
            select "{column}" as v, count(*) as n, min(location) as location from sampled where "{column}" is not null group by all
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
            arg_min(location, length(v)),
            bool_and(coalesce({_JSON}, false))
        from judged
        group by kind
    """


def is_null_word(kind: str) -> bool:
    """Return whether a kind is a word for a missing value."""
    return kind.startswith("null:")


def null_word(kind: str) -> str:
    """Return the word of such a kind."""
    return kind.removeprefix("null:")


def shown(text: str) -> str:
    """Return a value for a one-line comment, shortened."""
    line = re.sub(r"[^\x20-\x7e\xa0-\uffff]", "�", hide(text))
    return line if len(line) <= 30 else f"{line[:30]}…"
