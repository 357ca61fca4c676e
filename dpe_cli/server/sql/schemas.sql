-- One schema a layer, and one for the ledger. Nothing here is open to PUBLIC.
create schema if not exists dpe;
create schema if not exists staging;
create schema if not exists intermediate;
create schema if not exists marts;
create schema if not exists quality;

alter schema dpe owner to dpe_owner;
alter schema staging owner to dpe_owner;
alter schema intermediate owner to dpe_owner;
alter schema marts owner to dpe_owner;
alter schema quality owner to dpe_owner;

revoke all on schema dpe, staging, intermediate, marts, quality from public;
grant usage on schema dpe to dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader;
grant usage, create on schema staging to dpe_loader, dpe_transformer;
grant usage, create on schema intermediate, marts, quality to dpe_transformer;
grant usage on schema marts to dpe_reader, dpe_tenant, dpe_masked_reader;

-- dbt creates the schemas it is asked for (a test's, a shadow schema), and temporary tables for incremental models, snapshots and
-- unit tests. An administrator asks what is published through temporary functions of dpe_owner. Where the database is dpe's own,
-- others make no temporary objects in it.
do $$
begin
    execute format('grant create, temporary on database %I to dpe_transformer', current_database());
    execute format('grant temporary on database %I to dpe_loader, dpe_owner', current_database());
    if exists (
        select
        from pg_database
        where datname = current_database() and datdba = 'dpe_owner'::regrole
    ) then
        execute format('revoke temporary on database %I from public', current_database());
    end if;
end
$$;

-- Tables are nobody else's by default, but functions are everybody's: not those of dpe's roles.
alter default privileges for role dpe_owner, dpe_loader, dpe_transformer revoke execute on functions from public;
