-- severity: error
-- title: A context is open by default
-- why: a login acts for all tenants without opening a context
-- Policies check the context of no other role, and a reader may set its own settings (RLS054). Settings of roles that do not log in
-- have no effect, such as dpe_reader, which any reader can act as.
select
    coalesce(role_name, 'every role') as subject,
    format('has %s set for each of its sessions', split_part(setting, '=', 1)) as detail,
    reset as fix
from session_settings
where
    setting ~ '^(dpe\.|row_security=|session_replication_role=)'
    and (role_id = 0 or is_applied and role_id in (select privileged.role_id from privileged))
