-- severity: error
-- title: A relation that another role owns
-- why: its owner can switch row-level security off
select
    name as subject,
    format('belongs to %s, which can switch its row-level security off', owner) as detail,
    format('alter table %s owner to dpe_transformer, and build it with dbt', name) as fix
from managed
where owner not in ('dpe_owner', 'dpe_loader', 'dpe_transformer')
union all
select
    managed_schemas.schema_name as subject,
    format('belongs to %s, which can drop its relations', pg_get_userbyid(pg_namespace.nspowner)) as detail,
    format('alter schema %I owner to dpe_owner', managed_schemas.schema_name) as fix
from managed_schemas
inner join pg_namespace on managed_schemas.schema_name = pg_namespace.nspname
where pg_get_userbyid(pg_namespace.nspowner) not in ('dpe_owner', 'dpe_loader', 'dpe_transformer')
