"""
Objects that depend on swapped relations and stay where they are: views, functions, row types, foreign keys and the like.

They refer to what they read by its oid, and would keep showing the previous version. The pipeline's own are recreated from their
definition, which then names the new version, or refused. Those of other roles are left alone: a reader cannot stop a publication.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg

from dpe_cli.errors import PublishError
from dpe_cli.server import relations as versions
from dpe_cli.server.connection import Connection

# A relation has parts (its columns' sequences, its row type, its rules), on which other objects may depend as on the relation itself.
# A rule, a default or a policy that depends on something belongs to its own table, and so to that table's owner.
_FOUND: LiteralString = """
    with recursive

    parts (class_id, object_id, relation_id) as (

        select 'pg_class'::regclass::oid, oid, oid
        from pg_class
        where oid = any(%(relations)s)
        union
        select pg_depend.classid, pg_depend.objid, parts.relation_id
        from parts
        inner join pg_depend on pg_depend.refclassid = parts.class_id and pg_depend.refobjid = parts.object_id
        where pg_depend.deptype in ('a', 'i', 'P', 'S')

    ),

    links as (

        select distinct
            parts.relation_id,
            parts.class_id = 'pg_type'::regclass as is_by_type,
            pg_depend.classid as class_id,
            pg_depend.objid as object_id,
            pg_depend.objsubid as part
        from parts
        inner join pg_depend on pg_depend.refclassid = parts.class_id and pg_depend.refobjid = parts.object_id
        where pg_depend.deptype = 'n'
            and not exists (
                select
                from parts as own
                where own.class_id = pg_depend.classid
                    and own.object_id = pg_depend.objid
                    and own.relation_id = parts.relation_id
            )

    ),

    held as (

        select
            links.*,
            pg_rewrite.rulename = '_RETURN' as is_of_view,
            pg_constraint.contype = 'f' as is_foreign_key,
            coalesce(
                case when links.class_id = 'pg_class'::regclass then links.object_id end,
                pg_rewrite.ev_class,
                nullif(pg_constraint.conrelid, 0),
                pg_attrdef.adrelid,
                polrelid,
                tgrelid
            ) as holder_id,
            coalesce(
                case when links.class_id = 'pg_type'::regclass then links.object_id end,
                nullif(pg_constraint.contypid, 0),
                (
                    select pg_type.oid
                    from pg_type
                    where pg_type.oid in (castsource, casttarget)
                        and not exists (
                            select
                            from parts
                            where parts.class_id = 'pg_type'::regclass and parts.object_id = pg_type.oid
                        )
                    limit 1
                )
            ) as type_id
        from links
        left join pg_rewrite on links.class_id = 'pg_rewrite'::regclass and links.object_id = pg_rewrite.oid
        left join pg_constraint on links.class_id = 'pg_constraint'::regclass and links.object_id = pg_constraint.oid
        left join pg_attrdef on links.class_id = 'pg_attrdef'::regclass and links.object_id = pg_attrdef.oid
        left join pg_policy on links.class_id = 'pg_policy'::regclass and links.object_id = pg_policy.oid
        left join pg_trigger on links.class_id = 'pg_trigger'::regclass and links.object_id = pg_trigger.oid
        left join pg_cast on links.class_id = 'pg_cast'::regclass and links.object_id = pg_cast.oid

    ),

    found as (

        select
            held.relation_id,
            held.class_id,
            held.object_id,
            held.part,
            held.is_of_view,
            holder.oid as holder_relation_id,
            coalesce(holder.oid, pg_proc.oid, held.object_id) as holder_id,
            case
                when holder.relkind = 'v' and (held.is_of_view or held.class_id = 'pg_class'::regclass) then 'view'
                when pg_proc.oid is not null and not held.is_by_type then 'function'
                else 'other'
            end as kind,
            coalesce(pg_roles.rolname, '')::text as owner,
            coalesce(pg_namespace.nspname, '')::text as schema,
            case
                when held.is_foreign_key then 'refers to'
                when held.is_by_type then 'is bound to the rows of'
                else 'reads'
            end as how
        from held
        left join pg_class as holder on held.holder_id = holder.oid
        left join pg_proc on held.class_id = 'pg_proc'::regclass and held.object_id = pg_proc.oid
        left join pg_type on held.type_id = pg_type.oid
        left join pg_namespace on pg_namespace.oid = coalesce(holder.relnamespace, pronamespace, typnamespace)
        left join pg_roles on pg_roles.oid = coalesce(holder.relowner, proowner, typowner)

    ),
"""
# A login may have made any number of objects, with names of thousands of characters. So only those that are wanted are described.
_DESCRIBED: LiteralString = """
    select
        wanted.relation_id::bigint,
        format('%%I.%%I', read_schema.nspname, read.relname),
        wanted.holder_id::bigint,
        wanted.kind,
        left(
            coalesce(
                case
                    when wanted.is_of_view then pg_describe_object('pg_class'::regclass, wanted.holder_relation_id, 0)
                    else pg_describe_object(wanted.class_id, wanted.object_id, wanted.part)
                end,
                'something'
            ),
            %(most_characters)s
        ),
        wanted.owner,
        wanted.schema,
        wanted.how,
        wanted.count
    from wanted
    inner join pg_class as read on wanted.relation_id = read.oid
    inner join pg_namespace as read_schema on read.relnamespace = read_schema.oid
    order by 5, 2
