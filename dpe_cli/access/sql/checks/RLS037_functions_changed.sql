-- severity: error
-- title: A function of dpe is not dpe's any more
-- why: policies ask it who may see what
select
    format('dpe.%s()', wanted.function_name) as subject,
    case
        when functions.function_id is null then 'is not there'
        when functions.is_definer then 'runs with its owner''s rights, and so sees all entries of the access list'
        when functions.body <> wanted.body then 'is not what dpe bootstrap makes'
        when not functions.has_exact_path then 'has a search_path other than pg_catalog, pg_temp'
        else 'is volatile, not parallel safe or belongs to somebody else'
    end as detail,
    'run dpe bootstrap' as fix
from wanted_functions as wanted
left join functions on functions.schema_name = 'dpe' and wanted.function_name = functions.function_name
where
    functions.function_id is null
    or functions.is_definer
    or functions.body <> wanted.body
    or functions.owner <> 'dpe_owner'
    or not functions.has_exact_path
    or wanted.function_name in ('actor', 'chosen_tenant', 'context_is_open', 'every_tenant_is_open', 'visible_tenants', 'granted_keys')
    and (functions.volatility <> 's' or functions.parallel_safety <> 's')
union all
select
    signature as subject,
    'is in the schema of dpe, and has a search_path other than pg_catalog, pg_temp' as detail,
    format('alter routine %s set search_path = pg_catalog, pg_temp; or drop it', signature) as fix
from functions
where
    schema_name = 'dpe'
    and not has_exact_path
    and function_name not in (select wanted_functions.function_name from wanted_functions)
