"""Split rejected records that are JSON objects into columns: those of JSON, Parquet, Excel, databases, APIs and taps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.csv_grammar import Dialect, quoted
from dpe_cli.sources.json import json_path, parsing
from dpe_cli.sources.rejects.splitter import Rejected, Splitter


def splitter(options: Any, columns: Sequence[Column], rejects: Sequence[Rejected], *, dialect: Dialect, project_dir: Path) -> Splitter:
    """Return a function that takes the columns from their paths in a record."""
    del options, rejects, project_dir

    def split(reject: Rejected) -> Mapping[str, str] | None:
        try:
            # Numbers keep every digit as written.
            record = json.loads(reject.raw, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=parsing.distinct)
            return {column.name: _field(record, column, dialect) for column in columns} if isinstance(record, dict) else None
        # A reject is whatever was delivered: it may be nested too deeply, or have a number that no Decimal can hold.
        except (ValueError, ArithmeticError, RecursionError):
            return None

    return split


def _field(record: Mapping[str, object], column: Column, dialect: Dialect) -> str:
    found = [name for name in column.headers if name in record] if json_path.is_missing(record, json_path.of(column)) else []
    value = record[found[0]] if found else json_path.value(record, json_path.of(column))
    if value is None and not found and column.default is not None and json_path.is_missing(record, json_path.of(column)):
        return quoted(column.default, dialect)
    if value is None:
        return ""
    is_text = isinstance(value, str) and not column.is_json
    return quoted(str(value) if is_text else _as_json(value), dialect)


def _as_json(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {_as_json(member)}" for name, member in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_as_json, value)) + "]"
        case Decimal():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False)
