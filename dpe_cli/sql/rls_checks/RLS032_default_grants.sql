-- severity: error
-- title: New relations are granted by default
-- why: a relation would be readable before it has its policies
select
    coalesce(pg_namespace.nspname, 'every schema') as subject,
    format(
        'grants %s on new relations of %s to %s by default',
        lower(granted.privilege_type),
        pg_get_userbyid(pg_default_acl.defaclrole),
        case granted.grantee when 0 then 'everybody (PUBLIC)' else pg_get_userbyid(granted.grantee)::text end
    ) as detail,
    format(
        'alter default privileges for role %I%s revoke all on tables from %s',
        pg_get_userbyid(pg_default_acl.defaclrole),
        coalesce(' in schema ' || quote_ident(pg_namespace.nspname), ''),
        case granted.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(granted.grantee)) end
    ) as fix
from pg_default_acl
left join pg_namespace on pg_default_acl.defaclnamespace = pg_namespace.oid
cross join lateral aclexplode(pg_default_acl.defaclacl) as granted
where
    pg_default_acl.defaclobjtype = 'r'
    -- Other roles create no relations here; what they grant on their own is their affair.
    and pg_default_acl.defaclrole in (select privileged.role_id from privileged)
    and (pg_namespace.nspname is null or pg_namespace.nspname in (select managed_schemas.schema_name from managed_schemas))
    and granted.grantee <> pg_default_acl.defaclrole
    and (granted.grantee = 0 or granted.grantee in (select readers.role_id from readers))
