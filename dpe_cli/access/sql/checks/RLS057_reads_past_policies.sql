-- severity: error
-- title: A role bypasses policies through an attribute or a predefined role
-- why: replication and the server's files bypass policies, pg_read_all_data bypasses masks, and CREATEROLE makes a role of any name
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
union all
-- A role of any name passes for the reader whose name the rows of a model contain. Administrators may create roles.
select
    pg_roles.rolname::text as subject,
    case
        when creating.oid = pg_roles.oid then 'may create roles, with any name that the rows of a model contain (CREATEROLE)'
        else format('can act as %s, which may create roles, with any name that the rows of a model contain (CREATEROLE)', creating.rolname)
    end as detail,
    case
        when creating.oid = pg_roles.oid then format('alter role %I nocreaterole', pg_roles.rolname)
        else format('revoke %I from %I, or from the role that it has it through', creating.rolname, pg_roles.rolname)
    end as fix
from pg_roles
inner join pg_roles as creating on creating.rolcreaterole and not creating.rolsuper and pg_has_role(pg_roles.oid, creating.oid, 'member')
where
    not pg_roles.rolsuper
    and pg_roles.oid in (select bound.role_id from bound)
    and not pg_has_role(pg_roles.oid, 'dpe_owner', 'member')
