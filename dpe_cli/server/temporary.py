"""Temporary schemas: which session has one, and whether an earlier session left so much in it that no later one can use it."""

from __future__ import annotations

from datetime import datetime

import psycopg

from dpe_cli.server.connection import Connection

# What a session could not drop at its end stays in its temporary schema. The next session with its number drops it when it first makes a
# temporary object, and cannot make any if that fails: PostgreSQL locks all of it at once, each object with what depends on it (types,
# rules, constraints, defaults), and has room for max_locks_per_transaction locks per connection; and another session may hold some of it.
_NUMBER = """
    select split_part(virtualtransaction, '/', 1)::integer
    from pg_locks
    where pid = pg_backend_pid() and locktype = 'virtualxid'
"""
# Without those in use, which no new session gets. Before 16, the numbers of sessions are not known.
_LEFT_NUMBERS = """
    select substr(nspname, length('pg_temp_') + 1)::integer as number
    from pg_namespace
    where nspname ~ '^pg_temp_[0-9]+$'
        and exists (
            select
            from pg_depend
            where refclassid = 'pg_namespace'::regclass and refobjid = pg_namespace.oid
        )
        and not exists (
            select
            from pg_stat_get_backend_idset() as sessions (number)
            where current_setting('server_version_num')::integer >= 160000 and nspname = 'pg_temp_' || sessions.number
        )
"""
# How much an earlier session left, and how much of it dpe tries to drop: trying takes these locks from all others for a moment. As in
# RLS069. "offset 0" has PostgreSQL look up what depends on an object only until the limit is reached.
_LEFT = """
    with recursive

    most (count) as (

        select current_setting('max_locks_per_transaction')::integer * current_setting('max_connections')::integer / 4

    ),

    found (class_id, object_id) as (

        select 'pg_namespace'::regclass::oid, oid
        from pg_namespace
        where nspname = (
            select 'pg_temp_' || split_part(virtualtransaction, '/', 1)
            from pg_locks
            where pid = pg_backend_pid() and locktype = 'virtualxid'
        )
        union
        select dependents.classid, dependents.objid
        from found
        cross join lateral (
            select classid, objid
            from pg_depend
            where refclassid = found.class_id and refobjid = found.object_id
            offset 0
        ) as dependents

    ),

    first_ones as (

        select
        from found
        limit (select count + 2 from most)

    )

    select (select count(*) - 1 from first_ones), most.count
    from most
"""
_TRY = """
    set transaction read write;
    set local lock_timeout = '200ms';
    create temporary table dpe_try ();
    drop table pg_temp.dpe_try
"""
# Each in a transaction of its own: what was made last first, because the rest depends on nothing of it. As in RLS069.
_DROP_EACH = (
    "its session is gone; an administrator has to run this in psql, again until it drops nothing more: `with recursive found as ("
    "select classid, objid from pg_depend where refclassid = 'pg_namespace'::regclass and refobjid = '{schema}'::regnamespace union "
    "select next.classid, next.objid from found join pg_depend as next on (next.refclassid, next.refobjid) = (found.classid, found.objid)) "
    "select case type "
    "when 'domain constraint' then format('alter domain %s drop constraint %I', names[1], arguments[1]) "
    "when 'table constraint' then format('alter table %I.%I drop constraint %I cascade', names[1], names[2], names[3]) "
    "when 'default value' then format('alter table %I.%I alter %I drop default', names[1], names[2], names[3]) "
    "else format('drop %s if exists %s cascade', regexp_replace(type, '^composite | object$', ''), identity) end "
    "from found, pg_identify_object(classid, objid, 0), pg_identify_object_as_address(classid, objid, 0) as parts (kind, names, arguments) "
    "where not exists (select from pg_depend as own where (own.classid, own.objid, own.deptype) = (found.classid, found.objid, 'i')) "
    "order by objid desc \\gexec`"
)
# Before 16, a session's number shows only in its open transaction; without one it may be any session of that role.
_OF_TEMPORARY_SCHEMA = """
    with

    found as (

        select pg_stat_get_backend_pid(number) as pid
        from pg_stat_get_backend_idset() as number
        where number = %(number)s and current_setting('server_version_num')::integer >= 160000
        union
        select pid
        from pg_locks
        where virtualtransaction like %(number)s || '/%%' and current_setting('server_version_num')::integer < 160000

    ),

    possible as (

        select pid
        from pg_stat_activity
        where usename = %(owner)s
            and current_setting('server_version_num')::integer < 160000
            and not exists (select from found)
        union all
        select pid from found

    )

    select pid
    from possible
    inner join pg_stat_activity using (pid)
    where datname = current_database()
        and pg_has_role(usesysid, (select oid from pg_roles where rolname = %(owner)s), 'member')
        -- A login that may not see when other sessions began sees null.
        and coalesce(backend_start < %(began_before)s, true)
    order by pid
"""


def number(connection: Connection) -> int:
    """Return the number of a session, which its temporary schema has in its name."""
    [(found,)] = connection.execute(_NUMBER).fetchall()
    return int(str(found))


def left_numbers(connection: Connection) -> set[int]:
    """Return the numbers of sessions that left temporary objects, as far as no session has such a number now."""
    return {int(str(found)) for (found,) in connection.execute(_LEFT_NUMBERS)}


def is_usable(connection: Connection) -> bool:
    """
    Return whether a new session can make temporary objects, whatever earlier sessions with its number left.

    What they left is dropped if the session is usable. The connection is in autocommit mode; close it if it is not usable.
    """
    [(left, most)] = connection.execute(_LEFT).fetchall()
    if not 0 < int(str(left)) <= int(str(most)):
        return int(str(left)) <= 0
    try:
        with connection.transaction():
            connection.execute(_TRY)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
        # No other number would help.
        return True
    except psycopg.Error:
        # The objects need more locks than are left, depend on each other too deeply, or another session holds one of them.
        return False
    return True


def remedy(schema: str) -> str:
    """Return how to drop what a session left in its temporary schema."""
    return _DROP_EACH.format(schema=schema)


def of_temporary_schema(connection: Connection, number: int, owner: str, *, began_before: datetime | None = None) -> list[int]:
    """
    Return the process of the session that has the temporary schema pg_temp_`number`, in which the role `owner` made something.

    Before PostgreSQL 16, all sessions of that role may be returned. Empty if the session is gone: a crash left its objects, or there were
    too many to drop at its end. Another session may have the schema's number by then: one that cannot act as the owner, or that did not
    begin before the objects were made.
    """
    parameters = {"number": number, "owner": owner, "began_before": began_before}
    return [int(str(pid)) for (pid,) in connection.execute(_OF_TEMPORARY_SCHEMA, parameters)]
