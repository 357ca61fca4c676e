-- severity: error
-- title: Any row may be written
-- why: rows can be written for, or moved to, another tenant
select
    relation as subject,
    format('lets %s write any row through the policy %s', array_to_string(roles, ', '), policy) as detail,
    format('alter policy %I on %s with check (…); or build it with dbt to get dpe''s', policy, relation) as fix
from policies
where is_permissive and command in ('*', 'a', 'w') and check_expression = 'true'
