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
from dpe_cli.errors import InputError
from dpe_cli.sources.files.content import Content, Reading
from dpe_cli.sources.read import duckdb_paths, pipes, rows

# A value may be as long as PostgreSQL accepts.
_MAX_RECORD_BYTES = 1024 * 1024 * 1024
# DuckDB types whose text PostgreSQL can read only as JSON.
_NESTED = ("STRUCT", "MAP", "UNION", "JSON", "VARIANT")


@contextmanager
def opened(content: Content, reading: Reading) -> Iterator[OpenedParquet]:
    """
    Open a Parquet file.

    Raises:
        InputError: it is not Parquet, or its footer is broken.
    """
    del reading
    with content.on_disk() as path, duckdb_paths.linked(path) as link:
        yield OpenedParquet(link, link.with_name("csv"), location=content.location)


class OpenedParquet:
    """A file whose schema has been read; its columns are those of the file."""

    dialect: Dialect = rows.DIALECT

    def __init__(self, path: Path, pipe: Path, *, location: str) -> None:
        self._duckdb = optional_packages.needed("duckdb", by="reading Parquet")
        self._connection = self._duckdb.connect()
        self._connection.execute("set timezone = 'UTC'")
        # More threads would run ahead of the writers, and hold data that these cannot take yet.
        self._connection.execute("set threads = 1")
        self._connection.execute("set enable_progress_bar = false")
        self._path = path
        self._pipe = pipe
        self._location = location
        self._records = f"read_parquet($1, {duckdb_paths.NOTHING_FROM_PATH})"
        try:
            described = self._connection.execute(f"describe select * from {self._records}", [str(path)]).fetchall()
        except self._duckdb.Error as error:
            raise self._unreadable(error) from error
        self._types = {str(name): str(data_type) for name, data_type, *_ in described}
        self.columns = tuple(self._types)

    def blocks(self) -> Iterator[Block]:
        """
        Yield the records.

        Raises:
            InputError: a row group is broken.
        """
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
            writer.join()
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
                f"copy (select {', '.join(map(self._field, self._types))} from {self._records}) "
                f"to {rows.literal(str(self._pipe))} (format csv, header false, nullstr '', quote '\"', escape '\"', delimiter ',')",
                [str(self._path)],
            )
        except Exception as error:  # noqa: BLE001 the reader raises it
            failures.append(error)

    def _field(self, name: str) -> str:
        """Return SQL that writes a column as PostgreSQL reads it."""
        quoted = '"' + name.replace('"', '""') + '"'
        data_type = self._types[name]
        if data_type == "BLOB":
            return f"'\\x' || lower(hex({quoted}))"
        if data_type.startswith(_NESTED) or data_type.endswith("]"):
            return f"to_json({quoted})::varchar"
        return quoted

    def _unreadable(self, error: Any) -> InputError:
        # Without the statement, which DuckDB quotes.
        message = " ".join(str(error).partition("\n\nLINE ")[0].replace(str(self._path), self._location).split())
        return InputError(f"{self._location}: cannot be read as Parquet ({message}); ask the sender to send it again")


def _close_after(writer: threading.Thread, descriptor: int) -> None:
    writer.join()
    os.close(descriptor)
