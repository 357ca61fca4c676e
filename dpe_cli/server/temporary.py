"""Temporary schemas: which session has one, and whether it is so full that no later session can use it."""

from __future__ import annotations

from datetime import datetime

from dpe_cli.server.connection import Connection

# A session that cannot drop its temporary objects at its end leaves them to the next one with its number, which cannot drop them either:
# PostgreSQL locks all of them at once, each with its types and rules, and has room for 64 locks per connection.
_NUMBER = """
    select split_part(virtualtransaction, '/', 1)::integer
    from pg_locks
    where pid = pg_backend_pid() and locktype = 'virtualxid'
"""
_FULL = """
    select substr(nspname, length('pg_temp_') + 1)::integer
    from pg_namespace
    cross join lateral (
        select count(*) as count
        from (
            select
            from pg_depend
            where refclassid = 'pg_namespace'::regclass and refobjid = pg_namespace.oid
            limit 501
        ) as first_ones
    ) as objects
    where nspname ~ '^pg_temp_[0-9]+$' and objects.count > 500
"""
# Each in a transaction of its own.
_DROP_EACH = (
    "its session is gone; an administrator has to run this in psql: `select format('drop %s if exists %s cascade', "
    "regexp_replace(type, '^composite | object$', ''), identity) from pg_depend cross join lateral pg_identify_object(classid, objid, 0) "
    "where refclassid = 'pg_namespace'::regclass and refobjid = '{schema}'::regnamespace \\gexec`"
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


def full(connection: Connection) -> set[int]:
    """Return the numbers with so many temporary objects that a new session, if it gets such a number, cannot make its own."""
    return {int(str(found)) for (found,) in connection.execute(_FULL)}


def is_full(connection: Connection) -> bool:
    """Return whether an earlier session left so many temporary objects that this new one cannot make its own."""
    found = full(connection)
    return bool(found) and number(connection) in found


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
