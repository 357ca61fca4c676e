-- severity: warning
-- title: No policy
-- why: no role sees a row, not even the pipeline
select
    name as subject,
    'has no policy, so that no role sees its rows' as detail,
    'build it with dbt, or drop it' as fix
from managed
where is_table and is_enabled and not has_policies and not is_slice
