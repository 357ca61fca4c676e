"""The columns of a Parquet file: its own names for them, which of them DuckDB cannot read exactly, and their types in DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpe_cli.sources.read import duckdb_paths

# DuckDB makes doubles of longer decimals, which keep fifteen digits.
MOST_DIGITS = 38
# For each list or map within another, DuckDB takes two to five times as long to plan a query that writes it, and cannot be interrupted.
MOST_LISTS = 4
MOST_LEVELS = 64


@dataclass(frozen=True)
class ParquetColumn:
    """
    A column; `alias` is what DuckDB calls it, which distinguishes names that differ only in case, and `digits` its longest decimal.

    `lists` is how many lists and maps are nested within each other, and `levels` how many nodes of any kind.
    """

    name: str
    alias: str
    data_type: str
    digits: int
    lists: int
    levels: int

    @property
    def is_too_deep(self) -> bool:
        """Whether DuckDB would take hours to begin."""
        return self.lists > MOST_LISTS or self.levels > MOST_LEVELS


def columns(connection: Any, path: Path) -> list[ParquetColumn]:
    """Return the columns of a file, in order; duckdb.Error if it is not Parquet."""
    described = connection.execute(f"describe select * from read_parquet($1, {duckdb_paths.NOTHING_FROM_PATH})", [str(path)]).fetchall()
    nodes = connection.execute(
        "select name, coalesce(num_children, 0), precision, repetition_type from parquet_schema($1)", [str(path)]
    ).fetchall()
    found = [(str(node[0]), nodes[start:end]) for node, start, end in _tops(nodes)]
    return [
        ParquetColumn(name, str(alias), str(data_type), max(int(leaf[2] or 0) for leaf in within), *_nesting(within))
        for (name, within), (alias, data_type, *_) in zip(found, described, strict=True)
    ]


def _nesting(nodes: list[Any]) -> tuple[int, int]:
    """Return how many lists and maps of a column are nested within each other, and how many nodes."""
    lists = levels = 0
    # The nodes around the present one: how many children are left of each, and how many lists it is within.
    around: list[tuple[int, int]] = []
    for _, children, _, repetition in nodes:
        left, within = around.pop() if around else (1, 0)
        around.append((left - 1, within))
        within += repetition == "REPEATED"
        lists, levels = max(lists, within), max(levels, len(around))
        if children:
            around.append((int(children), within))
        while around and not around[-1][0]:
            around.pop()
    return lists, levels


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
