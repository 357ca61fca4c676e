-- severity: error
-- title: A role that no policy binds
-- why: superusers and roles with BYPASSRLS see all rows of all tenants
select
    roles.rolname as subject,
    case when roles.rolsuper then 'is a superuser' else 'has BYPASSRLS' end as detail,
    format('alter role %I nosuperuser nobypassrls', roles.rolname) as fix
from pg_roles as roles
where
    (roles.rolsuper or roles.rolbypassrls)
    and (
        roles.rolname in ('dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_reader', 'dpe_masked_reader', 'dpe_tenant', 'dpe_auditor')
        or roles.oid in (select readers.role_id from readers)
    )
