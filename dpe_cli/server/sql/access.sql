-- Who changed the access list, how and when, including changes made without dpe.
create table if not exists dpe.access_changes (
    change_id bigint generated always as identity primary key,
    changed_at timestamptz not null default clock_timestamp(),
    changed_by name not null default session_user,
    actor text not null,
    change text not null check (change in ('granted', 'changed', 'revoked')),
    role_name name not null,
    tenant_id text not null,
    valid_until timestamptz
);

-- Added to existing tables.
alter table dpe.access_changes add column if not exists role_id oid;

comment on table dpe.access_changes is 'One row per change of dpe.tenant_access.';
comment on column dpe.access_changes.changed_by is 'The login that changed it.';
comment on column dpe.access_changes.actor is 'The actor of the context; empty outside of one.';
comment on column dpe.access_changes.role_name is 'The role''s name at that time.';
comment on column dpe.access_changes.role_id is
'The role''s oid on that server, which tells apart roles that had the same name at different times.';
comment on column dpe.access_changes.valid_until is
'When the entry expires after the change; for a revoked entry, when it would have expired.';

-- A role's name; for a dropped role its name when its access was last changed, or else its oid.
create or replace function dpe.recorded_name(role_id oid)
returns text
language sql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(
        (
            select pg_roles.rolname::text
            from pg_roles
            where pg_roles.oid = recorded_name.role_id
        ),
        (
            select access_changes.role_name::text
            from dpe.access_changes
            where access_changes.role_id = recorded_name.role_id
            order by access_changes.change_id desc
            limit 1
        ),
        recorded_name.role_id::text
    )
$$;

create or replace function dpe.record_access_change()
returns trigger
language plpgsql
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    who text := coalesce(dpe.actor(), '');
begin
    if tg_op = 'UPDATE' and (old.role_name, old.tenant_id) = (new.role_name, new.tenant_id) then
        insert into dpe.access_changes (actor, change, role_name, role_id, tenant_id, valid_until)
        values (who, 'changed', dpe.recorded_name(new.role_name), new.role_name, new.tenant_id, new.valid_until);
        return null;
    end if;
    if tg_op in ('UPDATE', 'DELETE') then
        insert into dpe.access_changes (actor, change, role_name, role_id, tenant_id, valid_until)
        values (who, 'revoked', dpe.recorded_name(old.role_name), old.role_name, old.tenant_id, old.valid_until);
    end if;
    if tg_op in ('UPDATE', 'INSERT') then
        insert into dpe.access_changes (actor, change, role_name, role_id, tenant_id, valid_until)
        values (who, 'granted', dpe.recorded_name(new.role_name), new.role_name, new.tenant_id, new.valid_until);
    end if;
    return null;
end
$$;

-- Migrate a list that was kept by name. Entries whose role exists are kept, and each is recorded as a change, with the role's oid.
-- Entries of dropped roles are recorded as revoked. This comes before the trigger is created, which would record 'granted'.
do $$
begin
    if to_regclass('dpe.tenant_access_by_name') is null then
        return;
    end if;
    with

    taken_over as (

        insert into dpe.tenant_access (role_name, tenant_id, valid_until)
        select to_regrole(quote_ident(role_name)), tenant_id, valid_until
        from dpe.tenant_access_by_name
        where to_regrole(quote_ident(role_name)) is not null
        on conflict (role_name, tenant_id) do update set valid_until = excluded.valid_until
        returning role_name, tenant_id, valid_until

    )

    insert into dpe.access_changes (actor, change, role_name, role_id, tenant_id, valid_until)
    select coalesce(dpe.actor(), ''), 'changed', dpe.recorded_name(role_name), role_name, tenant_id, valid_until
    from taken_over;
    insert into dpe.access_changes (actor, change, role_name, tenant_id, valid_until)
    select coalesce(dpe.actor(), ''), 'revoked', role_name, tenant_id, valid_until
    from dpe.tenant_access_by_name
    where to_regrole(quote_ident(role_name)) is null;
    begin
        drop table dpe.tenant_access_by_name;
    exception
        when dependent_objects_still_exist then
            -- A reader's view depends on it; that view is empty from now on. The next bootstrap tries again.
            drop trigger if exists record_access_change on dpe.tenant_access_by_name;
            drop trigger if exists refuse_truncate on dpe.tenant_access_by_name;
            drop policy if exists own_entries on dpe.tenant_access_by_name;
            drop policy if exists auditor_reads on dpe.tenant_access_by_name;
            truncate dpe.tenant_access_by_name;
            revoke all on dpe.tenant_access_by_name
            from public, dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader cascade;
            comment on table dpe.tenant_access_by_name is
            'The former access list, replaced by dpe.tenant_access. Empty; dropped once no view reads it.';
    end;
end
$$;

create or replace trigger record_access_change
after insert or update or delete on dpe.tenant_access
for each row execute function dpe.record_access_change();

-- Truncating would leave no record.
create or replace function dpe.refuse_truncate()
returns trigger
language plpgsql
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception '%.%: cannot be truncated, because each change is recorded', tg_table_schema, tg_table_name
        using hint = 'Delete its rows, or run `dpe access revoke`.', errcode = 'insufficient_privilege';
end
$$;

create or replace trigger refuse_truncate
before truncate on dpe.tenant_access
for each statement execute function dpe.refuse_truncate();

create or replace trigger refuse_truncate
before truncate on dpe.access_changes
for each statement execute function dpe.refuse_truncate();

-- Rows are added and read, never changed: no policy allows it.
alter function dpe.recorded_name(oid) owner to dpe_owner;
alter function dpe.record_access_change() owner to dpe_owner;
alter function dpe.refuse_truncate() owner to dpe_owner;
revoke all on function dpe.recorded_name(oid) from public;
revoke all on function dpe.record_access_change() from public;
revoke all on function dpe.refuse_truncate() from public;
alter table dpe.access_changes owner to dpe_owner;
alter table dpe.access_changes enable row level security;
alter table dpe.access_changes force row level security;
revoke all on dpe.access_changes from public, dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader cascade;

drop policy if exists admin_reads_in_context on dpe.access_changes;
create policy admin_reads_in_context on dpe.access_changes for select to dpe_owner
using ((select dpe.context_is_open()));
drop policy if exists admin_adds_in_context on dpe.access_changes;
create policy admin_adds_in_context on dpe.access_changes for insert to dpe_owner
with check ((select dpe.context_is_open()));
drop policy if exists auditor_reads on dpe.access_changes;
create policy auditor_reads on dpe.access_changes for select to dpe_auditor using (true);
grant select on dpe.access_changes to dpe_auditor;
