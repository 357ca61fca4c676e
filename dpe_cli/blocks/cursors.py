"""Cursors: the greatest value of a column, from which a source resumes; their types, and which values cannot be resumed from."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Literal

CursorKind = Literal["time", "whole number", "number", "other"]

_KINDS: tuple[tuple[re.Pattern[str], CursorKind], ...] = (
    (re.compile(r"(timestamp|timestamptz|date)\b"), "time"),
    (re.compile(r"(smallint|integer|int|int2|int4|int8|bigint)\b"), "whole number"),
    (re.compile(r"(numeric|decimal|real|double precision|float|float4|float8)\b"), "number"),
)


def kind(data_type: str) -> CursorKind:
    """Classify a PostgreSQL type; for all but "other", an overlap can be subtracted from its values."""
    name = data_type.strip().lower()
    if name.endswith("]"):
        return "other"
    return next((known for pattern, known in _KINDS if pattern.match(name)), "other")


def has_infinity(data_type: str) -> bool:
    """Return whether a type has infinity, or NaN, which sorts above it: values that nothing can follow."""
    return kind(data_type) in {"time", "number"}


def is_end(value: str, data_type: str) -> bool:
    """
    Return whether a source can resume from a database's greatest value.

    Not from infinity, from NaN, or from a value that an untyped database keeps among them: nothing would ever be found
    after these.
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
