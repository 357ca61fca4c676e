-- severity: error
-- title: A SECURITY DEFINER function with a mutable search_path
-- why: its caller can substitute other objects for those that it names
-- A path is safe if it ends in pg_temp (which is searched first unless it is named) and has no schema in which others may create.
select
    signature as subject,
    format('runs with the rights of %s, and its caller chooses its search_path', owner) as detail,
    format('alter routine %s set search_path = pg_catalog, pg_temp; or make it SECURITY INVOKER', signature) as fix
from functions
where is_definer and not has_safe_path
