-- severity: error
-- title: A partition that can be read past its parent
-- why: a query of the partition heeds its own policies, not its parent's
select
    managed.name as subject,
    format('is a part of a table, and granted to %s', pg_get_userbyid(granted.grantee)) as detail,
    format('revoke all on %s from %I', managed.name, pg_get_userbyid(granted.grantee)) as fix
from managed
cross join lateral aclexplode(managed.acl) as granted
where managed.is_slice and granted.grantee not in (0, managed.owner_id)
