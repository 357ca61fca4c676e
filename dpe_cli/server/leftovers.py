"""What other roles made from dpe's own functions, tables and row types, and what a bootstrap therefore keeps of earlier versions."""

from __future__ import annotations

from typing import LiteralString

from dpe_cli.server.connection import Connection

_MOST_NAMED = 5
# A rule, a default, a policy, a trigger or a constraint belongs to its table. The superuser that PostgreSQL cannot drop is not listed as an
# owner.
_OWNED: LiteralString = """
    with

    used as (

        select
            'pg_proc'::regclass::oid as class_id,
            oid as object_id,
            oid::regprocedure::text as name,
            proname ~ '^former_[0-9]+$' as is_former
        from pg_proc
        where pronamespace = to_regnamespace('dpe')
        union all
        select
            'pg_class'::regclass,
            oid,
            oid::regclass::text,
            relname = 'tenant_access_by_name'
        from pg_class
        where relnamespace in (to_regnamespace('dpe'), to_regnamespace('dpe_locks'))
        union all
        select
            'pg_type'::regclass,
            pg_type.oid,
            pg_class.oid::regclass::text,
            pg_class.relname = 'tenant_access_by_name'
        from pg_type
        inner join pg_class on pg_class.oid = pg_type.typrelid or pg_class.reltype = pg_type.typelem and pg_type.typcategory = 'A'
        where pg_class.relnamespace in (to_regnamespace('dpe'), to_regnamespace('dpe_locks'))

    ),

    holders as (

        select distinct
            used.name,
            used.is_former,
            case when tables.table_id is null then pg_depend.classid else 'pg_class'::regclass end as class_id,
            coalesce(tables.table_id, pg_depend.objid) as object_id
        from used
        inner join pg_depend on used.class_id = pg_depend.refclassid and used.object_id = pg_depend.refobjid
        left join lateral (
            select ev_class as table_id
            from pg_rewrite
            where pg_depend.classid = 'pg_rewrite'::regclass and oid = pg_depend.objid
            union all
            select adrelid from pg_attrdef where pg_depend.classid = 'pg_attrdef'::regclass and oid = pg_depend.objid
            union all
            select polrelid from pg_policy where pg_depend.classid = 'pg_policy'::regclass and oid = pg_depend.objid
            union all
            select tgrelid from pg_trigger where pg_depend.classid = 'pg_trigger'::regclass and oid = pg_depend.objid
            union all
            select nullif(conrelid, 0) from pg_constraint where pg_depend.classid = 'pg_constraint'::regclass and oid = pg_depend.objid
        ) as tables on true
        where pg_depend.deptype = 'n'

    ),

    owned as (

        select
            holders.name,
            holders.is_former,
            left(pg_describe_object(holders.class_id, holders.object_id, 0), 200) as holder,
            coalesce(pg_get_userbyid(pg_shdepend.refobjid), 'a superuser')::text as owner
        from holders
        left join pg_shdepend
            on
                holders.class_id = pg_shdepend.classid
                and holders.object_id = pg_shdepend.objid
                and pg_shdepend.deptype = 'o'
                and pg_shdepend.dbid = (select oid from pg_database where datname = current_database())
        where (holders.class_id, holders.object_id) not in (select used.class_id, used.object_id from used)

    ),

    uses as (

        select
            name,
            is_former,
            holder,
            owner,
            count(*) over (partition by name, owner) as count,
            row_number() over (partition by name, owner order by holder) as place
        from owned
        where owner not in ('dpe_owner', 'dpe_loader', 'dpe_transformer')

    )

"""
# A reader may have made thousands: each row counts those of its owner, and as many are listed as are named elsewhere.
_KEPT: LiteralString = (
    _OWNED
    + """
    select
        name,
        holder,
        owner,
        case when place = %(most)s then count - place else 0 end
    from uses
    where is_former and place <= %(most)s
    order by 1, 2
"""
)
_NAMED: LiteralString = (
    _OWNED
    + """
    select
        name,
        holder,
        owner,
        count(*) over ()
    from uses
    order by strpos(%(message)s, holder) = 0, 1, 2
    limit %(most)s
"""
)


def kept(connection: Connection) -> list[str]:
    """Return the objects of earlier versions that still exist, each with what uses it."""
    found = connection.execute(_KEPT, {"most": _MOST_NAMED})
    return [f"{name}: {holder} of {owner} uses it{f', and so do {more:,} more' if more else ''}" for name, holder, owner, more in found]


def users(connection: Connection, message: str) -> list[str]:
    """Return other roles' objects that use dpe's, each with its owner: first those in the message; the last line counts the rest."""
    uses = connection.execute(_NAMED, {"message": message, "most": _MOST_NAMED}).fetchall()
    found = [f"{holder} of {owner} uses {name}" for name, holder, owner, _ in uses]
    more = int(str(uses[0][3])) - len(uses) if uses else 0
    return [*found, *([f"{more:,} more"] if more else [])]
