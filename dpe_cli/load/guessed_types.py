"""Guess the types of columns that are not in the contract from the first records of a delivery, for the line that declares them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from dpe_cli.blocks import copy_text
from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect, Grammar

_RECORDS = 1000
# No leading zeros, which a number would lose.
_WHOLE = r"-?(0|[1-9]\d{0,17})"
_DATE = r"\d{4}-\d\d-\d\d"
_TIME = rf"{_DATE}[T ]\d\d:\d\d(:\d\d(\.\d{{1,6}})?)?"
# From the narrowest to the widest.
_TYPES = (
    ("bigint", re.compile(_WHOLE)),
    ("numeric", re.compile(rf"{_WHOLE}(\.\d+)?")),
    ("boolean", re.compile(r"true|false", re.IGNORECASE)),
    ("date", re.compile(_DATE)),
    ("timestamptz", re.compile(rf"{_TIME} ?(Z|[+-]\d\d(:?\d\d)?)")),
    ("timestamp", re.compile(_TIME)),
)


def guessed_types(names: Sequence[str], dialect: Dialect, block: Block | None) -> dict[str, str]:
    """Return a type for each column that has values, all of which look like it; text for all others."""
    if block is None or block.copy_format == "binary":
        return {}
    csv = copy_text.as_csv(block) if block.copy_format == "text" else block
    grammar = Grammar(dialect)
    records = [grammar.fields(record) for record in islice(grammar.split(csv.data), _RECORDS)]
    types: dict[str, str] = {}
    for place, name in enumerate(names):
        values = {record[place].decode(errors="replace").strip() for record in records if len(record) == len(names)}
        types[name] = _type(values - {"", dialect.null_string})
    return types


def _type(values: set[str]) -> str:
    return next((name for name, pattern in _TYPES if values and all(map(pattern.fullmatch, values))), "text")
