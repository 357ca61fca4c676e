"""
Objects that depend on swapped relations and stay where they are: views, functions, row types, foreign keys and the like.

They refer to what they read by its oid, and would keep showing the previous version. The pipeline's own are recreated from their
definition, which then names the new version, or refused. Those of other roles are left alone: a reader cannot stop a publication.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import psycopg

from dpe_cli.errors import PublishError
from dpe_cli.server import relations as versions
from dpe_cli.server.connection import Connection

# A relation has parts (its columns' sequences, its row type, its rules), on which other objects may depend as on the relation itself.
# A rule, a default or a policy that depends on something belongs to its own table, and so to that table's owner.
_DEPENDENTS = """
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

    )

    select
        held.relation_id::bigint,
        format('%%I.%%I', read_schema.nspname, read.relname),
        coalesce(holder.oid, pg_proc.oid, held.object_id)::bigint,
        case
            when holder.relkind = 'v' and (held.is_of_view or held.class_id = 'pg_class'::regclass) then 'view'
            when pg_proc.oid is not null and not held.is_by_type then 'function'
            else 'other'
        end,
        coalesce(
            case
                when held.is_of_view then pg_describe_object('pg_class'::regclass, holder.oid, 0)
                else pg_describe_object(held.class_id, held.object_id, held.part)
            end,
            'something'
        ),
        coalesce(pg_roles.rolname, '')::text,
        coalesce(pg_roles.rolname = current_user, false),
        coalesce(pg_namespace.nspname, '')::text,
        case
            when held.is_foreign_key then 'refers to'
            when held.is_by_type then 'is bound to the rows of'
            else 'reads'
        end
    from held
    inner join pg_class as read on held.relation_id = read.oid
    inner join pg_namespace as read_schema on read.relnamespace = read_schema.oid
    left join pg_class as holder on held.holder_id = holder.oid
    left join pg_proc on held.class_id = 'pg_proc'::regclass and held.object_id = pg_proc.oid
    left join pg_type on held.type_id = pg_type.oid
    left join pg_namespace on pg_namespace.oid = coalesce(holder.relnamespace, pronamespace, typnamespace)
    left join pg_roles on pg_roles.oid = coalesce(holder.relowner, proowner, typowner)
    order by 5, 2
"""
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


@dataclass(frozen=True)
class Dependent:
    """
    An object that depends on a relation: a view, a function with an SQL body, or another kind.

    `holder_id` is the oid of the view or function, or of the table that it is a part of; `what` describes it, `how` its dependency.
    """

    relation_id: int
    relation: str
    holder_id: int
    kind: str
    what: str
    owner: str
    is_ours: bool
    schema: str
    how: str

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


def of(connection: Connection, relations: Collection[int]) -> list[Dependent]:
    """Return what depends on each of the relations (oids), including the other relations."""
    return [Dependent(*row) for row in connection.execute(_DEPENDENTS, {"relations": list(relations)})]


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
    for dependent in of(connection, leaving):
        if (
            dependent.holder_id in leaving
            or not dependent.is_ours
            or dependent.session_number is not None
            or versions.is_old(dependent.schema)
        ):
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
