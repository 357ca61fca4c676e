"""Paths into JSON, `$.customer.id` or `$.lines[0]['unit price']`: the part of JSONPath (RFC 9535) that identifies one value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dpe_cli.blocks.contract import Column

Step = str | int

_STEP = re.compile(r"""\.(?P<name>[\w-]+)|\[(?P<index>\d+)\]|\['(?P<single>[^'\\]+)'\]|\["(?P<double>[^"\\]+)"\]""")

_NAME = re.compile(r"[\w-]+")
# In either kind of quotes.
_IN_QUOTES = re.compile(r"[^'\\]+|[^\"\\]+")


def parse(path: str) -> tuple[Step, ...]:
    """
    Return the steps of a path: member names and array indexes; empty for `$`, the whole document.

    Raises:
        ValueError: it is not a valid path.
    """
    if path and not path.startswith("$"):
        # dlt writes paths this way.
        path = f"$.{path}" if not path.startswith("[") else f"${path}"
    if not path:
        raise ValueError("is empty; write a path like $.customer.id, $.lines[0].sku or $['unit price']")
    steps: list[Step] = []
    position = 1
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            raise ValueError(
                f"{path}: is not valid from character {position + 1} on; write it like $.customer.id, $.lines[0].sku or $['unit price']"
            )
        index = step["index"]
        steps.append(int(index) if index is not None else step["name"] or step["single"] or step["double"])
        position = step.end()
    return tuple(steps)


def of(column: Column) -> tuple[Step, ...]:
    """Return the steps to a column's value: its path, or the member of the same name."""
    return parse(column.path) if column.path else (column.name,)


def pointer(steps: Sequence[Step]) -> str:
    """Return steps as a JSON Pointer (RFC 6901), which can express every name."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def value(document: Any, steps: Sequence[Step]) -> Any:
    """Return the value at a path; None if there is none or it is null."""
    for step in steps:
        if isinstance(step, int) and isinstance(document, list) and step < len(document):
            document = document[step]
        elif isinstance(step, str) and isinstance(document, dict):
            document = document.get(step)
        else:
            return None
    return document


def is_missing(document: Any, steps: Sequence[Step]) -> bool:
    """Return whether nothing is at a path, not even null."""
    if not steps:
        return False
    holder, last = value(document, steps[:-1]), steps[-1]
    if isinstance(last, int):
        return not (isinstance(holder, list) and last < len(holder))
    return not (isinstance(holder, dict) and last in holder)


def can_be_written(name: str) -> bool:
    """Return whether a path can name a member."""
    return bool(_NAME.fullmatch(name) or _IN_QUOTES.fullmatch(name))


def written(steps: Sequence[Step]) -> str:
    """Return the path for these steps, whose names can be written."""
    return "$" + "".join(_written(step) for step in steps)


def _written(step: Step) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if _NAME.fullmatch(step):
        return f".{step}"
    return f'["{step}"]' if "'" in step else f"['{step}']"
