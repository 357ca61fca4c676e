-- severity: warning
-- title: A role may create schemas and extensions
-- why: a schema with a name that dpe needs blocks publishing, one named after a role is searched first by it; extensions reach any schema
select
    pg_database.datname::text as subject,
    format(
        'lets %s create schemas and extensions, %s',
        case granted.grantee when 0 then 'every role (PUBLIC)' else pg_get_userbyid(granted.grantee)::text end,
        case
            when
                exists (
                    select
                    from pg_event_trigger
                    where pg_event_trigger.evtname = 'dpe_refuse_to_readers' and pg_event_trigger.evtenabled in ('O', 'A')
                )
                then 'which only the event trigger of dpe refuses'
            else 'in any schema, because the event trigger that would refuse them is missing (RLS069)'
        end
    ) as detail,
    format(
        'revoke create on database %I from %s',
        pg_database.datname,
        case granted.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(granted.grantee)) end
    ) as fix
from pg_database
cross join lateral aclexplode(pg_database.datacl) as granted
where
    pg_database.datname = current_database()
    and granted.privilege_type = 'CREATE'
    and granted.grantee <> pg_database.datdba
    and granted.grantee not in (select privileged.role_id from privileged)
