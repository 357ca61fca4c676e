-- severity: warning
-- title: A role may create schemas
-- why: a schema with a name that dpe needs blocks publishing, and one named after a role is searched first by that role
select
    pg_database.datname::text as subject,
    format(
        'lets %s create schemas', case granted.grantee when 0 then 'every role (PUBLIC)' else pg_get_userbyid(granted.grantee)::text end
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
