-- severity: error
-- title: A foreign server leads back into this database
-- why: its user mapping lets readers act as another role, with other policies
select
    pg_user_mappings.srvname::text as subject,
    format(
        'leads back into this database, where its user mapping for %s lets other roles act as the one it names',
        coalesce(pg_roles.rolname, 'every role (PUBLIC)')
    ) as detail,
    format(
        'drop user mapping for %s server %I',
        case pg_user_mappings.umuser when 0 then 'public' else quote_ident(pg_user_mappings.usename) end,
        pg_user_mappings.srvname
    ) as fix
from pg_user_mappings
inner join servers_that_lead_back on pg_user_mappings.srvid = servers_that_lead_back.server_id
inner join pg_foreign_server on pg_user_mappings.srvid = pg_foreign_server.oid
left join pg_roles on pg_user_mappings.umuser = pg_roles.oid
where
    pg_foreign_server.srvowner in (select privileged.role_id from privileged)
    and exists (
        select
        from server_users
        where
            server_users.server_id = pg_foreign_server.oid
            and (
                pg_user_mappings.umuser = 0
                or server_users.role_id = 0
                or pg_has_role(pg_user_mappings.umuser, server_users.role_id, 'usage')
            )
    )
    -- A role that may use the server can map itself, to a role whose password it has.
    and not exists (
        select
        from server_users
        where
            server_users.server_id = pg_foreign_server.oid
            and server_users.may_map
            and pg_user_mappings.umuser <> 0
            and (server_users.role_id = 0 or pg_has_role(pg_user_mappings.umuser, server_users.role_id, 'usage'))
    )
    and pg_user_mappings.umuser not in (select privileged.role_id from privileged)
