-- severity: error
-- title: A partition that can be read past its parent
-- why: a query of the partition heeds its own policies, not its parent's
select distinct
    managed.name as subject,
    format('is a part of a table, and granted to %s', pg_get_userbyid(privileges.grantee)) as detail,
    format('revoke all on %s from %I', managed.name, pg_get_userbyid(privileges.grantee)) as fix
from managed
inner join privileges on managed.relation_id = privileges.relation_id
where managed.is_slice and privileges.grantee <> 0
