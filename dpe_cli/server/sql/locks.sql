-- Two runs, two extracts of one source and two bootstraps exclude each other by locking rows of this table (created in turns.sql).
-- Advisory locks would not do, because any login can take any number.
insert into dpe_locks.locks (name)
values ('schemas')
on conflict do nothing;

comment on table dpe_locks.locks is
'One row per operation that one session at a time may do. The session that does it locks the row (for update, for share).';
comment on column dpe_locks.locks.name is
'bootstrap, schemas, "build" and a schema, "extract" or "writers" and a staging table, or "rule results" with a project and its target. '
'A row without a lock on it means nothing.';

alter schema dpe_locks owner to dpe_owner;
revoke all on schema dpe_locks from public, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader cascade;
grant usage on schema dpe_locks to dpe_loader, dpe_transformer;
alter table dpe_locks.locks owner to dpe_owner;
alter table dpe_locks.locks enable row level security, force row level security;
revoke all on dpe_locks.locks from public, dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader cascade;

drop policy if exists admin_in_context on dpe_locks.locks;
create policy admin_in_context on dpe_locks.locks for all to dpe_owner
using ((select dpe.context_is_open())) with check ((select dpe.context_is_open()));
-- Locking a row requires the right to update it, but no row may change: a renamed row would leave later runs without their lock.
drop policy if exists pipeline_in_context on dpe_locks.locks;
drop policy if exists pipeline_reads on dpe_locks.locks;
create policy pipeline_reads on dpe_locks.locks for select to dpe_loader, dpe_transformer
using ((select dpe.context_is_open()));
drop policy if exists pipeline_adds on dpe_locks.locks;
create policy pipeline_adds on dpe_locks.locks for insert to dpe_loader, dpe_transformer
with check ((select dpe.context_is_open()));
drop policy if exists pipeline_locks on dpe_locks.locks;
create policy pipeline_locks on dpe_locks.locks for update to dpe_loader, dpe_transformer
using ((select dpe.context_is_open())) with check (false);
grant select, insert, update on dpe_locks.locks to dpe_loader, dpe_transformer;
