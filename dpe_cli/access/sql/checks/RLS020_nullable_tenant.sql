-- severity: error
-- title: A tenant column that may be null
-- why: no reader can see such a row, so its absence goes unnoticed
select
    managed.name as subject,
    format('may have rows without a %s, its tenant column', columns.name) as detail,
    format('alter table %s alter column %I set not null', managed.name, columns.name) as fix
from managed
cross join lateral unnest(managed.declared_columns) as columns (name)
inner join pg_attribute on managed.relation_id = pg_attribute.attrelid and columns.name = pg_attribute.attname
where
    managed.declared_kind = 'tenant_column'
    and managed.owner <> 'dpe_loader'
    and managed.relation_name !~ '__quarantine$'
    and not pg_attribute.attnotnull
