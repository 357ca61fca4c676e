"""The types of a relation's columns, and what their values consist of."""

from __future__ import annotations

from psycopg import sql

from dpe_cli.blocks.exact_types import DataType
from dpe_cli.server.connection import Connection

_COLUMNS = """
    select
        attname::text,
        atttypid::bigint,
        atttypmod
    from pg_attribute
    where attrelid = %s::regclass and attnum > 0 and not attisdropped
    order by attnum
"""
_TYPE = """
    select
        format_type(pg_type.oid, %s),
        case when elements.oid is not null then 'array' else pg_type.typtype::text end,
        coalesce(elements.oid, nullif(pg_type.typbasetype, 0), ranges.rngsubtype, multiranges.rngtypid, 0)::bigint,
        pg_type.typtypmod,
        pg_type.typrelid::text
    from pg_type
    left join pg_type as elements on pg_type.oid = elements.typarray
    left join pg_range as ranges on pg_type.oid = ranges.rngtypid
    left join pg_range as multiranges on pg_type.oid = multiranges.rngmultitypid
    where pg_type.oid = %s
"""
_NO_MODIFIER = -1


def of(connection: Connection, relation: sql.Identifier) -> dict[str, DataType]:
    """Return the types of a relation's columns by name, without domains."""
    types = _Types(connection)
    return {name: types.described(type_id, modifier) for name, type_id, modifier in types.columns(relation.as_string(connection))}


class _Types:
    """Types that the server was asked for, by identifier and modifier (precision or length)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[tuple[int, int], DataType] = {}

    def columns(self, relation: str) -> list[tuple[str, int, int]]:
        """Return the columns of a relation with their types."""
        rows = self._connection.execute(_COLUMNS, [relation]).fetchall()
        return [(str(name), int(str(type_id)), int(str(modifier))) for name, type_id, modifier in rows]

    def described(self, type_id: int, modifier: int) -> DataType:
        """Return a type."""
        if (type_id, modifier) not in self._known:
            self._known[type_id, modifier] = self._asked(type_id, modifier)
        return self._known[type_id, modifier]

    def _asked(self, type_id: int, modifier: int) -> DataType:
        row = self._connection.execute(_TYPE, [modifier, type_id]).fetchone()
        assert row is not None  # noqa: S101 a column's type exists as long as the column
        name, inner, relation = str(row[0]), int(str(row[2])), str(row[4])
        match row[1]:
            case "d":
                return self.described(inner, int(str(row[3])))
            case "array":
                # An array's modifier is that of its elements.
                return DataType(name, "array", (self.described(inner, modifier),))
            case "r":
                return DataType(name, "range", (self.described(inner, _NO_MODIFIER),))
            case "m":
                # Of a multirange's ranges, the bounds.
                return DataType(name, "multirange", self.described(inner, _NO_MODIFIER).parts)
            case "c":
                return DataType(name, "row", tuple(self.described(*field) for _, *field in self.columns(relation)))
        return DataType(name)
