-- severity: warning
-- title: Readers may harm others
-- why: one reader can remove its group from every policy, or block all sessions by waiting for an exclusive lock
-- noqa: disable=ST05, AM09
select
    wanted.name as subject,
    'is missing or was changed: nothing stops a reader from running DROP OWNED BY dpe_reader, or from blocking others' as detail,
    'run `dpe bootstrap` as a superuser: only superusers can create event triggers' as fix
from
    (
        values
        ('dpe_refuse_to_readers', 'ddl_command_start'),
        ('dpe_refuse_partitions_to_readers', 'ddl_command_end')
    ) as wanted (name, event)
where
    not exists (
        select
        from pg_event_trigger
        inner join pg_proc on pg_event_trigger.evtfoid = pg_proc.oid
        inner join pg_roles on pg_proc.proowner = pg_roles.oid
        where
            wanted.name = pg_event_trigger.evtname
            and pg_event_trigger.evtenabled in ('O', 'A')
            and wanted.event = pg_event_trigger.evtevent
            and pg_event_trigger.evttags is null
            and pg_event_trigger.evtfoid = to_regprocedure('dpe.refuse_to_readers()')
            and pg_roles.rolsuper
    )
union all
-- The event trigger does not count these before a statement. They are from before it, or an administrator made them.
select
    pg_class.oid::regclass::text as subject,
    format('is partitioned and belongs to %s: a reader can block others with it', pg_get_userbyid(pg_class.relowner)) as detail,
    format('drop table %s', pg_class.oid::regclass) as fix
from pg_class
inner join dpe_roles on pg_class.relowner = dpe_roles.role_id and dpe_roles.is_of_readers
where pg_class.relkind = 'p'
union all
-- From 16 on, the numbers of sessions are known; before, only while they have a transaction. Each object needs a lock, and so does each
-- that depends on it. As in dpe_cli/server/temporary.py; "offset 0" has PostgreSQL look these up only until the limit is reached.
select
    pg_namespace.nspname::text as subject,
    'holds temporary objects with so many types, rules and constraints that PostgreSQL may be unable to drop them at once, and their '
    || 'session has ended or does nothing: no other session with its number can make temporary objects, so that runs fail now and then'
        as detail,
    format(
        'unless its session still uses them, run this in psql as an administrator, again until it drops nothing more: %s \gexec',
        format(
            'with recursive found as ('
            || 'select classid, objid from pg_depend where refclassid = ''pg_namespace''::regclass and refobjid = %L::regnamespace union '
            || 'select next.classid, next.objid from found join pg_depend as next '
            || 'on (next.refclassid, next.refobjid) = (found.classid, found.objid)) '
            || 'select case type '
            || 'when ''domain constraint'' then format(''alter domain %%s drop constraint %%I'', names[1], arguments[1]) '
            || 'when ''table constraint'' then format(''alter table %%I.%%I drop constraint %%I cascade'', names[1], names[2], names[3]) '
            || 'when ''default value'' then format(''alter table %%I.%%I alter %%I drop default'', names[1], names[2], names[3]) '
            || 'else format(''drop %%s if exists %%s cascade'', regexp_replace(type, ''^composite | object$'', ''''), identity) end '
            || 'from found, pg_identify_object(classid, objid, 0), '
            || 'pg_identify_object_as_address(classid, objid, 0) as parts (kind, names, arguments) '
            || 'where not exists (select from pg_depend as own '
            || 'where (own.classid, own.objid, own.deptype) = (found.classid, found.objid, ''i'')) '
            || 'order by objid desc',
            pg_namespace.nspname
        )
    ) as fix
from pg_namespace
cross join
    lateral (
        select current_setting('max_locks_per_transaction')::integer * current_setting('max_connections')::integer / 4 as count
    ) as most
cross join
    lateral (
        select count(*) - 1 as count
        from (
            with recursive

            found (class_id, object_id) as (

                select
                    'pg_namespace'::regclass::oid,
                    pg_namespace.oid
                union
                select
                    dependents.classid,
                    dependents.objid
                from found
                cross join
                    lateral (
                        select
                            pg_depend.classid,
                            pg_depend.objid
                        from pg_depend
                        where pg_depend.refclassid = found.class_id and pg_depend.refobjid = found.object_id
                        offset 0
                    ) as dependents

            )

            select
            from found
            limit (most.count + 2)
        ) as first_ones
    ) as objects
where
    pg_namespace.nspname ~ '^pg_temp_[0-9]+$'
    and objects.count > most.count
    and not exists (
        select
        from pg_stat_get_backend_idset() as sessions (number)
        where
            current_setting('server_version_num')::integer >= 160000
            and pg_namespace.nspname = 'pg_temp_' || sessions.number
            and pg_stat_get_backend_dbid(sessions.number) = (
                select pg_database.oid from pg_database
                where pg_database.datname = current_database()
            )
    )
    and not exists (
        select
        from pg_locks
        where pg_namespace.nspname = 'pg_temp_' || split_part(pg_locks.virtualtransaction, '/', 1)
    )
