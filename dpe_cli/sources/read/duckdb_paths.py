"""
Paths for DuckDB, which takes more from a path than the file.

Pattern characters in it match other files, and directories like `shop=HA` become columns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpe_cli.errors import UsageError

# Arguments of read_parquet and read_csv that keep a path from adding columns, and DuckDB from matching files by name.
NOTHING_FROM_PATH = "hive_partitioning = false, union_by_name = false"

_PATTERN = frozenset("*?[")


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """
    Make a directory whose path DuckDB takes as it is, and remove it at the end.

    Raises:
        UsageError: the directory for temporary files has characters of a pattern in its path.
    """
    with tempfile.TemporaryDirectory(prefix="dpe-") as name:
        if _PATTERN & set(name):
            raise UsageError(f"{name}: DuckDB takes a temporary path with * ? or [ for a pattern; set TMPDIR to a directory without them")
        yield Path(name)


@contextmanager
def linked(path: Path) -> Iterator[Path]:
    """Yield a path that means this file alone, whatever its name and those of its directories."""
    with temporary_directory() as directory:
        link = directory / "file"
        link.symlink_to(path.absolute())
        yield link
