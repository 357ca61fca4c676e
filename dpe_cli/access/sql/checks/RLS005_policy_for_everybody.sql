-- severity: error
-- title: A policy for everybody (PUBLIC)
-- why: it adds rows to what each role sees, also roles that are yet to come
select
    relation as subject,
    format('has the permissive policy %s for everybody (PUBLIC)', policy) as detail,
    format('drop policy %I on %s, or name the role that it is for', policy, relation) as fix
from policies
where is_permissive and 'public' = any(roles)
