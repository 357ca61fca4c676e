-- severity: warning
-- title: Access of a role that was dropped
-- why: a dump names the role by a number, which may be another role's where it is restored
select
    'dpe.tenant_access' as subject,
    format('has entries of a role that was dropped (%s): %s', role_name, count(*)) as detail,
    'run `dpe access list`, which removes what dropped roles were granted' as fix
from dpe.tenant_access
where role_name not in (select pg_roles.oid from pg_roles)
group by role_name
