-- severity: error
-- title: A setting changes which role the pipeline acts as, what it may do, or how its statements are read
-- why: each of its sessions starts as another role, read-only, with preloaded code, or misreads what checks and macros ask
select
    role_name as subject,
    format('has %s set for each of its sessions', split_part(setting, '=', 1)) as detail,
    reset as fix
from session_settings
where
    role_name in ('dpe_loader', 'dpe_transformer')
    and setting ~ '^(role|session_authorization|default_transaction_read_only|(local|session)_preload_libraries'
    '|standard_conforming_strings|quote_all_identifiers|client_encoding)='
