-- severity: error
-- title: A policy that is always true for a reader
-- why: permissive policies add up: one that is always true shows all rows
select
    relation as subject,
    format('shows all rows to %s through the policy %s', array_to_string(roles, ', '), policy) as detail,
    format('drop policy %I on %s; if all readers may see all rows, declare {shared: true} and build it with dbt', policy, relation)
        as fix
from policies
where
    is_permissive
    and command in ('*', 'r')
    and using_expression = 'true'
    and not roles <@ array['dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_auditor']
    and declared_kind is distinct from 'shared'
