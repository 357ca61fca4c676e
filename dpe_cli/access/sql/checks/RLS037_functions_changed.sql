-- severity: error
-- title: A function of dpe was changed
-- why: policies use it to decide who may see what
select
    format('dpe.%s()', wanted.function_name) as subject,
    case
        when functions.function_id is null then 'is missing'
        when functions.is_definer then 'runs with its owner''s rights, and so sees all entries of the access list'
        when functions.body <> wanted.body then 'differs from what dpe bootstrap creates'
        when not functions.has_exact_path then 'has a search_path other than pg_catalog, pg_temp'
        else 'is volatile, is not parallel safe or belongs to another role'
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
    or wanted.function_name in (
        'actor',
        'chosen_tenant',
        'project',
        'target',
        'own_project',
        'own_target',
        'context_is_open',
        'every_tenant_is_open',
        'visible_tenants',
        'granted_keys'
    )
    and (functions.volatility <> 's' or functions.parallel_safety <> 's')
union all
select
    signature as subject,
    'is in the schema dpe, but has a search_path other than pg_catalog, pg_temp' as detail,
    format('alter routine %s set search_path = pg_catalog, pg_temp; or drop it', signature) as fix
from functions
where
    schema_name = 'dpe'
    and not has_exact_path
    and function_name not in (select wanted_functions.function_name from wanted_functions)
    -- An extension is one finding (RLS075).
    and function_id not in (
        select pg_depend.objid
        from pg_depend
        where pg_depend.classid = 'pg_proc'::regclass and pg_depend.deptype = 'e'
    )
