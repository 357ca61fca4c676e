"""The loaders to compare: each one's command as a person would type it, and its target table."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orders import COLUMNS, Orders

from dpe_cli.server.programs import wheel_programs

TABLE = "bench.orders"
_COLUMNS = ", ".join(f"{name} {data_type}" for name, data_type in COLUMNS.items())
_EMPTY_SCHEMA = "drop schema if exists bench cascade; create schema bench"
_EMPTY_TABLE = f"{_EMPTY_SCHEMA}; create table {TABLE} ({_COLUMNS})"
_TABLE_AS_IT_IS = f"create schema if not exists bench; create table if not exists {TABLE} ({_COLUMNS})"


@dataclass(frozen=True)
class Input:
    """One file of orders, the same orders in one file per stream, and where to load them."""

    whole: Orders
    parts: Sequence[Orders]
    url: str


@dataclass(frozen=True)
class Loader:
    """
    A way to get a file of orders into PostgreSQL.

    `setup` runs before each load and is not timed. `rows` is the relation to check after the load; in
    both, {source} is the name of dpe's source. A loader that is much slower than the others loads a tenth of the records, once.
    """

    name: str
    command: Callable[[Input], list[str]]
    setup: str = _EMPTY_TABLE
    rows: str = TABLE
    is_much_slower: bool = False


def all_loaders(jobs: int) -> list[Loader]:
    """Return the loaders that can run here; the others are compared with the first."""
    return [*_psql(jobs), *_dpe(jobs), *_others()]


def _psql(jobs: int) -> list[Loader]:
    tables = [f"{TABLE}_{number}" for number in range(1, jobs + 1)]
    return [
        Loader("psql \\copy", lambda given: _psql_command(given.url, _copy(given.whole, TABLE))),
        # The rows of the previous round are still there, as they are for a source that replaces. A server with minimal logging
        # (wal_level = minimal) does not log rows that are copied into a table that the same transaction emptied.
        Loader(
            "psql begin, truncate, \\copy, commit",
            lambda given: _psql_command(given.url, "begin", f"truncate {TABLE}", _copy(given.whole, TABLE), "commit"),
            setup=_TABLE_AS_IT_IS,
        ),
        Loader("psql \\copy (on_error ignore)", lambda given: _psql_command(given.url, _copy(given.whole, TABLE, "on_error ignore"))),
        Loader(
            f"{jobs} x psql \\copy into {jobs} tables",
            lambda given: _at_once([_psql_command(given.url, _copy(part, table)) for part, table in zip(given.parts, tables, strict=True)]),
            setup="; ".join([_EMPTY_SCHEMA, *(f"create table {table} ({_COLUMNS})" for table in tables)]),
            rows=f"({' union all '.join(f'table {table}' for table in tables)}) as orders",
        ),
    ]


def _psql_command(url: str, *commands: str) -> list[str]:
    psql = str(wheel_programs() / "psql")
    return [psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", url, *(f"--command={command}" for command in commands)]


def _copy(orders: Orders, table: str, *options: str) -> str:
    return f"\\copy {table} from '{orders.path}' with ({', '.join(['format csv', 'header match', *options])})"


def _at_once(commands: Sequence[Sequence[str]]) -> list[str]:
    started = "".join(f"{shlex.join(command)} & streams+=($!); " for command in commands)
    return ["bash", "-c", f'{started} for stream in "${{streams[@]}}"; do wait "$stream" || exit; done']


def _dpe(jobs: int) -> list[Loader]:
    return [_dpe_with(streams) for streams in sorted({1, jobs})]


def _dpe_with(streams: int) -> Loader:
    dpe = str(Path(sys.executable).parent / "dpe")
    return Loader(
        f"dpe extract --jobs {streams}",
        lambda given: [dpe, "extract", "--select", f"source:bench.{source_name(given.whole)}", "--jobs", str(streams), "--full-refresh"],
        # dpe creates its tables itself. It would skip a file that is already loaded, hence --full-refresh, and the rows
        # of the previous round are removed so that they cannot be counted again.
        setup="do $$ begin if to_regclass('staging.{source}') is not null then truncate staging.{source}; end if; end $$",
        rows="staging.{source}",
    )


def source_name(orders: Orders) -> str:
    """Return the name of the dbt source table, and so of the staging table, for this file."""
    return orders.path.stem.replace("-", "_")


def _others() -> list[Loader]:
    return [
        *_script("dlt, Arrow tables as CSV", "dlt_arrow.py", "dlt", "pyarrow"),
        *_script("ADBC, Arrow tables, binary", "adbc_arrow.py", "adbc_driver_postgresql", "pyarrow"),
        *_script("dlt, one dictionary per record", "dlt_rows.py", "dlt", is_much_slower=True),
        *_script("pandas to_sql", "pandas_to_sql.py", "pandas", "sqlalchemy", is_much_slower=True),
        *([Loader("pgloader", _pgloader, is_much_slower=True)] if shutil.which("pgloader") else []),
    ]


def _script(name: str, script: str, *packages: str, is_much_slower: bool = False) -> list[Loader]:
    """Return the loader for a script in others/, or nothing if a package that it needs is not installed."""
    if not all(importlib.util.find_spec(package) for package in packages):
        return []
    path = str(Path(__file__).parent / "others" / script)
    return [Loader(name, lambda given: [sys.executable, path, str(given.whole.path), given.url], is_much_slower=is_much_slower)]


def _pgloader(given: Input) -> list[str]:
    dialect = ["skip header = 1", "fields terminated by ','", "fields optionally enclosed by '\"'", "fields escaped by double-quote"]
    options = [word for option in dialect for word in ("--with", option)]
    fields = ", ".join(f"{name} [null if blanks]" for name in COLUMNS)
    return ["pgloader", "--type", "csv", *options, "--field", fields, str(given.whole.path), f"{given.url}&tablename={TABLE}"]
