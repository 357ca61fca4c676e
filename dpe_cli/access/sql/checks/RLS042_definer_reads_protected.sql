-- severity: error
-- title: A SECURITY DEFINER function outside dpe's schemas reads protected rows
-- why: it acts as its owner, which sees more than its callers
select
    definers.function_id::regprocedure::text as subject,
    format('reads %s with the rights of %s, and %s', roots.names, definers.owner, callable_definers.ways) as detail,
    format('alter routine %s security invoker, or revoke execute on it from these roles', definers.function_id::regprocedure) as fix
from definers
inner join callable_definers on definers.function_id = callable_definers.function_id
inner join roots on roots.class_id = 'pg_proc'::regclass and definers.function_id = roots.object_id and roots.is_of_protected
where definers.is_of_privileged and not definers.is_of_dpe
