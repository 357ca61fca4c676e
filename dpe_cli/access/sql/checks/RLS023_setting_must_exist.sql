-- severity: error
-- title: A setting that is read without missing_ok
-- why: a session that has not set it gets an error instead of no rows
select
    relation as subject,
    format('has the policy %s, which fails if a setting is not set', policy) as detail,
    'write current_setting(…, true)' as fix
from policies
where concat_ws(' ', using_expression, check_expression) ~ 'current_setting\(''[^'']*''(::text)?\)'
union all
select
    format('%s.%s()', schema_name, function_name) as subject,
    'fails if a setting is not set' as detail,
    'write current_setting(…, true)' as fix
from functions
where body ~* 'current_setting\s*\(\s*''[^'']*''(::text)?\s*\)'
