-- severity: warning
-- title: A role of the pipeline has settings
-- why: bootstrap sets none, and a time limit, for example, would end its runs
select
    role_name as subject,
    format('has %s set for each of its sessions', setting) as detail,
    reset || ', if it is not yours' as fix
from session_settings
where
    role_name in ('dpe_loader', 'dpe_transformer')
    -- These are errors (RLS033, RLS067).
    and setting
    !~ '^(dpe\.|(row_security|session_replication_role|role|session_authorization|default_transaction_read_only|.*_preload_libraries'
    '|standard_conforming_strings|quote_all_identifiers|client_encoding)=)'
