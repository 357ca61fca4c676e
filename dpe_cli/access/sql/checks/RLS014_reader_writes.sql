-- severity: error
-- title: A reader, or another role, may do more than read
-- why: TRUNCATE and REFERENCES ignore policies, a writer can move rows to other tenants, and writing one column is enough to fire a trigger
with

more as (

    select
        privileges.*,
        managed.name,
        pg_get_userbyid(privileges.grantee)::text as grantee_name,
        case when privileges.column_name is null then '' else format(' (%s)', quote_ident(privileges.column_name)) end as place
    from privileges
    inner join managed on privileges.relation_id = managed.relation_id
    where
        privileges.grantee in (select readers.role_id from readers)
        -- Others may be allowed to vacuum and analyze.
        or privileges.privilege_type <> 'MAINTAIN'
        and privileges.grantee <> 0
        and privileges.grantee not in (select privileged.role_id from privileged)

)

select
    name as subject,
    format(
        'lets %s %s',
        grantee_name,
        string_agg(lower(privilege_type) || place, ', ' order by privilege_type, column_name)
    ) as detail,
    format('revoke %s on %s from %I', string_agg(distinct lower(privilege_type), ', '), name, grantee_name) as fix
from more
where privilege_type <> 'SELECT'
group by name, grantee_name
union all
select distinct
    name as subject,
    format('lets %s grant other roles the right to read it', grantee_name) as detail,
    format('revoke grant option for select%s on %s from %I cascade', place, name, grantee_name) as fix
from more
where privilege_type = 'SELECT' and is_grantable and grantee in (select readers.role_id from readers)
