"""
What takes long and is checked in `make compatibility` only.

A test is long if it needs many times as long as others and shows again, on another version of PostgreSQL or with more data or processes, what
shorter tests show, too. `DPE_TEST_LONG` has them run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest
from conftest import NEWEST, VERSIONS


def runs_long_tests() -> bool:
    """Return whether long tests are run."""
    return "DPE_TEST_LONG" in os.environ


LONG = pytest.mark.skipif(not runs_long_tests(), reason="takes long; `make compatibility` runs it")


def each_version() -> list[Any]:
    """Return the versions of PostgreSQL as parameters, of which only the newest one is not long."""
    return [version if version == NEWEST else pytest.param(version, marks=LONG) for version in VERSIONS]


# For tests whose server is any_cluster's: @newest_unless_long.
newest_unless_long = pytest.mark.parametrize("any_cluster", each_version(), indirect=True)


def pairs(first: Iterable[str], second: Iterable[str]) -> list[Any]:
    """Return all pairs as parameters; those that have neither the first value of `first` nor that of `second` are long."""
    lefts, rights = [*first], [*second]
    return [
        pytest.param(left, right, marks=() if left == lefts[0] or right == rights[0] else LONG, id=f"{right}-{left}")
        for right in rights
        for left in lefts
    ]
