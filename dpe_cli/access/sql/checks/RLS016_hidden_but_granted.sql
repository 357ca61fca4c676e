-- severity: error
-- title: A reader has privileges on an unpublished relation
-- why: the sources' schemas, stored failures, private relations and the ledger are for the pipeline only
select distinct
    managed.name as subject,
    format('is not published, but granted to %s', readers.role_name) as detail,
    format('revoke all on %s from %I', managed.name, readers.role_name) as fix
from managed
inner join privileges on managed.relation_id = privileges.relation_id
inner join readers on privileges.grantee = readers.role_id
where
    managed.name <> 'dpe.tenant_access'
    and (
        managed.schema_name = 'dpe'
        or managed.schema_name = any($5::text[])
        or managed.owner = 'dpe_loader'
        or managed.schema_name ~ '__(next|previous|old_[0-9]+)$' and has_schema_privilege(readers.role_id, managed.schema_name, 'usage')
        or managed.declared_kind = 'private'
    )
