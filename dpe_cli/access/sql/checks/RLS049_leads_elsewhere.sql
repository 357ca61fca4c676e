-- severity: warning
-- title: A foreign server that other roles may use
-- why: it may lead back into this database, as another role, which the catalog does not show
select
    pg_foreign_server.srvname::text as subject,
    format(
        'may be used by %s, and the catalog does not show whether it leads back into this database',
        string_agg(
            distinct case server_users.role_id when 0 then 'every role (PUBLIC)' else pg_get_userbyid(server_users.role_id)::text end, ', '
        )
    ) as detail,
    'review where it leads and as which role, or revoke select on its foreign tables and usage on it' as fix
from pg_foreign_server
inner join pg_foreign_data_wrapper on pg_foreign_server.srvfdw = pg_foreign_data_wrapper.oid
inner join server_users on pg_foreign_server.oid = server_users.server_id
where
    pg_foreign_server.srvowner in (select privileged.role_id from privileged)
    and pg_foreign_data_wrapper.fdwname <> 'file_fdw'
    and exists (
        select
        from pg_user_mappings
        where
            pg_user_mappings.srvid = pg_foreign_server.oid
            and pg_user_mappings.umuser not in (select privileged.role_id from privileged)
    )
group by pg_foreign_server.oid, pg_foreign_server.srvname
