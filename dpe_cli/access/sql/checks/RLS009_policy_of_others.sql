-- severity: error
-- title: A policy that is not dpe's
-- why: permissive policies add up: each one widens what its roles see
select
    relation as subject,
    format('has the permissive policy %s for %s, which no declaration calls for', policy, array_to_string(roles, ', ')) as detail,
    format('drop policy %I on %s; declare in meta.rls who may see the rows', policy, relation) as fix
from policies
where
    is_permissive
    and schema_name <> 'dpe'
    and policy not in ('dpe_system', 'dpe_admin', 'dpe_reader', 'dpe_transformer')
union all
select
    relation as subject,
    format('has the policy %s for %s, which must not read the ledger', policy, array_to_string(roles, ', ')) as detail,
    format('drop policy %I on %s', policy, relation) as fix
from policies
where
    is_permissive
    and schema_name = 'dpe'
    and not roles <@ array['dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_auditor']
    and (relation, policy) <> ('dpe.tenant_access', 'own_entries')
