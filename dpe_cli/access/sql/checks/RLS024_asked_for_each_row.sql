-- severity: warning
-- title: A policy that asks for the session once a row
-- why: it is slow, and PostgreSQL cannot use an index
-- What is left of a condition without its sub-selects should call no function.
select
    relation as subject,
    format('has the policy %s, which calls a function for each row', policy) as detail,
    'put the call into a sub-select: (select dpe.visible_tenants())' as fix
from policies
where
    regexp_replace(
        regexp_replace(concat_ws(' ', using_expression, check_expression), '\( SELECT\s[^()]*(\([^()]*\)[^()]*)*\)', '', 'g'),
        '\m(ANY|AND|OR|NOT|IN|ARRAY)\s*\(', '(', 'g'
    ) ~ '[[:alnum:]_"]\('
    -- It compares the key, which is searched for what the function returns once.
    and (relation, policy) <> ('dpe.tenant_access', 'own_entries')
