-- severity: error
-- title: A column that policies compare does not have one of PostgreSQL's text types
-- why: casts, operators and collations of other roles decide which values are equal
select
    managed.name as subject,
    format(
        'compares %s, which is %s%s',
        columns.name,
        format_type(pg_attribute.atttypid, pg_attribute.atttypmod),
        case
            when not pg_collation.collisdeterministic
                then format(' with the collation %s, which treats different texts as equal', quote_ident(pg_collation.collname))
        end
    ) as detail,
    'cast it to text, with the collation "default", and build it with dbt --full-refresh' as fix
from managed
cross join lateral unnest(managed.declared_columns) as columns (name)
inner join pg_attribute on managed.relation_id = pg_attribute.attrelid and columns.name = pg_attribute.attname
left join pg_collation on pg_attribute.attcollation = pg_collation.oid
where
    managed.is_table
    and not (
        pg_attribute.atttypid in ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'name'::regtype)
        and pg_collation.collisdeterministic
    )
