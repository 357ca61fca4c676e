-- severity: error
-- title: A role that reads masked, and everything
-- why: what it may as a reader takes the mask off
select
    roles.rolname::text as subject,
    'is a masked reader and a reader as well, so it sees what is masked' as detail,
    format('revoke dpe_reader from %I', roles.rolname) as fix
from pg_roles as roles
where
    roles.oid not in (select privileged.role_id from privileged)
    and pg_has_role(roles.oid, 'dpe_masked_reader', 'member')
    and pg_has_role(roles.oid, 'dpe_reader', 'member')
