-- severity: error
-- title: A reader may create relations
-- why: relations it creates in a published schema have no policies, and may be mistaken for dpe's
select
    pg_namespace.nspname as subject,
    format('lets %s create relations in it', readers.role_name) as detail,
    format('revoke create on schema %I from %I', pg_namespace.nspname, readers.role_name) as fix
from pg_namespace
cross join lateral aclexplode(pg_namespace.nspacl) as granted
inner join readers on granted.grantee = readers.role_id
where
    pg_namespace.nspname in (select managed_schemas.schema_name from managed_schemas)
    and granted.privilege_type = 'CREATE'
    and granted.grantee <> pg_namespace.nspowner
