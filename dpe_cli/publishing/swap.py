"""
Swap versions of relations for readers: what was built in the shadow schemas replaces what is published.

Everything happens in the caller's transaction, as dpe_transformer. Indexes, sequences, policies, grants and comments move with a relation
to its new schema, and views follow what they read by its oid (PostgreSQL documentation, "ALTER TABLE", SET SCHEMA). So objects
that stay where they are have to be switched to the new version (dpe_cli/publishing/dependents.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg
from psycopg import sql

from dpe_cli.errors import PublishError
from dpe_cli.publishing import dependents, old_versions
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import NEXT, PREVIOUS, Relation, find_relation


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
    Replace published relations, which are kept, with those from the shadow schemas; return the replaced ones.

    `schemas` are all that the project publishes in: earlier versions that were kept for them are dropped, or set aside. `without` are the
    schemas and names of relations that only the present version has. `first` are the oids of relations to lock first.

    Raises:
        PublishError: a relation is not the one that was built, or an object of the pipeline reads the present version and cannot follow.
        HeldError: a session holds one of the relations for longer than lock_timeout.
    """
    _check_identity(connection, relations, NEXT)
    old_versions.clear(connection, [schema + PREVIOUS for schema in schemas])
    names = [*((relation.schema, relation.name) for relation in relations), *without]
    present = [found for schema, name in names if (found := find_relation(connection, schema, name))]
    return _exchange(connection, leaving=present, coming=relations, first=first)


def restore(
    connection: Connection,
    relations: Sequence[Relation],
    schemas: Sequence[str],
    *,
    replaced: Sequence[Relation] | None = None,
    without: Sequence[tuple[str, str]] = (),
    first: Sequence[int] = (),
) -> list[Relation]:
    """
    Restore the relations that `relations` replaced, and keep these instead; return the restored ones.

    `replaced` are the relations to restore, if they are known, whatever else has their names by now. `without` and `first` are as in
    publish().

    Raises:
        PublishError: a relation was rebuilt since, a replaced one no longer exists, or an object of the pipeline reads a relation and
            cannot follow.
        HeldError: a session holds one of the relations for longer than lock_timeout.
    """
    _check_identity(connection, relations, "")
    if replaced is None:
        names = [*((relation.schema, relation.name) for relation in relations), *without]
        replaced = [
            Relation(schema, name, found.oid) for schema, name in names if (found := find_relation(connection, schema + PREVIOUS, name))
        ]
    _check_identity(connection, replaced, PREVIOUS)
    # Moved away first: two relations cannot have the same name in one schema.
    old_versions.clear(connection, [schema + NEXT for schema in schemas])
    for schema in sorted({relation.schema for relation in replaced}):
        _create_schema(connection, schema + NEXT)
    for relation in replaced:
        _move(connection, relation, PREVIOUS, NEXT)
    _move_statistics(connection, replaced, PREVIOUS, NEXT)
    _exchange(connection, leaving=relations, coming=replaced, first=first)
    return list(replaced)


def _exchange(connection: Connection, *, leaving: Sequence[Relation], coming: Sequence[Relation], first: Sequence[int]) -> list[Relation]:
    for schema in sorted({relation.schema for relation in leaving}):
        _create_schema(connection, schema + PREVIOUS)
    # A schema in which nothing was published before.
    for schema in sorted({relation.schema for relation in coming}):
        _create_schema(connection, schema)
    followers = dependents.find(connection, [relation.oid for relation in leaving])
    _lock(connection, [*(relation.oid for relation in leaving), *(follower.oid for follower in followers if follower.is_view)], first)
    for relation in leaving:
        _move(connection, relation, "", PREVIOUS)
    _close_unprotected(connection, leaving)
    _move_statistics(connection, leaving, "", PREVIOUS)
    for relation in coming:
        _make_room_for_indexes(connection, relation)
        _move(connection, relation, NEXT, "")
    _move_statistics(connection, coming, NEXT, "")
    for schema in sorted({relation.schema for relation in (*leaving, *coming)}):
        connection.execute("select dpe.open_schema(%(schema)s), dpe.close_schema(%(schema)s)", {"schema": schema})
    for follower in followers:
        dependents.rebind(connection, follower)
    return list(leaving)


def _check_identity(connection: Connection, relations: Sequence[Relation], suffix: str) -> None:
    for relation in relations:
        found = find_relation(connection, relation.schema + suffix, relation.name)
        if found is None or found.oid != relation.oid:
            where = f"{relation.schema}{suffix}.{relation.name}"
            what = "no longer exists" if found is None else "was rebuilt since"
            raise PublishError(f"{where}: {what}; run `dpe run` to build and publish it")


def _lock(connection: Connection, oids: Sequence[int], first: Sequence[int]) -> None:
    """
    Wait for the readers of relations, and block new ones.

    Locks in the order in which readers do; otherwise each new reader would hold one that we wait for, and wait for one that we hold:
    a view before what it reads, which is older. Among the others, those held the last time come first. The sequences that columns own
    move with their tables, and are locked like them.
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
        # LOCK on a view would also lock what it reads, and does not exist for sequences; a change without effect takes the same lock.
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


def _close_unprotected(connection: Connection, relations: Sequence[Relation]) -> None:
    """
    Close replaced relations that have no protection, because dbt built them before the project used dpe: no policy opens them.

    The others keep theirs.
    """
    rows = connection.execute(
        """
        select relkind::text, nspname, relname
        from pg_class
        inner join pg_namespace on relnamespace = pg_namespace.oid
        where pg_class.oid = any(%s)
            and case
                when relkind in ('r', 'p') then not relrowsecurity or not relforcerowsecurity
                else relkind = 'v' and not exists (
                    select from pg_options_to_table(reloptions)
                    where option_name = 'security_invoker' and option_value::boolean
                )
            end
        """,
        [[relation.oid for relation in relations]],
    ).fetchall()
    for kind, schema, name in rows:
        closed = (
            "alter view {} set (security_invoker = true)"
            if kind == "v"
            else "alter table {} enable row level security, force row level security"
        )
        connection.execute(sql.SQL(closed).format(sql.Identifier(str(schema), str(name))))


def _move_statistics(connection: Connection, relations: Sequence[Relation], source: str, target: str) -> None:
    """Move the extended statistics of relations that were moved, which PostgreSQL leaves where they were."""
    rows = connection.execute(
        """
        select moved.schema_name, stxname
        from unnest(%s::oid[], %s::text[]) as moved (relation_id, schema_name)
        inner join pg_statistic_ext on stxrelid = moved.relation_id
        inner join pg_namespace on stxnamespace = pg_namespace.oid and nspname = moved.schema_name || %s
        """,
        [[relation.oid for relation in relations], [relation.schema for relation in relations], source],
    ).fetchall()
    for schema, name in rows:
        connection.execute(
            sql.SQL("alter statistics {} set schema {}").format(
                sql.Identifier(f"{schema}{source}", str(name)), sql.Identifier(f"{schema}{target}")
            )
        )


def _make_room_for_indexes(connection: Connection, relation: Relation) -> None:
    """
    Rename a relation's indexes and sequences whose names are taken in its new schema.

    PostgreSQL derives their names from the (truncated) name of the table.
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

        select part.relkind::text, nspname, part.relname, dpe.companion_name(part.relname, '_' || part.oid)
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
    """Return the schemas and names of the relations in schemas."""
    return [(stored.schema, stored.name) for stored in old_versions.relations(connection, schemas)]
