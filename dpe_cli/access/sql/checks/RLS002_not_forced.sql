-- severity: error
-- title: Row-level security is not forced on the owner
-- why: the owner, and any role that acts as it, sees all rows without a context
select
    name as subject,
    'does not force row-level security on its owner' as detail,
    format('alter table %s force row level security', name) as fix
from managed
where is_table and is_enabled and not is_forced
