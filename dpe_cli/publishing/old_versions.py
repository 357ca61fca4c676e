"""
Versions of relations that are no longer published: they are dropped as soon as nothing uses them.

Objects that a reader created from a version (a temporary view, a column of its row type) keep using it, and a session may hold it. A
publication waits for neither: it renames the schema, which locks no relation, and later publications check again.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dpe_cli.errors import PublishError
from dpe_cli.publishing import dependents
from dpe_cli.server import sessions
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import OLD, published_schema

_KINDS = {"v": "view", "m": "materialized view", "rp": "table"}
# It has dependents, is held, has another owner, was moved meanwhile, or has more dependents than the server can lock at once.
_IN_USE = (
    psycopg.errors.DependentObjectsStillExist,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedTable,
    psycopg.errors.OutOfMemory,
)
# Relations that dbt renamed to build others in their place, which exist by now. The ending of long names replaces a part of them
# (macros/publish/postgres__make_relation_with_suffix.sql); dbt itself does not add a digest.
_BACKUPS = """
    select pg_class.oid::bigint, nspname, relname, relkind::text
    from pg_class
    inner join pg_namespace on relnamespace = pg_namespace.oid
    where nspname = any(%s)
        and relkind in ('r', 'p', 'v')
        and relname ~ '__dbt_backup$'
        and relowner = to_regrole(quote_ident(current_user))
        and exists (
            select
            from pg_class as replacement
            where replacement.relnamespace = pg_class.relnamespace
                and replacement.relkind in ('r', 'p', 'v')
                and pg_class.relname in (
                    dpe.companion_name(replacement.relname, '__dbt_backup'),
                    left(replacement.relname, 51) || '__dbt_backup'
                )
        )
    order by relkind <> 'v', pg_class.oid
"""
# Schemas in which there is something. To drop any other would make PostgreSQL lock whatever depends on its content, and on that.
_FILLED = """
    select distinct nspname
    from pg_depend
    inner join pg_namespace on refobjid = pg_namespace.oid
    where refclassid = 'pg_namespace'::regclass and nspname = any(%s)
