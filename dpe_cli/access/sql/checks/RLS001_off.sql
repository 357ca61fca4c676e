-- severity: error
-- title: Row-level security is off
-- why: every role with a grant sees all rows
select
    name as subject,
    'has row-level security off' as detail,
    format('alter table %s enable row level security, force row level security; build it with dbt to give it policies', name) as fix
from managed
where is_table and not is_enabled and not has_policies
