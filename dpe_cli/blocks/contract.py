"""The load contract: the columns that a source declares, and the staging table that they are loaded into."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

# An identifier has 63 bytes, of which `__<extract_id>_<number>` takes up to 23.
_LONGEST_PREFIX = 40
# Columns that dpe adds to each staging table.
OWN_COLUMNS = ("_load_id", "_slice_id")
# A table's limit (PostgreSQL documentation, "PostgreSQL Limits"), less dpe's own columns.
MOST_COLUMNS = 1600 - len(OWN_COLUMNS)


@dataclass(frozen=True)
class Column:
    """
    A column of the load contract. `data_type` is a PostgreSQL type.

    `path` is where its value is in a JSON record, unless it is the member of the same name; `start` (from 1) and
    `width` are its position in a fixed-width line, in characters. `headers` are other names under which it is delivered.

    An `optional` column, or one with a `default`, may be missing from a delivery: then nulls are loaded, or the default, which is
    written as in CSV.

    `format` is the form of its dates and times, in PostgreSQL's template patterns, if they are not as in ISO 8601. If it `rounds`,
    surplus decimals are rounded; otherwise they are rejected. If `null_quoted`, the null string means null within quotes, too.
    """

    name: str
    data_type: str
    description: str = ""
    path: str | None = None
    start: int | None = None
    width: int | None = None
    headers: tuple[str, ...] = ()
    optional: bool = False
    default: str | None = None
    format: str | None = None
    rounds: bool = False
    null_quoted: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which it may be delivered."""
        return (self.name, *self.headers)

    @property
    def may_be_missing(self) -> bool:
        """Whether a delivery may lack it."""
        return self.optional or self.default is not None

    @property
    def is_json(self) -> bool:
        """Whether the column takes JSON as it is."""
        return self.data_type.strip().lower() in {"json", "jsonb"}


def by_delivered_name(columns: Iterable[Column]) -> dict[str, Column]:
    """Return columns by each name under which they may be delivered."""
    return {name: column for column in columns for name in column.names}


def without_missing(columns: Sequence[Column], fields: int) -> tuple[Column, ...]:
    """Return the columns of records with so many fields, by position: without those at the end that may be missing."""
    kept = list(columns)
    while len(kept) > max(fields, 1) and kept[-1].may_be_missing:
        kept.pop()
    return tuple(kept)


@dataclass(frozen=True)
class StagingTable:
    """Where a source is loaded. `source` is dbt's `source_name.table_name`; `declared_at` is the file that declares it."""

    source: str
    schema: str
    name: str
    columns: tuple[Column, ...]
    tenant_column: str | None = None
    description: str = ""
    declared_at: str = ""

    @property
    def identifier(self) -> sql.Identifier:
        """The parent table, qualified."""
        return sql.Identifier(self.schema, self.name)

    @property
    def relation(self) -> str:
        """Its schema and name, by which the ledger knows the source: `staging.orders`; names with a dot or a quote are quoted."""
        return ".".join('"' + name.replace('"', '""') + '"' if "." in name or '"' in name else name for name in (self.schema, self.name))

    @property
    def slice_prefix(self) -> str:
        """The prefix of its slices' names, which have to fit into an identifier."""
        name = self.name.encode()
        if len(name) > _LONGEST_PREFIX:
            # If it were only cut, two tables' slices could share names.
            digest = hashlib.blake2b(name, digest_size=4).hexdigest()
            return f"{name[: _LONGEST_PREFIX - 9].decode(errors='ignore')}_{digest}__"
        return f"{self.name}__"
