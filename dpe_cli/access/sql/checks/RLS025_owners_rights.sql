-- severity: error
-- title: A view with its owner's rights
-- why: it shows what its owner sees, no matter which role reads it
select
    name as subject,
    'is a view with its owner''s rights' as detail,
    format('alter view %s set (security_invoker = true)', name) as fix
from managed
where kind = 'v' and not is_invokers
union all
select
    name as subject,
    format('is a view outside of dpe''s schemas that reads %s with its owner''s rights', roots) as detail,
    format('alter view %s set (security_invoker = true)', name) as fix
from acting_as_owner
where is_reading and is_of_privileged
