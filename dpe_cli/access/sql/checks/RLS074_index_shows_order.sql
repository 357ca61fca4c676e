-- severity: warning
-- title: An index that orders rows by a masked column
-- why: masked readers get the other columns in its order, and so learn which values are higher
with

-- Indexes that are read in an order, and what they are made of. Those of expressions depend on the columns in them. GiST and SP-GiST put
-- similar values together.
ordered as (

    select
        pg_index.indexrelid,
        pg_index.indrelid,
        pg_class.relname as index_name,
        pg_class.oid::regclass as full_name,
        array(
            select key_columns.number
            from unnest(pg_index.indkey) as key_columns (number)
            union
            select pg_depend.refobjsubid
            from pg_depend
            where
                pg_depend.classid = 'pg_class'::regclass
                and pg_index.indexrelid = pg_depend.objid
                and pg_index.indrelid = pg_depend.refobjid
                and pg_index.indexprs is not null
        ) as column_numbers
    from pg_index
    inner join pg_class on pg_index.indexrelid = pg_class.oid
    inner join pg_am on pg_class.relam = pg_am.oid
    where
        pg_index.indrelid in (select masked_columns.relation_id from masked_columns)
        and pg_am.amname not in ('hash', 'brin', 'gin')

)

select
    masked_columns.name as subject,
    format(
        'has the index %s, which orders rows by the masked column %s', ordered.index_name, string_agg(masked_columns.column_name, ', ')
    )
        as detail,
    format('drop index %s, or keep only masked columns in it; its model or a hook may declare it', ordered.full_name) as fix
from ordered
inner join masked_columns
    on
        ordered.indrelid = masked_columns.relation_id
        and masked_columns.column_number = any(ordered.column_numbers)
where
    exists (
        select
        from unnest(ordered.column_numbers) as columns (number)
        where
            columns.number > 0
            and columns.number not in (
                select others.column_number
                from masked_columns as others
                where ordered.indrelid = others.relation_id
            )
    )
group by masked_columns.name, ordered.index_name, ordered.full_name
