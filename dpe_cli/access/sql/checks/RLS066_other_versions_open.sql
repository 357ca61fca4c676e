-- severity: error
-- title: A schema of unpublished versions is open
-- why: readers could read versions that are being built or were replaced
select
    pg_namespace.nspname as subject,
    format(
        'holds unpublished versions, but grants %s to %s',
        string_agg(lower(granted.privilege_type), ', ' order by granted.privilege_type),
        pg_get_userbyid(granted.grantee)
    ) as detail,
    format('revoke all on schema %I from %I', pg_namespace.nspname, pg_get_userbyid(granted.grantee)) as fix
from pg_namespace
cross join lateral aclexplode(pg_namespace.nspacl) as granted
where
    pg_namespace.nspname = any($4::text[])
    and pg_namespace.nspname ~ '__(next|previous|old_[0-9]+)$'
    -- Grants to PUBLIC are another finding (RLS013).
    and granted.grantee not in (0, pg_namespace.nspowner)
    and granted.grantee not in (select privileged.role_id from privileged)
group by pg_namespace.nspname, granted.grantee
