-- severity: error
-- title: A reader may become a role of the pipeline
-- why: in a context of its own it would see all tenants
select distinct
    readers.role_name as subject,
    format('may become %s', pg_get_userbyid(pg_auth_members.roleid)) as detail,
    format('revoke %I from %I', pg_get_userbyid(pg_auth_members.roleid), pg_get_userbyid(pg_auth_members.member))
    || '; give administrators a login of their own' as fix
from pg_auth_members
inner join readers on pg_has_role(readers.role_id, pg_auth_members.member, 'member')
where
    pg_get_userbyid(pg_auth_members.roleid) in ('dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_tenant')
    and pg_get_userbyid(pg_auth_members.member) <> 'dpe_transformer'
    and readers.is_granted_directly
    and readers.role_name not in ('dpe_reader', 'dpe_masked_reader', 'dpe_tenant')
