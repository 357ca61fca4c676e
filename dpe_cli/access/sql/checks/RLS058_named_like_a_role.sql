-- severity: error
-- title: A schema has the name of a privileged role, but belongs to another one
-- why: sessions of that role search it first ("$user"): a function there runs with its rights, instead of PostgreSQL's own (CVE-2018-1058)
select
    pg_namespace.nspname as subject,
    format('has the name of the role %s, but belongs to %s', pg_roles.rolname, pg_get_userbyid(pg_namespace.nspowner)) as detail,
    format(
        'alter schema %I rename to %I',
        pg_namespace.nspname,
        left(pg_namespace.nspname || '_of_' || pg_get_userbyid(pg_namespace.nspowner), 63)
    ) as fix
from pg_namespace
inner join pg_roles on pg_namespace.nspname = pg_roles.rolname
where
    (pg_roles.oid in (select privileged.role_id from privileged) or pg_roles.oid in (select bound.role_id from bound))
    and pg_namespace.nspname in (select open_schemas.schema_name from open_schemas)
    and pg_namespace.nspowner <> pg_roles.oid
