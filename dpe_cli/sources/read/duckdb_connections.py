"""Connections to DuckDB for readers, all of which have a memory limit."""

from __future__ import annotations

from typing import Any

from dpe_cli import machine, optional_packages


def connect(*, by: str) -> Any:
    """
    Return a connection with the memory limit of a reader; `by` names what needs it.

    DuckDB does not count everything that it allocates; blocks/reading.py limits the rest.

    Raises:
        UsageError: DuckDB is not installed.
    """
    connection = optional_packages.needed("duckdb", by=by).connect()
    # One thread keeps the order of the records; more would run ahead of the writers, and hold data that these cannot take yet.
    connection.execute("set threads = 1")
    connection.execute(f"set memory_limit = '{machine.reader_memory() // 1024}KiB'")
    # Instead of files in the working directory.
    connection.execute("set temp_directory = ''")
    connection.execute("set enable_progress_bar = false")
    return connection
