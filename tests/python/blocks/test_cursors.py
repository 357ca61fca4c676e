"""How types of cursors are classified, and from which values a source can resume."""

from __future__ import annotations

import pytest

from dpe_cli.blocks import cursors


@pytest.mark.parametrize(
    ("data_type", "kind"),
    [
        ("timestamptz", "time"),
        ("TIMESTAMP(3) without time zone", "time"),
        ("date", "time"),
        ("integer", "whole number"),
        ("int8", "whole number"),
        ("numeric(10, 2)", "number"),
        ("double precision", "number"),
        ("float4", "number"),
        # Types whose names only begin like the others.
        ("interval", "other"),
        ("daterange", "other"),
        ("timestamptz[]", "other"),
        ("text", "other"),
    ],
)
def test_types_have_kinds(data_type: str, kind: str) -> None:
    """By their names, however they are written."""
    assert kind == cursors.kind(data_type)


@pytest.mark.parametrize(
    ("value", "data_type", "is_end"),
    [
        ("2024-01-02T10:00:00+00:00", "timestamptz", True),
        ("infinity", "timestamptz", False),
        ("infinity", "date", False),
        ("soon", "timestamp", False),
        (" 2024-01-02", "timestamp", True),
        ("12.5", "numeric", True),
        ("-3", "integer", True),
        ("Infinity", "double precision", False),
        ("NaN", "numeric", False),
        ("n/a", "integer", False),
        ("3.5", "bigint", False),
        ("", "integer", False),
        ("infinity", "text", True),
    ],
)
def test_greater_values_follow_an_end(value: str, data_type: str, is_end: bool) -> None:  # noqa: FBT001 a column of the table above
    """If none can follow, a source would never find anything again."""
    assert is_end == cursors.is_end(value, data_type)
