"""
PostgreSQL tables in binary format, a range of pages at a time: the fastest format for both servers.

For tables whose columns have exactly the types of the contract, if the binary form of these is the same in all versions. The pages
of a block are a COPY of their own, whose rows the source's server counts (PostgreSQL documentation, "COPY", binary format).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from psycopg import sql

from dpe_cli.blocks.block import BLOCK_BYTES, Block
from dpe_cli.blocks.contract import Column, by_delivered_name
from dpe_cli.blocks.exact_types import canonical
from dpe_cli.server.connection import Connection
from dpe_cli.sources.databases import psql_text

# Compressed rows may be far larger than their pages.
_MOST_BYTES = 16 * BLOCK_BYTES
_TYPES = (
    *("boolean", "smallint", "integer", "bigint", "real", "double precision", "numeric"),
    *("text", "character varying", "character", "uuid", "bytea", "json", "jsonb", "inet", "cidr", "macaddr"),
    *("date", "time", "time with time zone", "timestamp", "timestamp with time zone", "interval"),
)
# PostgreSQL 14 and later find a range of pages without reading the others (its release notes, E.1.3.1.2). Data that was
# moved out of the rows is not counted in their pages.
_TABLE = """
    select
        pg_relation_size(pg_class.oid) / current_setting('block_size')::bigint,
        current_setting('block_size')::bigint
    from pg_class
    where
        pg_class.oid = %s::oid
        and pg_class.relkind = 'r'
        and not pg_class.relhassubclass
        and current_setting('server_version_num')::integer >= 140000
        and pg_table_size(pg_class.oid) <= 2 * pg_relation_size(pg_class.oid)
"""
_COLUMNS_OF_KNOWN_TYPES = """
    select count(*)
    from pg_attribute
    inner join unnest(%s::text[], %s::text[], %s::text[]) as wanted (name, data_type, full_name) on pg_attribute.attname = wanted.name
    where
        pg_attribute.attrelid = %s::oid
        and pg_attribute.atttypid = to_regtype(wanted.data_type)
        and pg_attribute.atttypid = any(%s::regtype[])
        -- In binary format, a server rounds or cuts what does not fit a precision, a length or an interval's fields, and reports nothing.
        and (
            wanted.full_name = format_type(pg_attribute.atttypid, -1)
            or wanted.full_name = format_type(pg_attribute.atttypid, pg_attribute.atttypmod)
        )
"""


@dataclass(frozen=True)
class Pages:
    """A table to be read by its pages; `marker` separates the COPYs, and cannot be guessed."""

    relation: str
    columns: str
    pages: int
    pages_of_a_block: int
    marker: str

    @classmethod
    def of(
        cls, connection: Connection, number: int, relation: sql.Composable, names: Sequence[str], contract: Sequence[Column]
    ) -> Pages | None:
        """Return how to read a table by pages; None if it has to be read as text."""
        types = {name: column.data_type for name, column in by_delivered_name(contract).items()}
        if not names or not set(names) <= types.keys():
            return None
        found = connection.execute(_TABLE, [number]).fetchone()
        known = [name for type_ in _TYPES for name in (type_, f"{type_}[]")]
        wanted = [types[name] for name in names]
        given = [list(names), wanted, list(map(canonical, wanted)), number, known]
        fitting = connection.execute(_COLUMNS_OF_KNOWN_TYPES, given).fetchone()
        if found is None or fitting != (len(names),):
            return None
        pages, bytes_of_a_page = (int(str(value)) for value in found)
        columns = sql.SQL(", ").join(map(psql_text.identifier, names))
        return cls(
            relation.as_string(connection),
            columns.as_string(connection),
            pages,
            max(1, BLOCK_BYTES // bytes_of_a_page),
            secrets.token_hex(),
        )

    @property
    def starts(self) -> range:
        """The first page of each block."""
        return range(0, max(1, self.pages), self.pages_of_a_block)

    def script(self) -> str:
        """Return psql's script: a COPY for each block, followed by the marker with the count of its rows."""
        return "".join(map(self._copy, self.starts))

    def rest(self, start: int) -> str:
        """Return the COPY in text format of all rows from this page on."""
        return f"copy (select {self.columns} from {self.relation} where ctid >= '({start},0)') to stdout with (format text);"

    def _copy(self, start: int) -> str:
        # The snapshot sees only existing pages; the last block would include any after them.
        end = f" and ctid < '({start + self.pages_of_a_block},0)'" if start != self.starts[-1] else ""
        rows = f"select {self.columns} from {self.relation} where ctid >= '({start},0)'{end}"
        # The output file is named, because psql sets no row count for a COPY to its own output.
        return f"copy ({rows}) to stdout with (format binary) \\g /dev/stdout\n\\echo {self.marker} :ROW_COUNT\n"

    def blocks(self, chunks: Iterable[bytes]) -> Iterator[Block | None]:
        """Yield psql's output as blocks, None for pages without rows; ends early if a block would take too much memory."""
        marker = f"{self.marker} ".encode()
        pending = b""
        for chunk in chunks:
            seen = max(0, len(pending) - len(marker))
            pending += chunk
            while (end := pending.find(marker, seen)) >= 0 and (line_end := pending.find(b"\n", end)) >= 0:
                records = int(pending[end + len(marker) : line_end])
                yield Block(pending[:end], records, records, 1, copy_format="binary") if records else None
                pending = pending[line_end + 1 :]
                seen = 0
            if len(pending) > _MOST_BYTES:
                return
