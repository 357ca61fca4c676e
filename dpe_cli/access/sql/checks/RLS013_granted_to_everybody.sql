-- severity: error
-- title: Granted to every role (PUBLIC)
-- why: future roles may use it as well
select
    managed.name as subject,
    format(
        'grants %s to every role (PUBLIC)',
        string_agg(distinct lower(privileges.privilege_type), ', ' order by lower(privileges.privilege_type))
    ) as detail,
    format('revoke all on %s from public', managed.name) as fix
from managed
inner join privileges on managed.relation_id = privileges.relation_id
where privileges.grantee = 0 and privileges.column_name is null
group by managed.name
union all
select distinct
    managed.name as subject,
    format('grants its column %s to every role (PUBLIC)', privileges.column_name) as detail,
    format('revoke all (%I) on %s from public', privileges.column_name, managed.name) as fix
from managed
inner join privileges on managed.relation_id = privileges.relation_id
where privileges.grantee = 0 and privileges.column_name is not null
union all
select
    pg_namespace.nspname as subject,
    format('grants %s on the schema to every role (PUBLIC)', lower(granted.privilege_type)) as detail,
    format('revoke all on schema %I from public', pg_namespace.nspname) as fix
from pg_namespace
cross join lateral aclexplode(pg_namespace.nspacl) as granted
where pg_namespace.nspname in (select managed_schemas.schema_name from managed_schemas) and granted.grantee = 0
