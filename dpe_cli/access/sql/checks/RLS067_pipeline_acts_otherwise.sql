-- severity: error
-- title: A setting changes which role the pipeline acts as, or what it may do
-- why: each of its sessions starts as another role, read-only, or with preloaded code
select
    role_name as subject,
    format('has %s set for each of its sessions', split_part(setting, '=', 1)) as detail,
    reset as fix
from session_settings
where
    role_name in ('dpe_loader', 'dpe_transformer')
    and setting ~ '^(role|session_authorization|default_transaction_read_only|(local|session)_preload_libraries)='
