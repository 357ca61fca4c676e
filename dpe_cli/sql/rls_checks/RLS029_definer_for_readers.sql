-- severity: error
-- title: A SECURITY DEFINER function that readers may call
-- why: it acts as its owner, to whom other policies apply
select distinct
    format('%s.%s()', functions.schema_name, functions.function_name) as subject,
    format('runs with the rights of %s and may be called by %s', functions.owner, readers.role_name) as detail,
    format('revoke execute on function %I.%I from public, %I', functions.schema_name, functions.function_name, readers.role_name) as fix
from functions
inner join readers on has_function_privilege(readers.role_id, functions.function_id, 'execute')
where functions.is_definer and readers.role_name in ('dpe_reader', 'dpe_masked_reader')
