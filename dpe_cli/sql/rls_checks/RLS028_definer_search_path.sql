-- severity: error
-- title: A SECURITY DEFINER function with a mutable search_path
-- why: who calls it may put objects of its own before those that it means
select
    format('%s.%s()', schema_name, function_name) as subject,
    format('runs with the rights of %s and with the search_path of its caller', owner) as detail,
    format('alter function %I.%I set search_path = pg_catalog, or make it SECURITY INVOKER', schema_name, function_name) as fix
from functions
where is_definer and not has_search_path
