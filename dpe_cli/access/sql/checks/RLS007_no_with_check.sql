-- severity: error
-- title: A policy without WITH CHECK
-- why: what may be written should be said, not follow from what may be seen
select
    relation as subject,
    format('has the policy %s for writing, which does not say what may be written', policy) as detail,
    format('alter policy %I on %s with check (…); build it with dbt to have dpe''s', policy, relation) as fix
from policies
where command in ('*', 'a', 'w') and not has_check
