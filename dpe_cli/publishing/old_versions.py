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
from dpe_cli.publishing.dependents import Dependent
from dpe_cli.server import sessions
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import NEXT, OLD, PREVIOUS, published_schema
from dpe_cli.server.sessions import Holder

# Where dbt stores the failures of tests (dbt_project.yml).
FAILURES = "quality"

# From this version on, the name of a temporary schema identifies its session.
_NUMBERED_SINCE = 160_000
_KINDS = {"v": "view", "m": "materialized view", "rp": "table"}
# It has dependents, is held, has another owner, or was moved meanwhile.
_IN_USE = (
    psycopg.errors.DependentObjectsStillExist,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedTable,
)


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


@dataclass(frozen=True)
class Use:
    """
    A reason why an earlier version of a relation cannot be dropped.

    It ends with the sessions in `pids`; before PostgreSQL 16, it may be any one of several (`is_certain` is false).
    """

    relation: str
    version: str
    what: str
    role: str
    pids: tuple[int, ...]
    is_certain: bool
    remedy: str


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


def sweep(connection: Connection, schemas: Iterable[str]) -> None:
    """Drop the earlier versions that nothing uses."""
    old = old_schemas(connection, schemas)
    if not old:
        return
    _drop(connection, old)
    for schema in old:
        _try(connection, sql.SQL("drop schema {}").format(sql.Identifier(schema)))


def uses(connection: Connection, schemas: Sequence[str]) -> list[Use]:
    """Return what uses replaced versions of published schemas: the previous ones, and earlier ones."""
    connection.execute("select set_config('search_path', 'pg_catalog, pg_temp', true)")
    old = old_schemas(connection, schemas)
    kept = {version.oid: version for version in relations(connection, [*(schema + PREVIOUS for schema in schemas), *old])}
    built = {schema + NEXT for schema in schemas}
    found = [
        _use(connection, kept[dependent.relation_id], dependent)
        for dependent in dependents.of(connection, list(kept))
        if dependent.holder_id not in kept and dependent.schema not in built
    ]
    # The previous version is kept anyway, so holding it does not count.
    found += [
        _held(kept[holder.relation_id], holder)
        for holder in sessions.holders(connection, [oid for oid, version in kept.items() if version.schema in old])
        if holder.is_known
    ]
    return list(dict.fromkeys(found))


def _drop(connection: Connection, schemas: Sequence[str]) -> None:
    """Drop the unused relations in schemas, and views of them with stored failures, which the next test recreates."""
    for name in _stored_failures(connection, schemas):
        _try(connection, sql.SQL("drop view if exists {}").format(sql.Identifier(FAILURES, name)))
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
    links = dependents.of(connection, found)
    in_use = {link.relation_id for link in links if link.holder_id not in found}
    in_use |= {holder.relation_id for holder in sessions.holders(connection, found)}
    while more := {link.relation_id for link in links if link.holder_id in in_use} - in_use:
        in_use |= more
    return in_use


def _set_aside(connection: Connection, schema: str) -> None:
    base = published_schema(schema) + OLD
    rows = connection.execute("select nspname from pg_namespace where starts_with(nspname::text, %s)", [base]).fetchall()
    taken = {str(name) for (name,) in rows}
    aside = next(name for number in itertools.count(1) if (name := f"{base}{number}") not in taken)
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


def _use(connection: Connection, version: StoredRelation, dependent: Dependent) -> Use:
    number = dependent.session_number
    pids = [] if number is None else sessions.of_temporary_schema(connection, number, dependent.owner)
    if len(pids) > 1 and connection.info.server_version < _NUMBERED_SINCE:
        remedy = "it belongs to one of these sessions (PostgreSQL before 16 does not show which one): end it"
    elif pids:
        remedy = "end that session, or let --end-sessions do so"
    elif number is not None:
        remedy = "its session is gone, so an administrator has to drop it"
    elif dependent.kind == "other":
        remedy = "drop it, or recreate it"
    else:
        remedy = "recreate it"
    return Use(
        version.published_name,
        f"{version.schema}.{version.name}",
        dependent.what,
        dependent.owner,
        tuple(pids),
        is_certain=connection.info.server_version >= _NUMBERED_SINCE or len(pids) == 1,
        remedy=remedy,
    )


def _held(version: StoredRelation, holder: Holder) -> Use:
    what = "an open transaction" if holder.prepared_as is None else f"the prepared transaction {holder.prepared_as!r}"
    pids = () if holder.pid is None else (holder.pid,)
    remedy = "end that session, or let --end-sessions do so" if pids else "commit it, or roll it back"
    return Use(version.published_name, f"{version.schema}.{version.name}", what, holder.role, pids, is_certain=True, remedy=remedy)


def _stored_failures(connection: Connection, schemas: Sequence[str]) -> list[str]:
    """Return the views with stored failures that read relations in schemas."""
    rows = connection.execute(
        """
        select distinct reader.relname
        from pg_class as read
        inner join pg_depend on pg_depend.refclassid = 'pg_class'::regclass and pg_depend.refobjid = read.oid
        inner join pg_rewrite on pg_depend.classid = 'pg_rewrite'::regclass and pg_depend.objid = pg_rewrite.oid
        inner join pg_class as reader on pg_rewrite.ev_class = reader.oid
        where read.relnamespace::regnamespace::text = any(%s)
            and reader.relnamespace = to_regnamespace(%s)
            and reader.relkind = 'v'
            and reader.relowner = current_user::regrole
        """,
        [schemas, FAILURES],
    ).fetchall()
    return [str(name) for (name,) in rows]
