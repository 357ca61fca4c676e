-- severity: error
-- title: A reader may do more than read
-- why: TRUNCATE and REFERENCES heed no policy, and who writes can move rows to other tenants
select
    managed.name as subject,
    format(
        'lets %s %s', pg_get_userbyid(granted.grantee), string_agg(lower(granted.privilege_type), ', ' order by granted.privilege_type)
    ) as detail,
    format('revoke insert, update, delete, truncate, references, trigger on %s from %I', managed.name, pg_get_userbyid(granted.grantee))
        as fix
from managed
cross join lateral aclexplode(managed.acl) as granted
inner join readers on granted.grantee = readers.role_id
where granted.privilege_type <> 'SELECT' and granted.grantee <> managed.owner_id
group by managed.name, granted.grantee
union all
select
    managed.name as subject,
    format('lets %s grant other roles the right to read it', pg_get_userbyid(granted.grantee)) as detail,
    format('revoke grant option for select on %s from %I cascade', managed.name, pg_get_userbyid(granted.grantee)) as fix
from managed
cross join lateral aclexplode(managed.acl) as granted
inner join readers on granted.grantee = readers.role_id
where granted.privilege_type = 'SELECT' and granted.is_grantable and granted.grantee <> managed.owner_id
