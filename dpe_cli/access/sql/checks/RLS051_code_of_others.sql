-- severity: error
-- title: A function of another owner runs with the rights of the pipeline
-- why: its owner can change what it does at any moment
with

running as (

    select
        pg_event_trigger.evtname::text as subject,
        'is an event trigger' as what,
        pg_event_trigger.evtfoid as function_id,
        format('drop event trigger %I', pg_event_trigger.evtname) as fix
    from pg_event_trigger
    where pg_event_trigger.evtenabled <> 'D'
    union all
    select
        protected.name as subject,
        format('has the trigger %s', pg_trigger.tgname) as what,
        pg_trigger.tgfoid as function_id,
        format('drop trigger %I on %s', pg_trigger.tgname, protected.name) as fix
    from pg_trigger
    inner join protected on pg_trigger.tgrelid = protected.relation_id
    where not pg_trigger.tgisinternal and pg_trigger.tgenabled <> 'D'

)

select
    running.subject,
    format('%s, whose function %s belongs to %s', running.what, running.function_id::regprocedure, pg_get_userbyid(pg_proc.proowner))
        as detail,
    running.fix
from running
inner join pg_proc on running.function_id = pg_proc.oid
where
    pg_proc.proowner not in (select privileged.role_id from privileged)
    and pg_proc.proowner <> (
        select pg_database.datdba
        from pg_database
        where pg_database.datname = current_database()
    )
