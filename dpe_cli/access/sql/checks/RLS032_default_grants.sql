-- severity: error
-- title: New relations, schemas or functions are granted by default
-- why: a relation would be readable before it has its policies, and a schema before it is published
with

defaults as (

    select
        pg_default_acl.defaclrole as role_id,
        pg_namespace.nspname as schema_name,
        pg_default_acl.defaclobjtype as kind,
        case pg_default_acl.defaclobjtype
            when 'r' then 'tables'
            when 'S' then 'sequences'
            when 'f' then 'functions'
            when 'n' then 'schemas'
            when 'T' then 'types'
            else 'large objects'
        end as kind_name,
        granted.grantee,
        granted.privilege_type
    from pg_default_acl
    left join pg_namespace on pg_default_acl.defaclnamespace = pg_namespace.oid
    cross join lateral aclexplode(pg_default_acl.defaclacl) as granted
    where
        granted.grantee <> pg_default_acl.defaclrole
        and (pg_namespace.nspname is null or pg_namespace.nspname = any($4::text[]))

)

select
    coalesce(schema_name, 'every schema') as subject,
    format(
        'grants %s on new %s of %s to %s by default',
        lower(privilege_type),
        case kind when 'r' then 'relations' else kind_name end,
        pg_get_userbyid(role_id),
        case grantee when 0 then 'every role (PUBLIC)' else pg_get_userbyid(grantee)::text end
    ) as detail,
    format(
        'alter default privileges for role %I%s revoke all on %s from %s',
        pg_get_userbyid(role_id),
        coalesce(' in schema ' || quote_ident(schema_name), ''),
        kind_name,
        case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end
    ) as fix
from defaults
where
    -- Other roles create no relations here, and may grant their own as they like.
    kind = 'r'
    and role_id in (select privileged.role_id from privileged)
    and (grantee = 0 or grantee in (select readers.role_id from readers))
    -- Types hold no rows, and every role may use them by default.
    or kind in ('n', 'f', 'S', 'L')
    and role_id in (
        select dpe_roles.role_id
        from dpe_roles
        where not dpe_roles.is_of_readers
    )
    and grantee not in (select privileged.role_id from privileged)
union all
-- Without an entry, every role may call them.
select
    'every schema' as subject,
    format('grants execute on new functions of %s to every role (PUBLIC) by default', dpe_roles.role_name) as detail,
    format('alter default privileges for role %I revoke all on functions from public', dpe_roles.role_name) as fix
from dpe_roles
where
    dpe_roles.role_name in ('dpe_owner', 'dpe_loader', 'dpe_transformer')
    and not exists (
        select from pg_default_acl
        where pg_default_acl.defaclrole = dpe_roles.role_id and pg_default_acl.defaclobjtype = 'f' and pg_default_acl.defaclnamespace = 0
    )
