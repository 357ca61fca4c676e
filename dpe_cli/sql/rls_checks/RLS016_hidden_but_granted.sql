-- severity: error
-- title: A reader is granted what is not published
-- why: staging, what is private and the ledger are for the pipeline
select
    managed.name as subject,
    format('is not published, and granted to %s', pg_get_userbyid(granted.grantee)) as detail,
    format('revoke all on %s from %I', managed.name, pg_get_userbyid(granted.grantee)) as fix
from managed
cross join lateral aclexplode(managed.acl) as granted
inner join readers on granted.grantee = readers.role_id
where
    granted.grantee <> managed.owner_id
    and managed.name <> 'dpe.tenant_access'
    and (
        managed.schema_name in ('dpe', 'staging', 'quality')
        or managed.schema_name ~ '__(next|previous|old_[0-9]+)$' and has_schema_privilege(granted.grantee, managed.schema_name, 'usage')
        or managed.declared_kind = 'private'
    )
