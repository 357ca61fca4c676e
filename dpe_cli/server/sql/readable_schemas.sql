-- Schemas that the pipeline created for a project: readers may use one once they may read something in it, and so may administrators in
-- a context. Other roles open theirs themselves.
create or replace function dpe.readers_outside(schema_name name)
returns setof name
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select distinct readers.role_name
    from pg_namespace
    inner join pg_class on pg_class.relnamespace = pg_namespace.oid
    cross join unnest(array['dpe_owner', 'dpe_reader', 'dpe_tenant', 'dpe_masked_reader']::name[]) as readers (role_name)
    where
        pg_namespace.nspname = readers_outside.schema_name
        and pg_has_role(pg_namespace.nspowner, 'usage')
        and not has_schema_privilege(readers.role_name, pg_namespace.oid, 'usage')
        and pg_class.relkind in ('r', 'p', 'v')
        and has_any_column_privilege(readers.role_name, pg_class.oid, 'select')
$$;

comment on function dpe.readers_outside(name) is 'The roles that may read something in a schema of the pipeline, but not use the schema.';

create or replace function dpe.open_schema(schema_name name)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    reader name;
begin
    if not exists (select from dpe.readers_outside(schema_name)) then
        return;
    end if;
    -- Two models that are built at once would change the schema's privileges at the same time, which PostgreSQL refuses.
    perform from dpe_locks.locks where name = 'schemas' for update;
    for reader in select outside.role_name from dpe.readers_outside(schema_name) as outside (role_name) order by 1 loop
        execute format('grant usage on schema %I to %I', schema_name, reader);
    end loop;
end
$$;

comment on function dpe.open_schema(name) is 'Lets the roles that may read something in a schema of the pipeline use the schema.';
