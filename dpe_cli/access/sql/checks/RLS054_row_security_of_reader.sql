-- severity: warning
-- title: A reader has row_security switched off
-- why: its queries of protected rows fail; it sees no more rows than before
select
    role_name as subject,
    'has row_security off in each of its sessions, so that its queries of protected rows fail' as detail,
    reset as fix
from session_settings
where
    setting ~ '^row_security='
    and setting !~* '=(t|true|y|yes|on|1)$'
    and is_applied
    and role_id in (select readers.role_id from readers)
    and role_id not in (select privileged.role_id from privileged)
