-- Which roles read a relation: those that its model's meta.readers names for the target. Policies decide which rows each of them sees.
create or replace function dpe.grant_to_readers(relation regclass, readers name[], masked name[])
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    reader name;
    shown text;
begin
    select string_agg(quote_ident(attname), ', ')
    into shown
    from pg_attribute
    where attrelid = relation and attnum > 0 and not attisdropped and attname <> all(masked);
    foreach reader in array readers loop
        perform dpe.require_group_of_readers(reader);
        if masked = '{}' or not pg_has_role(reader, 'dpe_masked_reader', 'member') then
            execute format('grant select on %s to %I', relation, reader);
        else
            -- On the table, which also revokes those on its columns (docs: "REVOKE").
            execute format('revoke all on %s from %I', relation, reader);
            execute format('grant select (%s) on %s to %I', shown, relation, reader);
        end if;
    end loop;
end
$$;

comment on function dpe.grant_to_readers(regclass, name[], name[]) is
'Grants a relation to roles of readers: masked readers get all but the masked columns.';

-- Policies name dpe_reader and dpe_masked_reader, and apply to the roles that inherit from these (docs: "CREATE POLICY").
create or replace function dpe.require_group_of_readers(reader name)
returns void
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    fault text;
    remedy text;
begin
    if to_regrole(quote_ident(reader)) is null then
        fault := 'the role does not exist';
        remedy := format('correct the name, or run "create role %1$I; grant dpe_reader to %1$I" as an administrator', reader);
    elsif exists(
        select
        from pg_roles as privileged
        where
            pg_has_role(reader, privileged.oid, 'member')
            and (
                privileged.rolsuper
                or privileged.rolbypassrls
                or privileged.rolname in ('dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_auditor')
            )
    ) then
        fault := 'the role is not only a reader: policies do not bind it as they bind readers';
        remedy := 'name another one';
    elsif pg_has_role(reader, 'dpe_reader', 'usage') and pg_has_role(reader, 'dpe_masked_reader', 'member') then
        fault := 'the role is both a reader and a masked reader';
        remedy := format('run "revoke dpe_masked_reader from %1$I" or "revoke dpe_reader from %1$I" as an administrator', reader);
    elsif not pg_has_role(reader, 'dpe_reader', 'usage') and not pg_has_role(reader, 'dpe_masked_reader', 'usage') then
        fault := 'the role does not inherit from dpe_reader, so that no policy shows it a row';
        remedy := format('run "grant dpe_reader to %1$I" as an administrator, or "grant dpe_masked_reader to %1$I"', reader);
    end if;
    if fault is not null then
        raise exception '%: %, but meta.readers names it', reader, fault
            using errcode = 'invalid_role_specification', hint = remedy || '.';
    end if;
end
$$;

comment on function dpe.require_group_of_readers(name) is 'Fails unless policies for readers apply to a role, and only these.';

-- Grants are found through the roles that they depend on, which also covers those on columns.
create or replace function dpe.readers_of(relation_id oid)
returns setof name
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select readers.role_name
    from unnest(array['dpe_reader', 'dpe_tenant', 'dpe_masked_reader']::name[]) as readers (role_name)
    where has_any_column_privilege(readers.role_name, readers_of.relation_id, 'select')
    union
    select pg_roles.rolname
    from pg_shdepend
    inner join pg_roles on pg_shdepend.refobjid = pg_roles.oid
    where
        pg_shdepend.dbid = (select pg_database.oid from pg_database where pg_database.datname = current_database())
        and pg_shdepend.classid = 'pg_class'::regclass
        and pg_shdepend.objid = readers_of.relation_id
        and pg_shdepend.refclassid = 'pg_authid'::regclass
        and pg_shdepend.deptype = 'a'
        and (pg_has_role(pg_roles.oid, 'dpe_reader', 'usage') or pg_has_role(pg_roles.oid, 'dpe_masked_reader', 'usage'))
        and not pg_roles.rolsuper
        and has_any_column_privilege(pg_roles.oid, readers_of.relation_id, 'select')
