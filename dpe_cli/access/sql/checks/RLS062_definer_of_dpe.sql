-- severity: error
-- title: A SECURITY DEFINER function belongs to a role of dpe
-- why: types, operator classes and aggregates call it without checking EXECUTE, and dpe needs no such function
-- Members of dpe_reader and the like may create functions in schemas where they may create (RLS053).
select
    definers.function_id::regprocedure::text as subject,
    format('runs with the rights of %s, regardless of who calls it', definers.owner) as detail,
    format('alter routine %s security invoker, or drop it', definers.function_id::regprocedure) as fix
from definers
inner join pg_proc on definers.function_id = pg_proc.oid
inner join dpe_roles on definers.owner_id = dpe_roles.role_id
where not (dpe_roles.is_of_readers and pg_proc.pronamespace in (select schemas_of_others.schema_id from schemas_of_others))
