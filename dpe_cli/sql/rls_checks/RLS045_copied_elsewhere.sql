-- severity: error
-- title: A relation of the pipeline outside dpe's schemas is readable
-- why: a hook may have copied protected rows there, past every policy
with

kept as (

    select
        format('%I.%I', pg_namespace.nspname, pg_class.relname) as name,
        pg_class.relowner as owner_id,
        others.readers
    from pg_class
    inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
    inner join others on pg_class.oid = others.relation_id
    where
        pg_class.relkind in ('r', 'p', 'm', 'f')
        and pg_class.relpersistence <> 't'
        and others.readers <> '{}'
        and pg_namespace.nspname not in (select managed_schemas.schema_name from managed_schemas)
        and case
            -- What dpe has built has policies; whether these are right is judged there.
            when pg_namespace.nspname = any($4::text[])
                then
                    not pg_class.relrowsecurity
                    and not exists (
                        select from pg_policy
                        where pg_policy.polrelid = pg_class.oid
                    )
            else
                not (pg_class.relrowsecurity and pg_class.relforcerowsecurity)
                or exists (
                    select from pg_policy
                    where
                        pg_policy.polrelid = pg_class.oid
                        and pg_policy.polpermissive
                        and pg_policy.polcmd in ('*', 'r')
                        and not pg_policy.polroles <@ array(select privileged.role_id from privileged)
                        and (pg_policy.polqual is null or pg_get_expr(pg_policy.polqual, pg_policy.polrelid) = 'true')
                        and pg_class.oid not in (
                            select declarations.relation_id
                            from declarations
                            where declarations.declared_kind = 'shared'
                        )
                )
        end
    union all
    select
        format('large object %s', pg_largeobject_metadata.oid) as name,
        pg_largeobject_metadata.lomowner as owner_id,
        array_agg(granted.grantee) as readers
    from pg_largeobject_metadata
    cross join lateral aclexplode(pg_largeobject_metadata.lomacl) as granted
    where granted.privilege_type = 'SELECT' and granted.grantee not in (select privileged.role_id from privileged)
    group by pg_largeobject_metadata.oid

)

select
    kept.name as subject,
    format('belongs to %s, is readable by %s, and has no policy of dpe', pg_get_userbyid(kept.owner_id), granted.names)
        as detail,
    format('revoke all on %s from %s; publish rows for readers with a model', kept.name, granted.quoted_names) as fix
from kept
cross join
    lateral (
        select
            string_agg(case roles.role_id when 0 then 'every role (PUBLIC)' else pg_get_userbyid(roles.role_id)::text end, ', ') as names,
            string_agg(case roles.role_id when 0 then 'public' else quote_ident(pg_get_userbyid(roles.role_id)) end, ', ') as quoted_names
        from unnest(kept.readers) as roles (role_id)
    ) as granted
where pg_get_userbyid(kept.owner_id) in ('dpe_owner', 'dpe_loader', 'dpe_transformer')
