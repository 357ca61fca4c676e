-- severity: warning
-- title: A unique constraint across tenants
-- why: an error tells a writer of one tenant that another has the value
select
    managed.name as subject,
    format(
        'has the unique index %s, which does not contain the tenant (%s)',
        index_class.relname,
        array_to_string(managed.declared_columns, ', ')
    )
        as detail,
    'add the tenant column to it, or make it a rule (unique)' as fix
from managed
inner join pg_index on managed.relation_id = pg_index.indrelid
inner join pg_class as index_class on pg_index.indexrelid = index_class.oid
where
    managed.declared_kind = 'tenant_column'
    and pg_index.indisunique
    and not exists (
        select
        from pg_attribute
        where
            pg_attribute.attrelid = managed.relation_id
            and pg_attribute.attnum = any(pg_index.indkey)
            and pg_attribute.attname = any(managed.declared_columns)
    )
