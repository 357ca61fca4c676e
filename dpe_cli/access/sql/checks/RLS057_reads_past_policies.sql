-- severity: error
-- title: A role bypasses policies through an attribute or a predefined role
-- why: replication and the server's files bypass policies, and pg_read_all_data bypasses masks
select
    pg_roles.rolname::text as subject,
    'has REPLICATION, which sends it the rows of all tenants' as detail,
    format('alter role %I noreplication', pg_roles.rolname) as fix
from pg_roles
where pg_roles.rolreplication and not pg_roles.rolsuper and pg_roles.oid in (select bound.role_id from bound)
union all
select
    pg_roles.rolname::text as subject,
    format('can act as %s, which bypasses policies or masks', predefined.rolname) as detail,
    format('revoke %I from %I, or from the role that it has it through', predefined.rolname, pg_roles.rolname) as fix
from pg_roles
inner join pg_roles as predefined
    on
        pg_has_role(pg_roles.oid, predefined.oid, 'member')
        and (
            predefined.rolname in ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
            or predefined.rolname = 'pg_read_all_data' and pg_has_role(pg_roles.oid, 'dpe_masked_reader', 'member')
        )
where not pg_roles.rolsuper and pg_roles.oid in (select bound.role_id from bound)
