-- The ledger's schema, which is not open to PUBLIC. All other schemas come from the project: the loader creates those of its sources, dbt
-- those of its models and tests. Schemas that an earlier version created keep their owner and their privileges.
create schema if not exists dpe;
alter schema dpe owner to dpe_owner;
revoke all on schema dpe from public;
grant usage on schema dpe to dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader;

-- The loader creates the schemas of sources. dbt creates schemas, and temporary tables for incremental models, snapshots and unit tests.
-- An administrator queries what is published through temporary functions of dpe_owner. If the database belongs to dpe_owner, no
-- other roles may create temporary objects in it.
--
-- Only what differs is changed: no event trigger sees a GRANT on a database, and one of any login, which changes nothing but writes the
-- database's row, would make this fail as often as the login repeats it (refusals.sql).
do $$
declare
    privileges constant aclitem[] := (
        select coalesce(datacl, acldefault('d', datdba)) from pg_database where datname = current_database()
    );
    wanted record;
begin
    for wanted in
        select *
        from (
            values
                ('dpe_loader', 'create'),
                ('dpe_loader', 'temporary'),
                ('dpe_transformer', 'create'),
                ('dpe_transformer', 'temporary'),
                ('dpe_owner', 'temporary')
        ) as needed (role_name, privilege)
        where not exists (
            select
            from aclexplode(privileges) as granted
            where granted.grantee = to_regrole(needed.role_name) and lower(granted.privilege_type) = needed.privilege
        )
    loop
        execute format('grant %s on database %I to %I', wanted.privilege, current_database(), wanted.role_name);
    end loop;
    if exists (
        select
        from pg_database
        where datname = current_database() and datdba = 'dpe_owner'::regrole
    ) and exists (
        select
        from aclexplode(privileges) as granted
        where granted.grantee = 0 and granted.privilege_type = 'TEMPORARY'
    ) then
        execute format('revoke temporary on database %I from public', current_database());
    end if;
end
$$;

-- By default PUBLIC may execute new functions (but not read new tables); not those of dpe's roles.
alter default privileges for role dpe_owner, dpe_loader, dpe_transformer revoke execute on functions from public;
