-- severity: warning
-- title: A column that policies compare has no index
-- why: each query of a tenant reads the rows of all tenants
select
    managed.name as subject,
    format('has no index that begins with %s, which its policies compare', columns.name) as detail,
    format('create index on %s (%I)', managed.name, columns.name) as fix
from managed
cross join lateral unnest(managed.declared_columns) as columns (name)
where
    managed.is_table
    and managed.owner <> 'dpe_loader'
    and not exists (
        select
        from pg_index
        inner join pg_attribute on pg_index.indrelid = pg_attribute.attrelid and pg_index.indkey[0] = pg_attribute.attnum
        where pg_index.indrelid = managed.relation_id and pg_attribute.attname = columns.name and pg_index.indisvalid
    )
