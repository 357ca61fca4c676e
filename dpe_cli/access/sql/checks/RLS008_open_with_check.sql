-- severity: error
-- title: Any row may be written
-- why: a row of another tenant can be written, and moved to it
select
    relation as subject,
    format('lets %s write any row by the policy %s', array_to_string(roles, ', '), policy) as detail,
    format('alter policy %I on %s with check (…); build it with dbt to have dpe''s', policy, relation) as fix
from policies
where is_permissive and command in ('*', 'a', 'w') and check_expression = 'true'
