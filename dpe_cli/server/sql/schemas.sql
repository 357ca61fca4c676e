-- The ledger's schema, which is not open to PUBLIC. All other schemas come from the project: the loader creates those of its sources, dbt
-- those of its models and tests. Schemas that an earlier version created keep their owner and their privileges.
create schema if not exists dpe;
alter schema dpe owner to dpe_owner;
revoke all on schema dpe from public;
grant usage on schema dpe to dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader;

-- The loader creates the schemas of sources. dbt creates schemas, and temporary tables for incremental models, snapshots and unit tests.
-- An administrator queries what is published through temporary functions of dpe_owner. If the database belongs to dpe_owner, no
-- other roles may create temporary objects in it.
do $$
begin
    execute format('grant create, temporary on database %I to dpe_loader, dpe_transformer', current_database());
    execute format('grant temporary on database %I to dpe_owner', current_database());
    if exists (
        select
        from pg_database
        where datname = current_database() and datdba = 'dpe_owner'::regrole
    ) then
        execute format('revoke temporary on database %I from public', current_database());
    end if;
end
$$;

-- By default PUBLIC may execute new functions (but not read new tables); not those of dpe's roles.
alter default privileges for role dpe_owner, dpe_loader, dpe_transformer revoke execute on functions from public;
