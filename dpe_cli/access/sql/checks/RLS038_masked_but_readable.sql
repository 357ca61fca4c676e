-- severity: error
-- title: A masked column that can be read
-- why: masked readers could read the values
with

masking as (

    select
        protected.relation_id,
        protected.name,
        shown.relation_id as view_id
    from managed as protected
    inner join managed as shown
        on
            protected.schema_name = shown.schema_name
            and shown.relation_name = dpe.companion_name(protected.relation_name, '__masked')
            and shown.kind = 'v'
    where protected.is_table

),

-- The view masks the columns that it does not read.
masked as (

    select
        masking.relation_id,
        masking.name,
        pg_attribute.attname as column_name
    from masking
    inner join pg_attribute on masking.relation_id = pg_attribute.attrelid
    where
        pg_attribute.attnum > 0
        and not pg_attribute.attisdropped
        and not exists (
            select
            from pg_rewrite
            inner join pg_depend on pg_depend.classid = 'pg_rewrite'::regclass and pg_rewrite.oid = pg_depend.objid
            where
                pg_rewrite.ev_class = masking.view_id
                and pg_depend.refclassid = 'pg_class'::regclass
                and masking.relation_id = pg_depend.refobjid
                and pg_attribute.attnum = pg_depend.refobjsubid
        )

),

granted as (

    select
        masked.name,
        masked.column_name,
        of_table.grantee,
        false as is_of_column
    from masked
    inner join managed on masked.relation_id = managed.relation_id
    cross join lateral aclexplode(managed.acl) as of_table
    where of_table.privilege_type = 'SELECT' and of_table.grantee not in (0, managed.owner_id)
    union
    select
        masked.name,
        masked.column_name,
        of_column.grantee,
        true as is_of_column
    from masked
    inner join pg_attribute on masked.relation_id = pg_attribute.attrelid and masked.column_name = pg_attribute.attname
    cross join lateral aclexplode(pg_attribute.attacl) as of_column
    where of_column.privilege_type = 'SELECT' and of_column.grantee <> 0

)

select
    granted.name as subject,
    format('has the masked column %s, which %s may read', granted.column_name, pg_get_userbyid(granted.grantee)) as detail,
    case
        when granted.is_of_column
            then format('revoke select (%I) on %s from %I', granted.column_name, granted.name, pg_get_userbyid(granted.grantee))
        else format('revoke select on %s from %I; building it grants the others', granted.name, pg_get_userbyid(granted.grantee))
    end as fix
from granted
where
    exists (
        select
        from readers
        where
            pg_has_role(readers.role_id, 'dpe_masked_reader', 'member')
            and not pg_has_role(readers.role_id, 'dpe_reader', 'member')
            and pg_has_role(readers.role_id, granted.grantee, 'usage')
    )
