-- severity: error
-- title: Policies exist, but row-level security is off
-- why: a table's policies do nothing until it is enabled
select
    name as subject,
    'has policies that do nothing, because row-level security is off' as detail,
    format('alter table %s enable row level security, force row level security', name) as fix
from managed
where is_table and not is_enabled and has_policies
