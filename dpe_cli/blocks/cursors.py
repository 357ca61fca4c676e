"""Cursors: the greatest value of a column, behind which a source goes on. What their types are, and what is no end."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Literal

Kind = Literal["time", "whole number", "number", "other"]

_KINDS: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (re.compile(r"(timestamp|timestamptz|date)\b"), "time"),
    (re.compile(r"(smallint|integer|int|int2|int4|int8|bigint)\b"), "whole number"),
    (re.compile(r"(numeric|decimal|real|double precision|float|float4|float8)\b"), "number"),
)


def kind(data_type: str) -> Kind:
    """Return what a PostgreSQL type's values are: of all but the others, something can be subtracted."""
    name = data_type.strip().lower()
    if name.endswith("]"):
        return "other"
    return next((known for pattern, known in _KINDS if pattern.match(name)), "other")


def has_infinity(data_type: str) -> bool:
    """Tell whether a type has values that none comes behind: infinity, and NaN, which is greater still."""
    return kind(data_type) in {"time", "number"}


def is_end(value: str, data_type: str) -> bool:
    """
    Tell whether a database's greatest value is one that greater ones may follow.

    Infinity is none, nor is NaN, or what a database that knows no types keeps among them: a source that went on behind
    these would never find anything again.
    """
    match kind(data_type):
        case "time":
            return value.lstrip()[:1].isdigit()
        case "whole number":
            return re.fullmatch(r"[+-]?[0-9]+", value) is not None
        case "number":
            try:
                return Decimal(value).is_finite()
            except InvalidOperation:
                return False
    return True
