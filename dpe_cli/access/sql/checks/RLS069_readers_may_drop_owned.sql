-- severity: warning
-- title: Readers may harm others
-- why: one reader can remove its group from every policy, or block all sessions by waiting for an exclusive lock
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
-- From 16 on, the numbers of sessions are known; before, only while they have a transaction.
select
    pg_namespace.nspname::text as subject,
    'holds more than 500 temporary objects, whose session has ended or does nothing: no other session with its number can make '
    || 'temporary objects, so that runs fail now and then' as detail,
    format(
        'unless its session still uses them, run this in psql as an administrator: %s \gexec',
        format(
            'select format(''drop %%s if exists %%s cascade'', regexp_replace(type, ''^composite | object$'', ''''), identity) '
            || 'from pg_depend cross join lateral pg_identify_object(classid, objid, 0) '
            || 'where refclassid = ''pg_namespace''::regclass and refobjid = %L::regnamespace',
            pg_namespace.nspname
        )
    ) as fix
from pg_namespace
inner join pg_depend on pg_depend.refclassid = 'pg_namespace'::regclass and pg_namespace.oid = pg_depend.refobjid
where
    pg_namespace.nspname ~ '^pg_temp_[0-9]+$'
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
group by pg_namespace.nspname
having count(*) > 500
