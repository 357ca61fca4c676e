-- severity: warning
-- title: A policy that calls a function for each row
-- why: it is slow, and PostgreSQL cannot use an index
-- Apart from its sub-selects, a condition should not call functions.
select
    relation as subject,
    format('has the policy %s, which calls a function for each row', policy) as detail,
    'put the call into a sub-select: (select dpe.visible_tenants())' as fix
from policies
where
    regexp_replace(
        regexp_replace(
            -- Without its literals, which may hold parentheses.
            regexp_replace(concat_ws(' ', using_expression, check_expression), '''(?:[^'']|'''')*''', '''''', 'g'),
            '\( SELECT\s(?:[^()]|\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\))*\)',
            '',
            'g'
        ),
        '\m(ANY|AND|OR|NOT|IN|ARRAY)\s*\(', '(', 'g'
    ) ~ '[[:alnum:]_"]\('
    -- It compares the key with the function's result, which is computed once for the index search.
    and (relation, policy) <> ('dpe.tenant_access', 'own_entries')
