-- One schema per layer, and one for the ledger. None is open to PUBLIC.
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

-- dbt creates schemas (for tests, or shadow schemas), and temporary tables for incremental models, snapshots and unit tests.
-- An administrator queries what is published through temporary functions of dpe_owner. If the database belongs to dpe_owner, no
-- other roles may create temporary objects in it.
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

-- By default PUBLIC may execute new functions (but not read new tables); not those of dpe's roles.
alter default privileges for role dpe_owner, dpe_loader, dpe_transformer revoke execute on functions from public;
