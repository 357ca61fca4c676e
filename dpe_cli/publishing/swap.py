"""
Exchange versions of relations for readers: what was built beside the published schemas takes the place of what is there.

All of it happens in the caller's transaction, as dpe_transformer. Indexes, policies, grants and comments go with a relation
to its new schema, and views follow what they read by its identity (PostgreSQL documentation, "ALTER TABLE", SET SCHEMA). So
what stays where it is has to be told of the new version (dpe_cli/publishing/dependents.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg
from psycopg import sql

from dpe_cli.errors import PublishError
from dpe_cli.publishing import dependents, old_versions
from dpe_cli.server.relations import NEXT, PREVIOUS, Relation, find_relation

Connection = psycopg.Connection[tuple[object, ...]]


class HeldError(Exception):
    """A session holds the relation with this oid."""

    def __init__(self, oid: int) -> None:
        super().__init__(oid)
        self.oid = oid


def publish(
    connection: Connection,
    relations: Sequence[Relation],
    schemas: Sequence[str],
    *,
    without: Sequence[tuple[str, str]] = (),
    first: Sequence[int] = (),
) -> list[Relation]:
    """
    Put relations from beside the published schemas in the place of those there, which are kept; return what was replaced.

    `schemas` are all that the project publishes in: what they kept of earlier versions goes, or is set aside. `without` are schemas
    and names of those that belong to the present version only. `first` are the oids of those to lock first.

    Raises:
        PublishError: a relation is not what was built, or something of the pipeline's own reads the present version and cannot follow.
        HeldError: a session holds one of those to exchange for longer than lock_timeout.
    """
    _check_identity(connection, relations, NEXT)
    old_versions.clear(connection, [schema + PREVIOUS for schema in schemas])
    names = [*((one.schema, one.name) for one in relations), *without]
    present = [found for schema, name in names if (found := find_relation(connection, schema, name))]
    return _exchange(connection, leaving=present, coming=relations, first=first)


def take_back(
    connection: Connection,
    relations: Sequence[Relation],
    schemas: Sequence[str],
    *,
    replaced: Sequence[Relation] | None = None,
    without: Sequence[tuple[str, str]] = (),
    first: Sequence[int] = (),
) -> list[Relation]:
    """
    Put what relations replaced back in their place, and keep them in its; return what came back.

    `replaced` are those that come back, where they are known: not whatever else has their name by now. `without` and `first` are as in
    publish().

    Raises:
        PublishError: a relation was built anew since, one that was replaced is not there any more, or something of the pipeline's own
            reads it and cannot go back.
        HeldError: a session holds one of those to exchange for longer than lock_timeout.
    """
    _check_identity(connection, relations, "")
    if replaced is None:
        names = [*((one.schema, one.name) for one in relations), *without]
        replaced = [
            Relation(schema, name, found.oid) for schema, name in names if (found := find_relation(connection, schema + PREVIOUS, name))
        ]
    _check_identity(connection, replaced, PREVIOUS)
    # Out of the way first: both cannot have one name in one schema.
    old_versions.clear(connection, [schema + NEXT for schema in schemas])
    for schema in sorted({one.schema for one in replaced}):
        _create_schema(connection, schema + NEXT)
    for one in replaced:
        _move(connection, one, PREVIOUS, NEXT)
    _exchange(connection, leaving=relations, coming=replaced, first=first)
    return list(replaced)


def _exchange(connection: Connection, *, leaving: Sequence[Relation], coming: Sequence[Relation], first: Sequence[int]) -> list[Relation]:
    for schema in sorted({one.schema for one in leaving}):
        _create_schema(connection, schema + PREVIOUS)
    # One that nothing was published in before.
    for schema in sorted({one.schema for one in coming}):
        _create_schema(connection, schema)
    followers = dependents.find(connection, [one.oid for one in leaving])
    _lock(connection, [*(one.oid for one in leaving), *(one.oid for one in followers if one.is_view)], first)
    for one in leaving:
        _move(connection, one, "", PREVIOUS)
    for one in coming:
        _make_room_for_indexes(connection, one)
        _move(connection, one, NEXT, "")
    for follower in followers:
        dependents.rebind(connection, follower)
    return list(leaving)


def _check_identity(connection: Connection, relations: Sequence[Relation], suffix: str) -> None:
    for one in relations:
        found = find_relation(connection, one.schema + suffix, one.name)
        if found is None or found.oid != one.oid:
            where = f"{one.schema}{suffix}.{one.name}"
            what = "is not there any more" if found is None else "was built anew since"
            raise PublishError(f"{where}: {what}; run `dpe run` to build and publish it")


def _lock(connection: Connection, oids: Sequence[int], first: Sequence[int]) -> None:
    """
    Wait for the readers of relations, and keep new ones waiting.

    In the order in which readers lock them, or each new reader would hold one that we wait for and wait for one that we
    hold: a view before what it reads, which is older. For the rest, what was held the last time comes first. The sequences that columns
    own move with their tables, and are locked as these are.
    """
    rows = connection.execute(
        """
        select pg_class.oid, relkind::text, nspname, relname, pg_get_userbyid(relowner)::text
        from pg_class
        inner join pg_namespace on relnamespace = pg_namespace.oid
        where pg_class.oid = any(%(oids)s)
            or relkind = 'S' and exists (
                select
                from pg_depend
                where classid = 'pg_class'::regclass
                    and objid = pg_class.oid
                    and refclassid = 'pg_class'::regclass
                    and refobjid = any(%(oids)s)
                    and deptype in ('a', 'i')
            )
        order by
            array_position(%(first)s, pg_class.oid::bigint),
            relkind <> 'v',
            pg_class.oid::bigint * (case relkind when 'v' then -1 else 1 end)
        """,
        {"oids": list(oids), "first": list(first)},
    ).fetchall()
    for oid, kind, schema, name, owner in rows:
        relation = sql.Identifier(str(schema), str(name))
        # LOCK of a view would lock what it reads as well, and of a sequence there is none; to change nothing of it takes the same lock.
        to_itself = {"v": sql.SQL("alter view {} owner to {}"), "S": sql.SQL("alter sequence {} owner to {}")}
        lock = to_itself.get(str(kind), sql.SQL("lock table {} in access exclusive mode"))
        try:
            connection.execute(lock.format(relation, sql.Identifier(str(owner))))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            raise HeldError(int(str(oid))) from error


def _move(connection: Connection, relation: Relation, source: str, target: str) -> None:
    # ALTER TABLE moves views as well.
    connection.execute(
        sql.SQL("alter table {} set schema {}").format(
            sql.Identifier(relation.schema + source, relation.name), sql.Identifier(relation.schema + target)
        )
    )


def _make_room_for_indexes(connection: Connection, relation: Relation) -> None:
    """
    Rename the indexes and sequences of a relation whose names another one has where it goes.

    PostgreSQL makes their names of the table's, of which it takes the start.
    """
    rows = connection.execute(
        """
        with

        parts as (

            select indexrelid as part_id
            from pg_index
            where indrelid = %(oid)s
            union
            select objid
            from pg_depend
            where classid = 'pg_class'::regclass
                and refclassid = 'pg_class'::regclass
                and refobjid = %(oid)s
                and deptype in ('a', 'i')
                and refobjsubid > 0

        )

        select part.relkind::text, nspname, part.relname, left(part.relname, 52) || '_' || part.oid
        from parts
        inner join pg_class as part on parts.part_id = part.oid
        inner join pg_namespace on part.relnamespace = pg_namespace.oid
        where part.relkind in ('i', 'S')
            and exists (
                select from pg_class as other where other.relname = part.relname and other.relnamespace = to_regnamespace(%(schema)s)
            )
        """,
        {"oid": relation.oid, "schema": sql.Identifier(relation.schema).as_string(connection)},
    ).fetchall()
    for kind, schema, name, free_name in rows:
        connection.execute(
            sql.SQL("alter {} {} rename to {}").format(
                sql.SQL("index" if kind == "i" else "sequence"), sql.Identifier(str(schema), str(name)), sql.Identifier(str(free_name))
            )
        )


def _create_schema(connection: Connection, schema: str) -> None:
    row = connection.execute("select to_regnamespace(%s)", [sql.Identifier(schema).as_string(connection)]).fetchone()
    if row == (None,):
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))


def names(connection: Connection, schemas: Iterable[str]) -> list[tuple[str, str]]:
    """Return schema and name of the relations in schemas."""
    return [(one.schema, one.name) for one in old_versions.relations(connection, schemas)]
