-- severity: error
-- title: Policies are there, but row-level security is off
-- why: policies of a table do nothing until it is enabled
select
    name as subject,
    'has policies that do nothing, for row-level security is off' as detail,
    format('alter table %s enable row level security, force row level security', name) as fix
from managed
where is_table and not is_enabled and has_policies
