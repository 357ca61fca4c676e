-- The ledger: what was extracted, from where, with which counts, and what was rejected.
create sequence if not exists dpe.extract_id;
create sequence if not exists dpe.load_id;

create table if not exists dpe.extracts (
    extract_id bigint primary key default nextval('dpe.extract_id'),
    source text not null,
    spec text,
    status text not null default 'running' check (status in ('running', 'succeeded', 'failed', 'undone')),
    records_read bigint not null default 0,
    rows_loaded bigint not null default 0,
    rows_rejected bigint not null default 0,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    error text,
    disposition text not null check (disposition in ('append', 'replace')),
    tenant_id text,
    actor text not null default current_setting('dpe.actor', true),
    bytes_read bigint not null default 0,
    project text not null default dpe.own_project(),
    relation text not null,
    check (status <> 'succeeded' or records_read = rows_loaded + rows_rejected)
);

drop index if exists dpe.extracts_source_index;
create index if not exists extracts_relation_index on dpe.extracts (project, relation, extract_id);

create table if not exists dpe.loads (
    load_id bigint primary key default nextval('dpe.load_id'),
    extract_id bigint not null references dpe.extracts (extract_id),
    source text not null,
    location text not null,
    content_hash text,
    size_bytes bigint,
    records_read bigint not null,
    rows_loaded bigint not null,
    rows_rejected bigint not null,
    loaded_at timestamptz not null default clock_timestamp(),
    removed_at timestamptz,
    project text not null default dpe.own_project(),
    relation text not null,
    check (records_read = rows_loaded + rows_rejected)
);

-- A file's content is loaded only once as long as its rows are in staging.
drop index if exists dpe.loads_content_index;
create index if not exists loads_relation_index on dpe.loads (project, relation, content_hash) where removed_at is null;
create index if not exists loads_extract_index on dpe.loads (extract_id);

create table if not exists dpe.rejects (
    reject_id bigint generated always as identity primary key,
    load_id bigint not null references dpe.loads (load_id),
    source text not null,
    position bigint not null,
    column_name text,
    sqlstate text not null,
    reason text not null,
    raw text not null,
    raw_bytes bytea,
    rejected_at timestamptz not null default clock_timestamp(),
    project text not null default dpe.own_project(),
    relation text not null
);

create index if not exists rejects_load_index on dpe.rejects (load_id, position);

-- Added to existing ledgers: where the next extract of an API, a database or a tap resumes.
alter table dpe.extracts add column if not exists cursor_value text;
-- Without a default, with which PostgreSQL refuses to add a column while another table, even a reader's, has a column of this row type.
do $$
begin
    if not exists (
        select
        from pg_attribute
        where attrelid = 'dpe.loads'::regclass and attname = 'records_repeated' and not attisdropped
    ) then
        alter table dpe.loads add column records_repeated bigint;
        update dpe.loads set records_repeated = 0;
        alter table dpe.loads alter column records_repeated set default 0, alter column records_repeated set not null;
    end if;
end
$$;
-- And the version that an object store gave a file, by which it is recognised without being read.
alter table dpe.loads add column if not exists version text;
-- And the columns of the contract that a delivery did not have.
alter table dpe.loads add column if not exists columns_missing text[];

-- A corrected reject names the load that replayed it.
alter table dpe.rejects add column if not exists replayed_load_id bigint references dpe.loads (load_id);
create index if not exists rejects_replayed_index on dpe.rejects (replayed_load_id) where replayed_load_id is not null;

-- The first rejects of a delivery that was refused have no load, so that no count of loads includes them.
alter table dpe.rejects alter column load_id drop not null;
alter table dpe.rejects add column if not exists refused_extract_id bigint references dpe.extracts (extract_id);
alter table dpe.rejects add column if not exists refused_location text;
alter table dpe.rejects drop constraint if exists rejects_load_or_refused_extract;
alter table dpe.rejects add constraint rejects_load_or_refused_extract check (num_nonnulls(load_id, refused_extract_id) = 1);
create index if not exists rejects_refused_index on dpe.rejects (refused_extract_id) where refused_extract_id is not null;

-- Two projects must not load one table: each would take the other's rows for ones that are not in the ledger. Both have to see which one it
-- belongs to.
create table if not exists dpe.staged_relations (
    relation text primary key,
    project text not null default dpe.own_project()
);

insert into dpe.staged_relations (relation, project)
select
    relation,
    project
from dpe.extracts
on conflict do nothing;

