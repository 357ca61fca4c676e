"""JSON that someone else wrote, for Python, which has limits of its own: on digits and on depth."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

# Called with the members of each object, in order; returns the object.
Pairs = Callable[[Sequence[tuple[str, Any]]], Any]


def parse(data: str | bytes, *, pairs: Pairs | None = None) -> Any:
    """
    Return a JSON document. A whole number with more digits than Python converts stays text.

    Raises:
        ValueError: it is not valid JSON (RFC 8259), or is nested too deeply.
    """
    try:
        try:
            return json.loads(data, parse_constant=_no_number, object_pairs_hook=pairs)
        except (json.JSONDecodeError, UnicodeDecodeError, NotJsonError):
            raise
        except ValueError:
            # Python converts only so many digits; a function of one's own for each number takes longer.
            return json.loads(data, parse_constant=_no_number, object_pairs_hook=pairs, parse_int=integer)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


class NotJsonError(ValueError):
    """A document is not JSON, although Python or DuckDB reads it."""


class RepeatedError(NotJsonError):
    """An object has two members of the same name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"two members are named {name!r}")
        self.name = name


def distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """
    Return an object's members.

    Raises:
        RepeatedError: two have the same name.
    """
    members = dict(pairs)
    if len(members) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise RepeatedError(counts.most_common(1)[0][0])
    return members


def _no_number(name: str) -> Any:
    raise NotJsonError(f"{name} is not JSON")


def integer(digits: str) -> int | str:
    """Return a whole number, or its digits if Python does not convert that many."""
    most = sys.get_int_max_str_digits()
    return int(digits) if not most or len(digits) <= most else digits
