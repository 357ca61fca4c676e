-- severity: warning
-- title: A role may create in a schema that sessions of other roles search
-- why: its function there runs instead of PostgreSQL's own, with the rights of its caller (CVE-2018-1058)
select
    pg_namespace.nspname as subject,
    format(
        '%s %s, and sessions of other roles search it by default',
        case when creators.is_owner then 'belongs to' else 'lets' end,
        pg_get_userbyid(creators.role_id) || case when creators.is_owner then '' else ' create in it' end
    ) as detail,
    case
        when creators.is_owner then 'remove it from the search_path, or make an administrator its owner'
        else format('revoke create on schema %I from %I', pg_namespace.nspname, pg_get_userbyid(creators.role_id))
    end as fix
from pg_namespace
cross join
    lateral (
        select
            pg_namespace.nspowner as role_id,
            true as is_owner
        union
        select
            granted.grantee as role_id,
            false as is_owner
        from aclexplode(pg_namespace.nspacl) as granted
        where granted.privilege_type = 'CREATE' and granted.grantee not in (0, pg_namespace.nspowner)
    ) as creators
where
    pg_namespace.nspname in (select searched_schemas.schema_name from searched_schemas)
    and pg_namespace.nspname in (select open_schemas.schema_name from open_schemas)
    and creators.role_id not in (select privileged.role_id from privileged)
    and pg_get_userbyid(creators.role_id) <> 'pg_database_owner'
    and creators.role_id <> (
        select pg_database.datdba
        from pg_database
        where pg_database.datname = current_database()
    )
