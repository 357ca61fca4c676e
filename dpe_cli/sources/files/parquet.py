"""
Parquet files: DuckDB reads them by column, and writes CSV into a pipe that is read like a CSV file.

A rejected record is kept as a JSON object, which sources/rejects/json_objects.py splits into columns.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dpe_cli import optional_packages
from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.blocks.cutting import cut
from dpe_cli.blocks.reading import is_out_of_memory, out_of_memory
from dpe_cli.errors import InputError
from dpe_cli.sources.files.content import Content, Reading
from dpe_cli.sources.read import duckdb_connections, duckdb_paths, duckdb_values, parquet_schema, pipes, rows
from dpe_cli.sources.read.parquet_schema import ParquetColumn

# A value may be as long as PostgreSQL accepts.
_MAX_RECORD_BYTES = 1024 * 1024 * 1024
_SECONDS_TO_END = 10


@contextmanager
def opened(content: Content, reading: Reading) -> Iterator[OpenedParquet]:
    """
    Open a Parquet file.

    Raises:
        InputError: it is not Parquet, or its footer is broken.
    """
    wanted = frozenset(column.name for column in reading.columns)
    with content.on_disk() as path, duckdb_paths.linked(path) as link:
        yield OpenedParquet(link, link.with_name("csv"), location=content.location, wanted=wanted)


class OpenedParquet:
    """A file whose schema has been read; its columns are those of the file."""

    dialect: Dialect = rows.DIALECT

    def __init__(self, path: Path, pipe: Path, *, location: str, wanted: frozenset[str]) -> None:
        self._duckdb = optional_packages.needed("duckdb", by="reading Parquet")
        self._connection = duckdb_connections.connect(by="reading Parquet")
        self._connection.execute("set timezone = 'UTC'")
        self._path = path
        self._pipe = pipe
        self._location = location
        self._wanted = wanted
        try:
            self._columns = parquet_schema.columns(self._connection, path)
        except self._duckdb.Error as error:
            raise self._unreadable(error) from error
        self._check_nesting()
        self.columns = tuple(column.name for column in self._columns)
        self._fields = ", ".join(map(self._field, self._columns))

    def blocks(self) -> Iterator[Block]:
        """
        Yield the records.

        Raises:
            InputError: a row group is broken, or a column cannot be read exactly.
        """
        self._check_digits()
        total = self._connection.execute("select sum(num_rows)::bigint from parquet_file_metadata($1)", [str(self._path)]).fetchone()
        read = 0
        chunks = self._chunks()
        for block in rows.numbered(cut(chunks, self.dialect, location=self._location, max_record_bytes=_MAX_RECORD_BYTES), self.columns):
            read += block.records
            yield block
        if total and total[0] != read:
            raise InputError(
                f"{self._location}: the file announces {total[0]:,} records, but {read:,} were read; ask the sender to send it again"
            )

    def _check_digits(self) -> None:
        """Refuse decimals that DuckDB would round, unless the contract leaves them out."""
        for column in self._columns:
            if column.digits > parquet_schema.MOST_DIGITS and self._is_wanted(column):
                raise InputError(
                    f"{self._location}: column {column.name!r} has decimals of {column.digits} digits, of which some would be lost; "
                    f"ask the sender for at most {parquet_schema.MOST_DIGITS} digits, or for text"
                )

    def _is_wanted(self, column: ParquetColumn) -> bool:
        return not self._wanted or column.name in self._wanted

    def _field(self, column: ParquetColumn) -> str:
        return "null" if column.is_too_deep else duckdb_values.field(self._connection, column.alias, column.data_type)

    def _check_nesting(self) -> None:
        """Refuse values that DuckDB would not begin to write for hours, unless the contract leaves them out."""
        for column in self._columns:
            if column.is_too_deep and self._is_wanted(column):
                raise InputError(
                    f"{self._location}: column {column.name!r} has lists or maps within each other more than "
                    f"{parquet_schema.MOST_LISTS} deep, or more than {parquet_schema.MOST_LEVELS} levels; "
                    "ask the sender for a flatter column, or for text"
                )

    def _chunks(self) -> Iterator[bytes]:
        """Make DuckDB write to the pipe, and read its output meanwhile."""
        os.mkfifo(self._pipe)
        failures: list[Exception] = []
        # Opened for reading and writing, so that neither end waits forever for the other.
        descriptor = os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK)
        writer = threading.Thread(target=self._write, args=[failures], name="dpe parquet", daemon=True)
        keeps_open = os.open(self._pipe, os.O_WRONLY)
        os.set_blocking(descriptor, True)
        writer.start()
        try:
            yield from self._read(descriptor, keeps_open, writer)
        finally:
            # A reader that stops early breaks the pipe, which ends the writer.
            self._connection.interrupt()
            os.close(descriptor)
            # DuckDB ends a query only once it is planned.
            writer.join(_SECONDS_TO_END)
        if failures:
            raise self._unreadable(failures[0]) from failures[0]

    def _read(self, descriptor: int, keeps_open: int, writer: threading.Thread) -> Iterator[bytes]:
        closer = threading.Thread(target=_close_after, args=[writer, keeps_open], name="dpe parquet end", daemon=True)
        closer.start()
        yield from pipes.chunks(descriptor)
        closer.join()

    def _write(self, failures: list[Exception]) -> None:
        try:
            self._connection.execute(
                f"copy (select {self._fields} from read_parquet($1, {duckdb_paths.NOTHING_FROM_PATH})) "
                f"to {rows.literal(str(self._pipe))} (format csv, header false, nullstr '', quote '\"', escape '\"', delimiter ',')",
                [str(self._path)],
            )
        except self._duckdb.Error as error:
            failures.append(error)

    def _unreadable(self, error: Any) -> InputError:
        if is_out_of_memory(error):
            return out_of_memory(self._location)
        # Without the statement, which DuckDB quotes.
        message = " ".join(str(error).partition("\n\nLINE ")[0].replace(str(self._path), self._location).split())
        return InputError(f"{self._location}: cannot be read as Parquet ({message}); ask the sender to send it again")


def _close_after(writer: threading.Thread, descriptor: int) -> None:
    writer.join()
    os.close(descriptor)
