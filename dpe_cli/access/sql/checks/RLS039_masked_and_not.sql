-- severity: error
-- title: A role that is both a masked reader and a reader
-- why: its rights as a reader remove the mask
select
    roles.rolname::text as subject,
    'is a masked reader and also a reader, so it sees masked columns' as detail,
    format('revoke dpe_reader from %I', roles.rolname) as fix
from pg_roles as roles
where
    roles.oid not in (select privileged.role_id from privileged)
    -- A role that can only grant dpe_masked_reader is not a masked reader. One that can grant dpe_reader can make itself a reader.
    and pg_has_role(
        roles.oid,
        'dpe_masked_reader',
        case when current_setting('server_version_num')::integer >= 160000 then 'usage, set' else 'member' end
    )
    and pg_has_role(roles.oid, 'dpe_reader', 'member')
