-- severity: error
-- title: A relation of the pipeline outside dpe's schemas is open to other roles
-- why: a hook may have copied protected rows there, and no declaration calls for the policies that it has
with

of_readers as (

    select dpe_roles.role_id
    from dpe_roles
    where dpe_roles.is_of_readers

),

kept as (

    select
        format('%I.%I', pg_namespace.nspname, pg_class.relname) as name,
        pg_class.relowner as owner_id,
        coalesce(case when pg_namespace.nspname = any($4::text[]) then others.readers else others.grantees end, '{}') as grantees
    from pg_class
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    left join others on pg_class.oid = others.relation_id
    where
        pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
        and pg_class.relpersistence <> 't'
        and pg_class.oid >= 16384
        and pg_namespace.nspname not in (select managed_schemas.schema_name from managed_schemas)
        -- Members may create relations there (RLS053).
        and not (
            pg_class.relowner in (select of_readers.role_id from of_readers)
            and pg_namespace.oid in (select schemas_of_others.schema_id from schemas_of_others)
        )
        -- Relations that dpe has built are protected, and have checks of their own.
        and case
            when pg_namespace.nspname <> all($4::text[]) then true
            when pg_class.relkind = 'v' then pg_class.oid not in (select invokers_views.relation_id from invokers_views)
            else
                not pg_class.relrowsecurity
                and not exists (
                    select from pg_policy
                    where pg_policy.polrelid = pg_class.oid
                )
        end
    union all
    select
        format('large object %s', pg_largeobject_metadata.oid) as name,
        pg_largeobject_metadata.lomowner as owner_id,
        array_agg(granted.grantee) as grantees
    from pg_largeobject_metadata
    cross join lateral aclexplode(pg_largeobject_metadata.lomacl) as granted
    where
        granted.grantee <> pg_largeobject_metadata.lomowner
        and granted.grantee not in (select privileged.role_id from privileged)
        and pg_largeobject_metadata.lomowner not in (select of_readers.role_id from of_readers)
    group by pg_largeobject_metadata.oid

)

select
    kept.name as subject,
    format(
        'belongs to %s, but is open to %s',
        dpe_roles.role_name,
        case when dpe_roles.is_of_readers then 'all of its members' else granted.names end
    ) as detail,
    case
        when dpe_roles.is_of_readers then 'make an administrator its owner, and check its contents'
        else format('revoke all on %s from %s; publish rows for readers with a model', kept.name, granted.quoted_names)
    end as fix
from kept
inner join dpe_roles on kept.owner_id = dpe_roles.role_id
cross join
    lateral (
        select
            string_agg(case roles.role_id when 0 then 'every role (PUBLIC)' else pg_get_userbyid(roles.role_id)::text end, ', ') as names,
            string_agg(case roles.role_id when 0 then 'public' else quote_ident(pg_get_userbyid(roles.role_id)) end, ', ') as quoted_names
        from unnest(kept.grantees) as roles (role_id)
    ) as granted
where dpe_roles.is_of_readers or kept.grantees <> '{}'
