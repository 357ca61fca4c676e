-- severity: error
-- title: A policy without WITH CHECK
-- why: a policy should state what may be written, instead of deriving it from what may be seen
select
    relation as subject,
    format('has the policy %s for writing, which does not state what may be written', policy) as detail,
    format('alter policy %I on %s with check (…); or build it with dbt to get dpe''s', policy, relation) as fix
from policies
where command in ('*', 'a', 'w') and not has_check
