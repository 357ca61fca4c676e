-- severity: error
-- title: Every role may create in a schema that sessions search
-- why: a reader's function there runs instead of PostgreSQL's own, with the rights of its caller (CVE-2018-1058)
select
    pg_namespace.nspname as subject,
    'lets every role (PUBLIC) create in it, and sessions search it by default' as detail,
    format('revoke create on schema %I from public', pg_namespace.nspname) as fix
from pg_namespace
cross join lateral aclexplode(pg_namespace.nspacl) as granted
where
    granted.grantee = 0
    and granted.privilege_type = 'CREATE'
    and pg_namespace.nspname in (select searched_schemas.schema_name from searched_schemas)
    -- If another role owns it, that is the problem (RLS041), no matter what it grants.
    and (
        pg_namespace.nspowner in (select privileged.role_id from privileged)
        or pg_get_userbyid(pg_namespace.nspowner) = 'pg_database_owner'
        or pg_namespace.nspowner = (
            select pg_database.datdba
            from pg_database
            where pg_database.datname = current_database()
        )
    )
