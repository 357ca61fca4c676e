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
    readable.relation as subject,
    format('is a materialized view outside of dpe''s schemas that keeps rows of %s, which no policy protects', readable.reads) as detail,
    'make it a view with security_invoker' as fix
from outside_readers as readable
where readable.kind = 'm'
