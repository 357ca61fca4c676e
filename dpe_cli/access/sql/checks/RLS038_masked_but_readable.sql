-- severity: error
-- title: A masked column that can be read
-- why: masked readers could read the values
with

granted as (

    select
        masked_columns.name,
        masked_columns.column_name,
        of_table.grantee,
        false as is_of_column
    from masked_columns
    inner join managed on masked_columns.relation_id = managed.relation_id
    cross join lateral aclexplode(managed.acl) as of_table
    where of_table.privilege_type = 'SELECT' and of_table.grantee not in (0, managed.owner_id)
    union
    select
        masked_columns.name,
        masked_columns.column_name,
        of_column.grantee,
        true as is_of_column
    from masked_columns
    inner join pg_attribute on masked_columns.relation_id = pg_attribute.attrelid and masked_columns.column_name = pg_attribute.attname
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
