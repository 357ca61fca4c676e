"""
Exchange versions of relations for readers: what was built beside the published schemas takes the place of what is there.

All of it happens in the caller's transaction, as dpe_transformer. Indexes, policies, grants and comments go with a relation
to its new schema, and views follow what they read by its identity (PostgreSQL documentation, "ALTER TABLE", SET SCHEMA). So
a view that stays where it is has to be told of the new version.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dpe_cli.errors import PublishError

Connection = psycopg.Connection[tuple[object, ...]]

NEXT = "__next"
PREVIOUS = "__previous"
# Where dbt stores the failures of tests (dbt_project.yml).
FAILURES = "quality"

_KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized view"}


@dataclass(frozen=True)
class Relation:
    """A relation, by the schema and name that readers know it by, and its oid."""

    schema: str
    name: str
    oid: int

    def __str__(self) -> str:
        """Name it."""
        return f"{self.schema}.{self.name}"


class HeldError(Exception):
    """A session holds the relation with this oid."""

    def __init__(self, oid: int) -> None:
        super().__init__(oid)
        self.oid = oid


@dataclass(frozen=True)
class _Dependent:
    """A view that reads a relation and is not exchanged with it."""

    oid: int
    schema: str
    name: str
    kind: str
    owner: str
    is_ours: bool
    definition: str
    options: tuple[str, ...]
    reads: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def clear(connection: Connection, schemas: Iterable[str]) -> None:
    """
    Drop the relations in schemas, and with them stored failures that are views of them: the next test makes them anew.

    Raises:
        PublishError: something elsewhere depends on one of them.
    """
    schemas = list(schemas)
    for name in _stored_failures(connection, schemas):
        connection.execute(sql.SQL("drop view if exists {}").format(sql.Identifier(FAILURES, name)))
    for kinds in ("v", "m", "rp"):
        found = [one for one in _relations(connection, schemas) if one[2] in kinds]
        if not found:
            continue
        names = sql.SQL(", ").join(sql.Identifier(schema, name) for schema, name, _ in found)
        try:
            # A savepoint, so that the caller may go on in words.
            with connection.transaction():
                connection.execute(sql.SQL("drop {} {}").format(sql.SQL(_KINDS[kinds[0]]), names))
        except psycopg.errors.DependentObjectsStillExist as error:
            detail = (error.diag.message_detail or "").splitlines()
            raise PublishError(
                f"{found[0][0]}: cannot be emptied, {detail[0] if detail else error}; drop that, or let it read what is published"
            ) from error


def find(connection: Connection, schema: str, name: str) -> Relation | None:
    """Return the relation of this name in a schema, if it is there."""
    row = connection.execute(
        "select pg_class.oid from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid where nspname = %s and relname = %s",
        [schema, name],
    ).fetchone()
    return None if row is None else Relation(schema, name, int(str(row[0])))


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

    `schemas` are all that the project publishes in: what they kept of earlier versions goes. `without` are schemas and names
    of those that belong to the present version only. `first` are the oids of those to lock first.

    Raises:
        PublishError: a relation is not what was built, or something reads the present version and cannot follow.
        HeldError: a session holds one of those to exchange for longer than lock_timeout.
        psycopg.errors.LockNotAvailable: or one of an earlier version.
    """
    _check_identity(connection, relations, NEXT)
    clear(connection, [schema + PREVIOUS for schema in schemas])
    names = [*((one.schema, one.name) for one in relations), *without]
    present = [found for schema, name in names if (found := find(connection, schema, name))]
    return _exchange(connection, leaving=present, coming=relations, first=first)


