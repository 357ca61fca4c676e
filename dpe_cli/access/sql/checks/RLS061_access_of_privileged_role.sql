-- severity: error
-- title: Access of a role for which the access list cannot hold
-- why: it sees more than the list says, or lends its access to all who are granted it
with

listed as (

    select
        pg_roles.rolname,
        dpe.access_obstacle(tenant_access.role_name) as obstacle
    from dpe.tenant_access
    inner join pg_roles on tenant_access.role_name = pg_roles.oid
    -- dpe_tenant's own entry is how a run shows what a tenant sees.
    where not (pg_roles.rolname = 'dpe_tenant' and tenant_access.tenant_id = '*')

)

select
    rolname as subject,
    format('has %s in the access list, and %s', case count(*) when 1 then 'an entry' else count(*) || ' entries' end, obstacle) as detail,
    format('run `dpe access revoke %s` with the tenants that `dpe access list %s` shows', rolname, rolname) as fix
from listed
where obstacle is not null
group by rolname, obstacle
