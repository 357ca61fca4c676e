"""The columns of Parquet files, and their types in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dpe_cli import optional_packages
from dpe_cli.errors import InputError
from dpe_cli.infer.survey import Draft
from dpe_cli.sources.files.find import File
from dpe_cli.sources.read import duckdb_connections, duckdb_paths, duckdb_values, parquet_schema

# DuckDB's types; lists, structs and maps become jsonb, and all others text.
_TYPES = {
    "BOOLEAN": "boolean",
    "TINYINT": "smallint",
    "UTINYINT": "smallint",
    "SMALLINT": "smallint",
    "USMALLINT": "integer",
    "INTEGER": "integer",
    "UINTEGER": "bigint",
    "BIGINT": "bigint",
    "UBIGINT": "numeric",
    "HUGEINT": "numeric",
    "UHUGEINT": "numeric",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "BLOB": "bytea",
    "DATE": "date",
    "TIME": "time",
    "TIME WITH TIME ZONE": "timetz",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_NS": "timestamp",
    "TIMESTAMPTZ_NS": "timestamptz",
    "TIME_NS": "time",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "UUID": "uuid",
    "INTERVAL": "interval",
}
_WIDER = ("smallint", "integer", "bigint", "numeric")


def drafts(chosen: Sequence[File]) -> list[Draft]:
    """
    Return the columns of files, each with a type that fits all files.

    Raises:
        InputError: one cannot be read.
    """
    types: dict[str, str] = {}
    for file in chosen:
        for name, data_type in _described(file):
            types[name] = _common(types.get(name, data_type), data_type)
    return [Draft(name, name, declared=data_type) for name, data_type in types.items()]


def _described(file: File) -> list[tuple[str, str]]:
    duckdb: Any = optional_packages.needed("duckdb", by="reading Parquet")
    with file.content() as content, content.on_disk() as on_disk, duckdb_paths.linked(on_disk) as path:
        try:
            columns = parquet_schema.columns(duckdb_connections.connect(by="reading Parquet"), path)
        except duckdb.Error as error:
            message = " ".join(str(error).partition("\n\nLINE ")[0].replace(str(path), content.location).split())
            raise InputError(f"{content.location}: cannot be read as Parquet ({message}); ask the sender to send it again") from error
    return [(column.name, _type(column.data_type)) for column in columns]


def _type(data_type: str) -> str:
    if duckdb_values.is_nested(data_type):
        return "jsonb"
    if data_type.startswith("DECIMAL"):
        return "numeric"
    return _TYPES.get(data_type, "text")


def _common(first: str, other: str) -> str:
    if first == other:
        return first
    if first in _WIDER and other in _WIDER:
        return max(first, other, key=_WIDER.index)
    numbers = {*_WIDER, "real", "double precision"}
    return "numeric" if {first, other} <= numbers else "text"