$$;

comment on function dpe.readers_of(oid) is 'The roles of readers that a relation is granted to.';

-- Schemas that the pipeline created for a project: readers may use one once they may read something in it, and so may administrators in
-- a context. Other roles open theirs themselves.
create or replace function dpe.readers_outside(schema_name name, relation_id oid default null)
returns setof name
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select distinct readers.role_name
    from pg_namespace
    inner join pg_class on pg_class.relnamespace = pg_namespace.oid
    cross join lateral (
        select found.role_name
        from dpe.readers_of(pg_class.oid) as found (role_name)
        union all
        select 'dpe_owner'::name
        where has_any_column_privilege('dpe_owner', pg_class.oid, 'select')
    ) as readers
    where
        pg_namespace.nspname = readers_outside.schema_name
        and pg_class.oid = coalesce(readers_outside.relation_id, pg_class.oid)
        and pg_has_role(pg_namespace.nspowner, 'usage')
        and pg_class.relkind in ('r', 'p', 'v')
        and not has_schema_privilege(readers.role_name, pg_namespace.oid, 'usage')
$$;

comment on function dpe.readers_outside(name, oid) is
'The roles that may read a relation in a schema of the pipeline, or something in it if none is given, but not use the schema.';

create or replace function dpe.open_schema(schema_name name, relation_id oid default null)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    reader name;
begin
    if not exists (select from dpe.readers_outside(schema_name, relation_id)) then
        return;
    end if;
    -- Two models that are built at once would change the schema's privileges at the same time, which PostgreSQL refuses.
    perform from dpe_locks.locks where name = 'schemas' for update;
    for reader in select outside.role_name from dpe.readers_outside(schema_name, relation_id) as outside (role_name) order by 1 loop
        execute format('grant usage on schema %I to %I', schema_name, reader);
    end loop;
end
$$;

comment on function dpe.open_schema(name, oid) is
'Lets the roles that may read a relation in a schema of the pipeline, or something in it if none is given, use the schema.';

-- Readers that were granted the use of a schema of the pipeline, and may no longer read anything in it.
create or replace function dpe.readers_left_inside(schema_name name)
returns setof name
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select distinct pg_roles.rolname
    from pg_namespace
    cross join lateral aclexplode(pg_namespace.nspacl) as granted
    inner join pg_roles on granted.grantee = pg_roles.oid
    where
        pg_namespace.nspname = readers_left_inside.schema_name
        and pg_has_role(pg_namespace.nspowner, 'usage')
        and granted.privilege_type = 'USAGE'
        and granted.grantee <> pg_namespace.nspowner
        and not pg_roles.rolsuper
        and (pg_has_role(pg_roles.oid, 'dpe_reader', 'usage') or pg_has_role(pg_roles.oid, 'dpe_masked_reader', 'usage'))
        and not exists (
            select
            from pg_class
            where
                pg_class.relnamespace = pg_namespace.oid
                and pg_class.relkind in ('r', 'p', 'v')
                and has_any_column_privilege(pg_roles.oid, pg_class.oid, 'select')
        )
$$;

comment on function dpe.readers_left_inside(name) is
'The roles of readers that may use a schema of the pipeline, but read nothing in it.';

create or replace function dpe.close_schema(schema_name name)
returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    reader name;
begin
    if not exists (select from dpe.readers_left_inside(schema_name)) then
        return;
    end if;
    -- Whoever opens it at the same time has committed when this has the row.
    perform from dpe_locks.locks where name = 'schemas' for update;
    for reader in select inside.role_name from dpe.readers_left_inside(schema_name) as inside (role_name) order by 1 loop
        execute format('revoke usage on schema %I from %I', schema_name, reader);
    end loop;
end
$$;

comment on function dpe.close_schema(name) is
'Takes the use of a schema of the pipeline from readers that may no longer read anything in it: they could still name what is in it.';
