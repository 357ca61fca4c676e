-- severity: error
-- title: A context is open by default
-- why: who logs in so acts for all tenants without having said so
-- Policies ask no other role for a context, and what a reader sets for itself is its own affair (RLS054). Settings of roles that do not
-- log in, as dpe_reader, which any reader may act as and set, have no effect.
select
    coalesce(role_name, 'every role') as subject,
    format('has %s set for each of its sessions', split_part(setting, '=', 1)) as detail,
    reset as fix
from session_settings
where
    setting ~ '^(dpe\.|row_security=|session_replication_role=)'
    and (role_id = 0 or is_applied and role_id in (select privileged.role_id from privileged))
