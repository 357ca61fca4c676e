-- severity: error
-- title: A reader may become a role of the pipeline
-- why: in a context of its own it would see all tenants
select distinct
    readers.role_name as subject,
    format('may become %s', pg_get_userbyid(pg_auth_members.roleid)) as detail,
    case
        -- It administers dpe with this membership, and needs no other.
        when roles.rolcreaterole and granted.names is not null then format('revoke %s from %I', granted.names, readers.role_name)
        else format('revoke %I from %I', pg_get_userbyid(pg_auth_members.roleid), pg_get_userbyid(pg_auth_members.member))
    end || '; give administrators a login of their own' as fix
from pg_auth_members
inner join readers on pg_has_role(readers.role_id, pg_auth_members.member, 'member')
inner join pg_roles as roles on readers.role_id = roles.oid
cross join
    lateral (
        select string_agg(distinct quote_ident(pg_get_userbyid(reading.roleid)), ', ') as names
        from pg_auth_members as reading
        where
            reading.member = readers.role_id
            and pg_get_userbyid(reading.roleid) in ('dpe_reader', 'dpe_masked_reader')
            and coalesce((to_jsonb(reading) ->> 'inherit_option')::boolean, true)
    ) as granted
where
    pg_get_userbyid(pg_auth_members.roleid) in ('dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_tenant')
    and pg_get_userbyid(pg_auth_members.member) <> 'dpe_transformer'
    and readers.is_granted_directly
    and readers.role_name not in ('dpe_reader', 'dpe_masked_reader', 'dpe_tenant')
