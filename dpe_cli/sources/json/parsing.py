"""JSON that someone else wrote, for Python, which has limits of its own: on digits and on depth."""

from __future__ import annotations

import json
import sys
from typing import Any


def parse(data: str | bytes) -> Any:
    """
    Return a JSON document. A whole number with more digits than Python converts stays text.

    Raises:
        ValueError: it is not valid JSON, or is nested too deeply.
    """
    try:
        try:
            return json.loads(data)
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise
        except ValueError:
            # Python converts only so many digits; a function of one's own for each number takes longer.
            return json.loads(data, parse_int=integer)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def integer(digits: str) -> int | str:
    """Return a whole number, or its digits if Python does not convert that many."""
    most = sys.get_int_max_str_digits()
    return int(digits) if not most or len(digits) <= most else digits