def take_back(
    connection: Connection,
    relations: Sequence[Relation],
    schemas: Sequence[str],
    *,
    without: Sequence[tuple[str, str]] = (),
    first: Sequence[int] = (),
) -> list[Relation]:
    """
    Put what relations replaced back in their place, and keep them in its; return what came back.

    `without` and `first` are as in publish().

    Raises:
        PublishError: a relation was built anew since, or something reads it and cannot go back.
        HeldError: a session holds one of those to exchange for longer than lock_timeout.
        psycopg.errors.LockNotAvailable: or one of an earlier version.
    """
    _check_identity(connection, relations, "")
    names = [*((one.schema, one.name) for one in relations), *without]
    replaced = [Relation(schema, name, found.oid) for schema, name in names if (found := find(connection, schema + PREVIOUS, name))]
    # Out of the way first: both cannot have one name in one schema.
    clear(connection, [schema + NEXT for schema in schemas])
    for schema in sorted({one.schema for one in replaced}):
        _create_schema(connection, schema + NEXT)
    for one in replaced:
        _move(connection, one, PREVIOUS, NEXT)
    _exchange(connection, leaving=relations, coming=replaced, first=first)
    return replaced


def _exchange(connection: Connection, *, leaving: Sequence[Relation], coming: Sequence[Relation], first: Sequence[int]) -> list[Relation]:
    for schema in sorted({one.schema for one in leaving}):
        _create_schema(connection, schema + PREVIOUS)
    # One that nothing was published in before.
    for schema in sorted({one.schema for one in coming}):
        _create_schema(connection, schema)
    dependents = _dependents(connection, leaving)
    _lock(connection, [*(one.oid for one in leaving), *(one.oid for one in dependents)], first)
    for one in leaving:
        _move(connection, one, "", PREVIOUS)
    for one in coming:
        _move(connection, one, NEXT, "")
    for dependent in dependents:
        _rebind(connection, dependent)
    return list(leaving)


def _check_identity(connection: Connection, relations: Sequence[Relation], suffix: str) -> None:
    for one in relations:
        found = find(connection, one.schema + suffix, one.name)
        if found is None or found.oid != one.oid:
            where = f"{one.schema}{suffix}.{one.name}"
            what = "is not there any more" if found is None else "was built anew since"
            raise PublishError(f"{where}: {what}; run `dpe run` to build and publish it")


def _lock(connection: Connection, oids: Sequence[int], first: Sequence[int]) -> None:
    """
    Wait for the readers of relations, and keep new ones waiting.

    In the order in which readers lock them, or each new reader would hold one that we wait for and wait for one that we
    hold: a view before what it reads, which is older. For the rest, what was held the last time comes first.
    """
    rows = connection.execute(
        """
        select pg_class.oid, relkind::text, nspname, relname, pg_get_userbyid(relowner)::text
        from pg_class
        inner join pg_namespace on relnamespace = pg_namespace.oid
        where pg_class.oid = any(%s)
        order by
            array_position(%s, pg_class.oid::bigint),
            relkind <> 'v',
            pg_class.oid::bigint * (case relkind when 'v' then -1 else 1 end)
        """,
        [list(oids), list(first)],
    ).fetchall()
    for oid, kind, schema, name, owner in rows:
        relation = sql.Identifier(str(schema), str(name))
        # LOCK of a view would lock what it reads as well; to change nothing of it takes the same lock.
        lock = "alter view {} owner to {}" if kind == "v" else "lock table {} in access exclusive mode"
        try:
            connection.execute(sql.SQL(lock).format(relation, sql.Identifier(str(owner))))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            raise HeldError(int(str(oid))) from error


def _move(connection: Connection, relation: Relation, source: str, target: str) -> None:
    # ALTER TABLE moves views as well.
    connection.execute(
        sql.SQL("alter table {} set schema {}").format(
            sql.Identifier(relation.schema + source, relation.name), sql.Identifier(relation.schema + target)
        )
    )


def _create_schema(connection: Connection, schema: str) -> None:
    row = connection.execute("select to_regnamespace(%s)", [sql.Identifier(schema).as_string(connection)]).fetchone()
    if row == (None,):
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))


def _relations(connection: Connection, schemas: Iterable[str]) -> list[tuple[str, str, str]]:
    rows = connection.execute(
        """
        select nspname, relname, relkind::text
        from pg_class
        inner join pg_namespace on relnamespace = pg_namespace.oid
        where nspname = any(%s) and relkind in ('r', 'p', 'v', 'm') and not relispartition
        order by nspname, relname
        """,
        [list(schemas)],
    ).fetchall()
    return [(str(schema), str(name), str(kind)) for schema, name, kind in rows]