comment on table dpe.staged_relations is 'Which project loads each staging table.';
comment on column dpe.staged_relations.relation is 'Its schema and name.';
comment on table dpe.extracts is 'One row per extraction of a source. records_read = rows_loaded + rows_rejected when it succeeded.';
comment on column dpe.extracts.source is 'dbt''s source_name.table_name, for people; `relation` identifies the source.';
comment on column dpe.extracts.project is 'The dbt project that it belongs to.';
comment on column dpe.extracts.relation is
'The staging table: its schema and name. Targets of a project that load the same table share it.';
comment on column dpe.extracts.spec is 'The ticket of the spec that requires the source.';
comment on column dpe.extracts.status is 'running, succeeded, failed (none of its rows are visible) or undone.';
comment on column dpe.extracts.tenant_id is 'The only tenant that the extract was for; null for all.';
comment on column dpe.extracts.cursor_value is
'How far an incremental source was read, committed with the rows. The newest succeeded extract''s value is used.';
comment on column dpe.loads.records_repeated is
'Records that were delivered again within the overlap and already were in staging; records_read does not include them.';
comment on column dpe.loads.version is 'The version that the file''s store reports for it (an ETag); null if it reports none.';
comment on column dpe.loads.columns_missing is
'The columns of the contract that no record of it had, and that were loaded as null or as their default; null if it had them all.';
comment on table dpe.loads is
'One row per file, or per part of an API''s or a database''s records, that a succeeded extract loaded. '
'Staging rows carry its load_id in _load_id.';
comment on column dpe.loads.location is 'The file, relative to the project if it is inside it; member of a zip file after "!".';
comment on column dpe.loads.content_hash is 'SHA-256 (hexadecimal) of the file as delivered, before decompression.';
comment on column dpe.loads.size_bytes is 'Size of the file as delivered, in bytes.';
comment on column dpe.loads.removed_at is 'When its rows left staging (undone, replaced or reloaded); null while they are in it.';
comment on table dpe.rejects is
'One row per record that could not be loaded, as it was delivered. Of a refused delivery only the first are kept, until the next extract '
'of its source.';
comment on column dpe.rejects.load_id is 'The load that it came with; null if the whole delivery was refused.';
comment on column dpe.rejects.refused_extract_id is 'The extract that was refused; null if the rest of the delivery was loaded.';
comment on column dpe.rejects.refused_location is 'The file of a refused delivery, which has no load.';
comment on column dpe.rejects.position is 'Line of the file on which the record starts, counted from 1.';
comment on column dpe.rejects.raw is 'The record as delivered; bytes that are not valid text are shown as \xNN, and are kept in raw_bytes.';
comment on column dpe.rejects.replayed_load_id is
'The load that contains the corrected record; the reject counts as replayed while that load''s rows are in staging.';
comment on column dpe.rejects.raw_bytes is 'The record''s bytes if raw cannot hold them; otherwise null.';

-- Row-level security for the ledger itself: pipeline roles in an open context, for their project; auditors always; no other roles.
do $$
declare
    ledger_table text;
    is_own constant text := '(select dpe.context_is_open()) and project = (select dpe.own_project())';
begin
    foreach ledger_table in array array['extracts', 'loads', 'rejects', 'staged_relations', 'tenant_access'] loop
        execute format('alter table dpe.%I owner to dpe_owner', ledger_table);
        execute format('alter table dpe.%I enable row level security', ledger_table);
        execute format('alter table dpe.%I force row level security', ledger_table);
        execute format('revoke all on dpe.%I from public, dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader cascade', ledger_table);

        execute format('drop policy if exists admin_in_context on dpe.%I', ledger_table);
        execute format(
            'create policy admin_in_context on dpe.%I for all to dpe_owner using ((select dpe.context_is_open())) with check ((select dpe.context_is_open()))',
            ledger_table
        );
        execute format('drop policy if exists auditor_reads on dpe.%I', ledger_table);
        execute format('create policy auditor_reads on dpe.%I for select to dpe_auditor using (true)', ledger_table);
        execute format('grant select on dpe.%I to dpe_auditor', ledger_table);

        if ledger_table in ('extracts', 'loads', 'rejects') then
            execute format('drop policy if exists loader_in_context on dpe.%I', ledger_table);
            execute format(
                'create policy loader_in_context on dpe.%1$I for all to dpe_loader using (%2$s) with check (%2$s)', ledger_table, is_own
            );
            execute format('grant select, insert, update on dpe.%I to dpe_loader', ledger_table);
            -- A reject that was delivered again is deleted.
            if ledger_table = 'rejects' then
                execute format('grant delete on dpe.%I to dpe_loader', ledger_table);
            end if;
        end if;

        if ledger_table in ('extracts', 'loads') then
            execute format('drop policy if exists transformer_reads_in_context on dpe.%I', ledger_table);
            execute format(
                'create policy transformer_reads_in_context on dpe.%I for select to dpe_transformer using (%s)', ledger_table, is_own
            );
            execute format('grant select on dpe.%I to dpe_transformer', ledger_table);
        end if;
    end loop;
end
$$;

-- Any project sees which ones load what, and claims a table for itself.
drop policy if exists pipeline_reads_in_context on dpe.staged_relations;
create policy pipeline_reads_in_context on dpe.staged_relations for select to dpe_loader, dpe_transformer
using ((select dpe.context_is_open()));
drop policy if exists loader_claims_in_context on dpe.staged_relations;
create policy loader_claims_in_context on dpe.staged_relations for insert to dpe_loader
with check ((select dpe.context_is_open()) and project = (select dpe.own_project()));
drop policy if exists loader_takes_over_in_context on dpe.staged_relations;
create policy loader_takes_over_in_context on dpe.staged_relations for update to dpe_loader
using ((select dpe.context_is_open())) with check ((select dpe.context_is_open()) and project = (select dpe.own_project()));
grant select, insert, update on dpe.staged_relations to dpe_loader;
grant select on dpe.staged_relations to dpe_transformer;

-- visible_tenants() reads the access list with the caller's rights: each role sees only its own entries.
drop policy if exists own_entries on dpe.tenant_access;
create policy own_entries on dpe.tenant_access for select
to dpe_reader, dpe_masked_reader, dpe_tenant, dpe_loader, dpe_transformer
-- Not in a sub-select, which takes longer to start than searching the key: visible_tenants() does so in each query.
using (role_name = to_regrole(quote_ident(current_user)));
-- For `dpe rls check`, the pipeline sees the entries that should not exist, and no others.
drop policy if exists obstacles_in_context on dpe.tenant_access;
create policy obstacles_in_context on dpe.tenant_access for select to dpe_transformer
using ((select dpe.context_is_open()) and (select dpe.access_obstacle(role_name)) is not null);
grant select on dpe.tenant_access to dpe_reader, dpe_masked_reader, dpe_tenant, dpe_loader, dpe_transformer;

alter sequence dpe.extract_id owner to dpe_owner;
alter sequence dpe.load_id owner to dpe_owner;
grant usage on sequence dpe.extract_id, dpe.load_id to dpe_loader;
