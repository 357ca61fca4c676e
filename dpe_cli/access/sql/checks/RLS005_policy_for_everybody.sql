-- severity: error
-- title: A policy for every role (PUBLIC)
-- why: it adds rows to what each role sees, including future roles
select
    relation as subject,
    format('has the permissive policy %s for every role (PUBLIC)', policy) as detail,
    format('drop policy %I on %s, or restrict it to a role', policy, relation) as fix
from policies
where is_permissive and 'public' = any(roles)
