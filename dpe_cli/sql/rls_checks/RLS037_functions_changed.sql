-- severity: error
-- title: A function of dpe is not dpe's any more
-- why: policies ask it who may see what
select
    format('dpe.%s()', wanted.function_name) as subject,
    case
        when functions.function_id is null then 'is not there'
        when functions.is_definer then 'runs with its owner''s rights, and so sees all entries of the access list'
        when functions.body <> wanted.body then 'is not what dpe bootstrap makes'
        else 'is volatile, not parallel safe, belongs to somebody else or looks names up in its caller''s search_path'
    end as detail,
    'run dpe bootstrap' as fix
from wanted_functions as wanted
left join functions on functions.schema_name = 'dpe' and wanted.function_name = functions.function_name
where
    functions.function_id is null
    or functions.is_definer
    or functions.body <> wanted.body
    or functions.owner <> 'dpe_owner'
    or wanted.function_name in ('actor', 'chosen_tenant', 'context_is_open', 'every_tenant_is_open', 'visible_tenants', 'granted_keys')
    and (functions.volatility <> 's' or functions.parallel_safety <> 's' or not functions.has_search_path)
