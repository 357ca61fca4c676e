-- severity: error
-- title: A SECURITY DEFINER function that readers may call
-- why: it acts as its owner, to which other policies apply
select
    functions.signature as subject,
    format('runs with the rights of %s and %s', functions.owner, callable_definers.ways) as detail,
    format('alter routine %s security invoker, or revoke execute on it from these roles', functions.signature) as fix
from functions
inner join callable_definers on functions.function_id = callable_definers.function_id