"""
_OWN: LiteralString = (
    _FOUND
    + """
    wanted as (

        select
            *,
            1 as count
        from found
        where owner = current_user and holder_id <> all(%(relations)s) and schema !~ '^pg_temp_'

    )
"""
    + _DESCRIBED
)
_FIRST: LiteralString = (
    _FOUND  # noqa: S608 constants
    + """
    numbered as (

        select
            *,
            count(*) over (partition by relation_id, owner, schema) as count,
            row_number() over (partition by relation_id, owner, schema order by object_id, class_id, part) as place
        from found
        where holder_id <> all(%(relations)s) and schema <> all(%(without_schemas)s)

    ),

    wanted as (

        select *
        from numbered
        where place <= %(most)s

    )
"""
    + _DESCRIBED
)
_AMONG: LiteralString = (
    _FOUND  # noqa: S608 constants
    + """
    pairs as (

        select distinct
            relation_id,
            case when holder_id = any(%(relations)s) then holder_id end as holder_id
        from found

    )

    select
        relation_id::bigint,
        holder_id::bigint
    from pairs
"""
)
# The part of a view's definition after its name: it may be moved before it is recreated.
_VIEW = """
    select format(
        '%%s as %%s',
        (
            select 'with (' || string_agg(format('%%I = %%L', option_name, option_value), ', ') || ')'
            from pg_options_to_table(reloptions)
        ),
        pg_get_viewdef(oid)
    )
    from pg_class
    where oid = %s
"""
_FUNCTION = "select pg_get_functiondef(%s)"
_TEMPORARY = "pg_temp_"
# How much of the description of another role's object is shown.
_MOST_CHARACTERS = 200
_MOST_CHARACTERS_OF_OWN = 10_000


@dataclass(frozen=True)
class Dependent:
    """
    An object that depends on a relation: a view, a function with an SQL body, or another kind.

    `holder_id` is the oid of the view or function, or of the table that it is a part of; `what` describes it, `how` its dependency.
    `count` is how many objects of its owner in its schema depend on the relation; only the first of them may be known.
    """

    relation_id: int
    relation: str
    holder_id: int
    kind: str
    what: str
    owner: str
    schema: str
    how: str
    count: int

    @property
    def session_number(self) -> int | None:
        """The number of the session whose temporary object it is; None if it is not temporary."""
        return int(self.schema.removeprefix(_TEMPORARY)) if self.schema.startswith(_TEMPORARY) else None


@dataclass(frozen=True)
class Follower:
    """A view or function of the pipeline that has to read another version. `definition` is its statement, or the end of it."""

    oid: int
    is_view: bool
    what: str
    reads: str
    definition: str


def first(connection: Connection, relations: Collection[int], *, without_schemas: Collection[str], most: int) -> list[Dependent]:
    """
    Return the first objects of each owner and schema that depend on each of the relations (oids).

    Omits the relations themselves, and objects in `without_schemas`.
    """
    parameters = {"relations": list(relations), "without_schemas": list(without_schemas), "most": most, "most_characters": _MOST_CHARACTERS}
    return [Dependent(*row) for row in connection.execute(_FIRST, parameters)]


def among(connection: Connection, relations: Collection[int]) -> list[tuple[int, int | None]]:
    """Return which relations (oids) have a dependent, each with the dependent if it is one of them, otherwise None."""
    return [(relation_id, holder_id) for relation_id, holder_id in connection.execute(_AMONG, {"relations": list(relations)})]


def find(connection: Connection, leaving: Sequence[int]) -> list[Follower]:
    """
    Return the objects that read replaced relations and can read the new ones instead; the search_path is empty from here on.

    Omits other roles' objects, temporary objects, and earlier versions that cannot be restored.

    Raises:
        PublishError: one of the pipeline's objects depends on a relation and cannot follow.
    """
    # Names without a schema would be resolved in another session's search_path.
    connection.execute("select set_config('search_path', 'pg_catalog, pg_temp', true)")
    followers: dict[int, Follower] = {}
    for row in connection.execute(_OWN, {"relations": leaving, "most_characters": _MOST_CHARACTERS_OF_OWN}):
        dependent = Dependent(*row)
        if versions.is_old(dependent.schema):
            continue
        if dependent.how == "refers to":
            raise PublishError(f"{dependent.what}: refers to {dependent.relation}; publish both tables together, or drop the foreign key")
        if dependent.kind == "other":
            raise PublishError(f"{dependent.what}: {dependent.how} {dependent.relation} and cannot be switched to its new version; drop it")
        [(definition,)] = connection.execute(_VIEW if dependent.kind == "view" else _FUNCTION, [dependent.holder_id]).fetchall()
        followers[dependent.holder_id] = Follower(
            dependent.holder_id, dependent.kind == "view", dependent.what, dependent.relation, str(definition)
        )
    return list(followers.values())


def rebind(connection: Connection, follower: Follower) -> None:
    """
    Make an object read the relations that its definition names now; its grants and comments stay.

    Raises:
        PublishError: the new version does not fit.
    """
    statement = follower.definition
    if follower.is_view:
        [(made,)] = connection.execute(
            "select format('create or replace view %%s %%s', %s::regclass, %s::text)", [follower.oid, statement]
        ).fetchall()
        statement = str(made)
    try:
        with connection.transaction():
            connection.execute(statement.encode())
    except psycopg.ProgrammingError as error:
        raise PublishError(
            f"{follower.what}: reads {follower.reads} and does not fit its new version ({error.diag.message_primary}); "
            "select it too, change it or drop it"
        ) from error
