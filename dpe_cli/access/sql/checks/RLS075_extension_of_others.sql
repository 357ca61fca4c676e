-- severity: warning
-- title: An extension in a schema of dpe or PostgreSQL
-- why: its functions and operators may be called instead of others, and its owner can drop whatever uses them
-- One finding per extension, whatever it contains. Administrators may extend pg_catalog and the project's schemas, and the pipeline may
-- extend the latter, but neither needs an extension in dpe's own.
select
    pg_extension.extname::text as subject,
    format('belongs to %s, and is in the schema %s', pg_get_userbyid(pg_extension.extowner), pg_namespace.nspname) as detail,
    format('drop extension %I; if models need it, install it in another schema as an administrator', pg_extension.extname) as fix
from pg_extension
inner join pg_namespace on pg_extension.extnamespace = pg_namespace.oid
where
    pg_namespace.nspname in ('dpe', 'dpe_locks')
    or pg_extension.extowner not in (select administrators.role_id from administrators)
    and (
        pg_namespace.nspname = 'pg_catalog'
        or pg_namespace.nspname = any($4::text[])
        and pg_extension.extowner not in (
            select dpe_roles.role_id
            from dpe_roles
            where not dpe_roles.is_of_readers
        )
    )
