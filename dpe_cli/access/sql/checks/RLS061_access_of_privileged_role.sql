-- severity: error
-- title: Access of a role that the access list cannot restrict
-- why: it sees more than the list says, or passes its access on to all of its members
with

listed as (

    select
        pg_roles.rolname,
        dpe.access_obstacle(tenant_access.role_name) as obstacle
    from dpe.tenant_access
    inner join pg_roles on tenant_access.role_name = pg_roles.oid
    -- A run uses dpe_tenant's own entry to show what a tenant sees.
    where not (pg_roles.rolname = 'dpe_tenant' and tenant_access.tenant_id = '*')

)

select
    rolname as subject,
    format('has %s in the access list, and %s', case count(*) when 1 then 'an entry' else count(*) || ' entries' end, obstacle) as detail,
    format('run `dpe access revoke %s` with the tenants that `dpe access list %s` shows', rolname, rolname) as fix
from listed
where obstacle is not null
group by rolname, obstacle
