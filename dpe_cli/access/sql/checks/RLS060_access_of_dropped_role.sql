-- severity: warning
-- title: Access of a dropped role
-- why: a dump contains the role's oid, which may belong to another role where it is restored
select
    'dpe.tenant_access' as subject,
    format('has entries of a role that was dropped (%s): %s', role_name, count(*)) as detail,
    'run `dpe access list`, which removes the entries of dropped roles' as fix
from dpe.tenant_access
where role_name not in (select pg_roles.oid from pg_roles)
group by role_name
