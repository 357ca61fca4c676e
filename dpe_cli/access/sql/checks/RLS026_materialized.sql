-- severity: error
-- title: A materialized view of protected rows
-- why: no policy protects it
select
    name as subject,
    'is a materialized view, which no policy protects' as detail,
    'make it a table or an incremental model' as fix
from managed
where kind = 'm'
union all
select
    outside.name as subject,
    format('is a materialized view outside of dpe''s schemas that keeps rows of %s, which no policy protects', roots.names) as detail,
    'make it a view with security_invoker' as fix
from outside
inner join roots on roots.class_id = 'pg_class'::regclass and outside.relation_id = roots.object_id and roots.is_of_protected
where outside.kind = 'm' and outside.is_of_privileged