def _stored_failures(connection: Connection, schemas: Sequence[str]) -> list[str]:
    """Return the views of stored failures that read something in schemas."""
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
            and pg_has_role(reader.relowner, 'usage')
        """,
        [schemas, FAILURES],
    ).fetchall()
    return [str(name) for (name,) in rows]


def _dependents(connection: Connection, relations: Sequence[Relation]) -> list[_Dependent]:
    """
    Return the views that read relations directly and stay where they are.

    Raises:
        PublishError: something depends on a relation and cannot be made to read another.
    """
    oids = [one.oid for one in relations]
    # Names without their schema would be looked for in another session's search path.
    connection.execute("select set_config('search_path', '', true)")
    rows = connection.execute(
        """
        select distinct
            reader.oid,
            nspname,
            reader.relname,
            reader.relkind::text,
            pg_get_userbyid(reader.relowner)::text,
            pg_has_role(reader.relowner, 'usage'),
            pg_get_viewdef(reader.oid),
            coalesce(reader.reloptions, '{}')::text[],
            pg_depend.refobjid::regclass::text
        from pg_depend
        inner join pg_rewrite on pg_depend.classid = 'pg_rewrite'::regclass and pg_depend.objid = pg_rewrite.oid
        inner join pg_class as reader on pg_rewrite.ev_class = reader.oid
        inner join pg_namespace on reader.relnamespace = pg_namespace.oid
        where pg_depend.refclassid = 'pg_class'::regclass
            and pg_depend.refobjid = any(%s)
            and reader.oid <> all(%s)
        order by nspname, reader.relname
        """,
        [oids, oids],
    ).fetchall()
    found = [
        _Dependent(int(str(oid)), str(schema), str(name), str(kind), str(owner), bool(ours), str(definition), tuple(options), str(reads))  # type: ignore[arg-type]
        for oid, schema, name, kind, owner, ours, definition, options, reads in rows
    ]
    for one in found:
        if one.kind != "v":
            raise PublishError(f"{one}: reads {one.reads} and is no view, so it cannot be made to read the new version; drop it")
        if not one.is_ours:
            raise PublishError(
                f"{one}: reads {one.reads} and belongs to {one.owner}, so it cannot be made to read the new version; "
                f"run `alter view {one} owner to dpe_transformer`, or drop it"
            )
    _refuse_foreign_keys(connection, oids)
    return list({str(one): one for one in found}.values())


def _refuse_foreign_keys(connection: Connection, oids: Sequence[int]) -> None:
    row = connection.execute(
        """
        select conname, conrelid::regclass::text, confrelid::regclass::text
        from pg_constraint
        where contype = 'f' and confrelid = any(%s) and conrelid <> all(%s)
        order by 2, 1
        """,
        [list(oids), list(oids)],
    ).fetchone()
    if row is not None:
        name, referencing, referenced = row
        raise PublishError(f"{referencing}: its foreign key {name} refers to {referenced}; publish both together, or drop the foreign key")


def _rebind(connection: Connection, view: _Dependent) -> None:
    """Make a view read what has the names of its definition now; its grants and comments stay."""
    options = [
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, _, value in (one.partition("=") for one in view.options)
    ]
    with_options = sql.SQL("with ({})").format(sql.SQL(", ").join(options)) if options else sql.SQL("")
    statement = sql.SQL("create or replace view {} {} as {}").format(
        sql.Identifier(view.schema, view.name),
        with_options,
        sql.SQL(view.definition),
    )
    try:
        with connection.transaction():
            connection.execute(statement)
    except psycopg.ProgrammingError as error:
        raise PublishError(
            f"{view}: reads {view.reads} and does not fit its new version ({error.diag.message_primary}); "
            "select it too, change it or drop it"
        ) from error
