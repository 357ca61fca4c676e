-- severity: error
-- title: Granted to everybody (PUBLIC)
-- why: roles that are yet to come may use it as well
select
    managed.name as subject,
    format('grants %s to everybody (PUBLIC)', string_agg(lower(granted.privilege_type), ', ' order by granted.privilege_type)) as detail,
    format('revoke all on %s from public', managed.name) as fix
from managed
cross join lateral aclexplode(managed.acl) as granted
where granted.grantee = 0
group by managed.name
union all
select
    managed.name as subject,
    format('grants its column %s to everybody (PUBLIC)', pg_attribute.attname) as detail,
    format('revoke all (%I) on %s from public', pg_attribute.attname, managed.name) as fix
from managed
inner join pg_attribute on managed.relation_id = pg_attribute.attrelid
cross join lateral aclexplode(pg_attribute.attacl) as granted
where granted.grantee = 0
union all
select
    pg_namespace.nspname as subject,
    format('grants %s on the schema to everybody (PUBLIC)', lower(granted.privilege_type)) as detail,
    format('revoke all on schema %I from public', pg_namespace.nspname) as fix
from pg_namespace
cross join lateral aclexplode(pg_namespace.nspacl) as granted
where pg_namespace.nspname in (select managed_schemas.schema_name from managed_schemas) and granted.grantee = 0
