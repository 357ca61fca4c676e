-- severity: error
-- title: A context is open by default
-- why: who logs in so acts for all tenants without having said so
select
    coalesce(pg_roles.rolname, 'every role') as subject,
    format('has %s set for each of its sessions', split_part(settings.setting, '=', 1)) as detail,
    format('alter role %s reset %s', coalesce(quote_ident(pg_roles.rolname), 'all'), split_part(settings.setting, '=', 1)) as fix
from pg_db_role_setting
left join pg_roles on pg_db_role_setting.setrole = pg_roles.oid
cross join lateral unnest(pg_db_role_setting.setconfig) as settings (setting)
where settings.setting ~ '^(dpe\.|row_security=|session_replication_role=)'
