-- severity: error
-- title: A private relation has a policy for readers
-- why: only the pipeline and administrators should see it
select
    relation as subject,
    format('is private, but has the policy %s for %s', policy, array_to_string(roles, ', ')) as detail,
    format('drop policy %I on %s', policy, relation) as fix
from policies
where declared_kind = 'private' and not roles <@ array['dpe_owner', 'dpe_loader', 'dpe_transformer']
