-- severity: warning
-- title: An event trigger
-- why: it runs with the rights of each role that creates, alters or drops something, the pipeline's included
select
    pg_event_trigger.evtname::text as subject,
    format(
        'runs %s at each %s, also with the rights of the pipeline', pg_event_trigger.evtfoid::regprocedure, pg_event_trigger.evtevent
    ) as detail,
    format('drop event trigger %I, if it is not yours', pg_event_trigger.evtname) as fix
from pg_event_trigger
where
    pg_event_trigger.evtenabled <> 'D'
    and pg_event_trigger.evtfoid is distinct from to_regprocedure('dpe.refuse_to_readers()')
    and ('pg_event_trigger'::regclass::oid, pg_event_trigger.oid) not in (
        select
            extension_members.class_id,
            extension_members.object_id
        from extension_members
    )
