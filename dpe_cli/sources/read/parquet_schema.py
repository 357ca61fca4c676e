"""The columns of a Parquet file: its own names for them, which of them DuckDB cannot read exactly, and their types in DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpe_cli.sources.read import duckdb_paths

# DuckDB makes doubles of longer decimals, which keep fifteen digits.
MOST_DIGITS = 38


@dataclass(frozen=True)
class ParquetColumn:
    """A column; `alias` is what DuckDB calls it, which distinguishes names that differ only in case, and `digits` its longest decimal."""

    name: str
    alias: str
    data_type: str
    digits: int


def columns(connection: Any, path: Path) -> list[ParquetColumn]:
    """Return the columns of a file, in order; duckdb.Error if it is not Parquet."""
    described = connection.execute(f"describe select * from read_parquet($1, {duckdb_paths.NOTHING_FROM_PATH})", [str(path)]).fetchall()
    nodes = connection.execute("select name, coalesce(num_children, 0), precision from parquet_schema($1)", [str(path)]).fetchall()
    found = [(str(node[0]), max(int(leaf[2] or 0) for leaf in nodes[start:end])) for node, start, end in _tops(nodes)]
    return [
        ParquetColumn(name, str(alias), str(data_type), digits)
        for (name, digits), (alias, data_type, *_) in zip(found, described, strict=True)
    ]


def _tops(nodes: list[Any]) -> Iterator[tuple[Any, int, int]]:
    """Yield each child of the root, which comes first, with the range of its descendants and itself."""
    start = 1
    while start < len(nodes):
        end, missing = start, 1
        while missing and end < len(nodes):
            missing += int(nodes[end][1]) - 1
            end += 1
        yield nodes[start], start, end
        start = end