"""


@dataclass(frozen=True)
class StoredRelation:
    """A relation in a schema, with its kind as in pg_class."""

    oid: int
    schema: str
    name: str
    kind: str

    @property
    def published_name(self) -> str:
        """The name that readers use, or used, for it."""
        return f"{published_schema(self.schema)}.{self.name}"


def relations(connection: Connection, schemas: Iterable[str]) -> list[StoredRelation]:
    """Return the relations in schemas."""
    rows = connection.execute(
        """
        select pg_class.oid::bigint, nspname, relname, relkind::text
        from pg_class
        inner join pg_namespace on relnamespace = pg_namespace.oid
        where nspname = any(%s) and relkind in ('r', 'p', 'v', 'm') and not relispartition
        order by nspname, relname
        """,
        [list(schemas)],
    ).fetchall()
    return [StoredRelation(*row) for row in rows]


def old_schemas(connection: Connection, schemas: Iterable[str]) -> list[str]:
    """Return the schemas of earlier versions of published schemas, which were in use when they were replaced."""
    rows = connection.execute(
        """
        select nspname
        from pg_namespace
        cross join unnest(%s::text[]) as published (schema_name)
        where starts_with(nspname::text, schema_name || %s)
            and substr(nspname, length(schema_name || %s) + 1) ~ '^[0-9]+$'
            and nspowner::regrole::text = 'dpe_transformer'
        order by nspname
        """,
        [list(schemas), OLD, OLD],
    ).fetchall()
    return [str(name) for (name,) in rows]


def clear(connection: Connection, schemas: Iterable[str]) -> None:
    """
    Empty schemas for another version: drop their relations, and rename schemas with relations in use.

    Raises:
        PublishError: a schema is in use and belongs to another role.
    """
    schemas = list(schemas)
    _drop(connection, schemas)
    for schema in sorted({stored.schema for stored in relations(connection, schemas)}):
        _set_aside(connection, schema)


def remove_backups(connection: Connection, schemas: Iterable[str]) -> None:
    """
    Drop what plain dbt left in published schemas: the replaced version of a relation, which dbt renames and then could not drop.

    A version in use is moved to a schema of earlier versions. Leaves one that a session holds to the next build.
    """
    for oid, schema, name, kind in connection.execute(_BACKUPS, [list(schemas)]).fetchall():
        relation = sql.Identifier(str(schema), str(name))
        if not _in_use(connection, {int(str(oid))}):
            _try(connection, sql.SQL("drop {} {}").format(sql.SQL("view" if kind == "v" else "table"), relation))
            continue
        aside = sql.Identifier(_free_schema(connection, str(schema)))
        _try(connection, sql.SQL("create schema {aside}; alter table {relation} set schema {aside}").format(aside=aside, relation=relation))


def sweep(connection: Connection, schemas: Iterable[str]) -> None:
    """Drop the earlier versions that nothing uses."""
    old = old_schemas(connection, schemas)
    if not old:
        return
    _drop(connection, old)
    filled = {str(name) for (name,) in connection.execute(_FILLED, [old])}
    for schema in [old_schema for old_schema in old if old_schema not in filled]:
        _try(connection, sql.SQL("drop schema {}").format(sql.Identifier(schema)))


def _drop(connection: Connection, schemas: Sequence[str]) -> None:
    """Drop the unused relations in schemas, and views of them with stored failures, which the next test recreates."""
    for schema, name in _stored_failures(connection, schemas):
        _try(connection, sql.SQL("drop view if exists {}").format(sql.Identifier(schema, name)))
    found = relations(connection, schemas)
    in_use = _in_use(connection, {relation.oid for relation in found})
    for kinds, kind in _KINDS.items():
        names = [
            sql.Identifier(relation.schema, relation.name) for relation in found if relation.kind in kinds and relation.oid not in in_use
        ]
        if names and not _try(connection, sql.SQL("drop {} {}").format(sql.SQL(kind), sql.SQL(", ").join(names))):
            return


def _in_use(connection: Connection, found: Collection[int]) -> set[int]:
    """Return the relations (of these oids) that have other dependents or are held by a session, and what they depend on."""
    if not found:
        return set()
    links = dependents.among(connection, found)
    in_use = {relation_id for relation_id, holder_id in links if holder_id is None}
    in_use |= {holder.relation_id for holder in sessions.holders(connection, found)}
    while more := {relation_id for relation_id, holder_id in links if holder_id in in_use} - in_use:
        in_use |= more
    return in_use


def _free_schema(connection: Connection, schema: str) -> str:
    """Return an unused name of a schema for earlier versions."""
    base = published_schema(schema) + OLD
    rows = connection.execute("select nspname from pg_namespace where starts_with(nspname::text, %s)", [base]).fetchall()
    taken = {str(name) for (name,) in rows}
    return next(name for number in itertools.count(1) if (name := f"{base}{number}") not in taken)


def _set_aside(connection: Connection, schema: str) -> None:
    aside = _free_schema(connection, schema)
    try:
        with connection.transaction():
            connection.execute(sql.SQL("alter schema {} rename to {}").format(sql.Identifier(schema), sql.Identifier(aside)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise PublishError(
            f"{schema}: is in use, and cannot be renamed ({error.diag.message_primary}); "
            f"run `alter schema {sql.Identifier(schema).as_string(connection)} owner to dpe_transformer`"
        ) from error


def _try(connection: Connection, statement: sql.Composed) -> bool:
    """Run a statement unless its object is in use; return whether it ran."""
    try:
        with connection.transaction():
            connection.execute(statement)
    except _IN_USE:
        return False
    return True


def _stored_failures(connection: Connection, schemas: Sequence[str]) -> list[tuple[str, str]]:
    """Return the views with stored failures that read relations in schemas: those that dbt built for tests, wherever they are."""
    rows = connection.execute(
        """
        select distinct failures.nspname, reader.relname
        from pg_class as read
        inner join pg_namespace as versions on read.relnamespace = versions.oid
        inner join pg_depend on pg_depend.refclassid = 'pg_class'::regclass and pg_depend.refobjid = read.oid
        inner join pg_rewrite on pg_depend.classid = 'pg_rewrite'::regclass and pg_depend.objid = pg_rewrite.oid
        inner join pg_class as reader on pg_rewrite.ev_class = reader.oid
        inner join pg_namespace as failures on reader.relnamespace = failures.oid
        inner join dpe.protected_relations as known on known.relation_id = reader.oid and starts_with(known.node, 'test.')
        where versions.nspname = any(%s)
            and reader.relkind = 'v'
            and reader.relowner = to_regrole(quote_ident(current_user))
        """,
        [schemas],
    ).fetchall()
    return [(str(schema), str(name)) for schema, name in rows]
