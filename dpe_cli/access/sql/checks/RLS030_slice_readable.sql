-- severity: error
-- title: A partition that can be read directly
-- why: a query of the partition applies its own policies, not its parent's
select distinct
    managed.name as subject,
    format('is a partition, but granted to %s', pg_get_userbyid(privileges.grantee)) as detail,
    format('revoke all on %s from %I', managed.name, pg_get_userbyid(privileges.grantee)) as fix
from managed
inner join privileges on managed.relation_id = privileges.relation_id
where managed.is_slice and privileges.grantee <> 0
