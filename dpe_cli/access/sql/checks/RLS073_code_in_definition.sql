-- severity: error
-- title: The definition of a protected table calls a function of the pipeline or of another role
-- why: autovacuum runs it as the table's owner at any time, and each session that plans a query of the table runs it with its own rights
select
    managed.name as subject,
    format('its %s calls %s', code.part, code.routine) as detail,
    format('remove that, or have an administrator own the function (alter routine %s owner to current_user)', code.routine) as fix
from managed
cross join lateral dpe.code_in_definition(managed.relation_id) as code
where managed.is_table
