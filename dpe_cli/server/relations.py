"""
Relations by name, their columns, and the names that dpe derives for related relations and for the schemas of other versions.

    marts__next        what `dpe run` builds
    marts__previous    what the last publication replaced
    marts__old_1, …    earlier versions of relations that something still uses
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from psycopg import sql

from dpe_cli.server.connection import Connection

# The suffixes that macros/quality/quarantine_of_this.sql and macros/rls/masked_view.sql use; companion_name() appends them.
QUARANTINE = "__quarantine"
MASKED = "__masked"

NEXT = "__next"
PREVIOUS = "__previous"
OLD = "__old_"

# NAMEDATALEN of PostgreSQL: it cuts longer names off, without an error.
MOST_BYTES = 63

# Schemas that are not for the relations of a project, as in macros/rls/is_reserved_schema.sql; nor are PostgreSQL's own and shadow schemas.
_RESERVED = frozenset({"dpe", "dpe_locks", "information_schema", "public"})
# As in dpe_cli/access/sql.
_SHADOW = re.compile("__(next|previous|old_[0-9]+)$")
_OLD = re.compile("__old_[0-9]+$")


@dataclass(frozen=True)
class Relation:
    """A relation: the schema and name that readers use, and its oid."""

    schema: str
    name: str
    oid: int

    def __str__(self) -> str:
        """Name it."""
        return f"{self.schema}.{self.name}"


def companion_name(name: str, suffix: str) -> str:
    """Return the name of a relation's view or quarantine; a name that leaves no room for the suffix is cut, and gets part of its digest."""
    most = MOST_BYTES - len(suffix.encode())
    if len(name.encode()) <= most:
        return name + suffix
    digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:8]
    return f"{name.encode()[: most - 9].decode(errors='ignore')}_{digest}{suffix}"


def companions_of(names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the schema and name of each view and quarantine that relations may have, with those of its relation."""
    return {(schema, companion_name(name, suffix)): (schema, name) for schema, name in names for suffix in (QUARANTINE, MASKED)}


def encoded_name(name: str) -> str:
    """Return a column's name as the comment on a policy records it (macros/rls/encoded_name.sql)."""
    for character, code in (("%", "%25"), (",", "%2C"), ("'", "%27"), ("}", "%7D"), (": ", "%3A ")):
        name = name.replace(character, code)
    return name


def is_shadow(schema: str) -> bool:
    """Return whether a schema holds a version other than the published one, so that readers have no rights in it."""
    return _SHADOW.search(schema) is not None


def is_reserved(schema: str) -> bool:
    """Return whether a schema is not for relations of a project: it is dpe's, PostgreSQL's, open to others, or holds other versions."""
    return schema in _RESERVED or schema.startswith("pg_") or is_shadow(schema)


def is_old(schema: str) -> bool:
    """Return whether a schema holds versions that cannot be restored."""
    return _OLD.search(schema) is not None


def published_schema(schema: str) -> str:
    """Return the schema in which the relations of a schema are, or were, published."""
    return _SHADOW.sub("", schema)


def find_relation(connection: Connection, schema: str, name: str) -> Relation | None:
    """Return the relation of this name in a schema, if it exists."""
    row = connection.execute(
        "select pg_class.oid from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid where nspname = %s and relname = %s",
        [schema, name],
    ).fetchone()
    return None if row is None else Relation(schema, name, int(str(row[0])))


def refuse_code_of_others(connection: Connection, relation: sql.Identifier, also_read_by: Collection[str] = ()) -> None:
    """
    Lock a relation, and all that a query of it reads, until the end of the transaction, if it runs no code of others when it is read.

    Others are roles that are neither administrators nor the pipeline (dpe_cli/server/sql/foreign_code.sql). A session that reads it as
    further roles names them all: a policy may be for one of these only.

    Raises:
        psycopg.errors.WrongObjectType: it would run such code.
        psycopg.errors.UndefinedTable: it does not exist.
        psycopg.errors.InsufficientPrivilege: none of the roles may use its schema.
    """
    connection.execute(
        "select dpe.refuse_code_of_others(names[1]::name, names[2]::name, %s::name[]) from parse_ident(%s) as names",
        [sorted(also_read_by), relation.as_string(connection)],
    )


def columns_of(connection: Connection, relation: sql.Identifier) -> dict[str, str]:
    """Return the types of a relation's columns by name, in their order; none if it does not exist."""
    rows = connection.execute(
        """
        select attname, format_type(atttypid, atttypmod)
        from pg_attribute
        where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
        order by attnum
        """,
        [relation.as_string(connection)],
    ).fetchall()
    return {str(name): str(data_type) for name, data_type in rows}
