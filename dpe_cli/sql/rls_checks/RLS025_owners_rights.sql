-- severity: error
-- title: A view with its owner's rights
-- why: it shows what its owner sees, whoever reads it
select
    name as subject,
    'is a view with its owner''s rights' as detail,
    format('alter view %s set (security_invoker = true)', name) as fix
from managed
where kind = 'v' and not is_invokers
union all
select
    readable.relation as subject,
    format('is a view outside of dpe''s schemas that reads %s with its owner''s rights', readable.reads) as detail,
    format('alter view %s set (security_invoker = true)', readable.relation) as fix
from outside_readers as readable
where readable.kind = 'v' and not readable.is_invokers
