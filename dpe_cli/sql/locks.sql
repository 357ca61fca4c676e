-- What keeps two runs, two extracts of one source and two bootstraps apart: transactions lock rows of this table (turns.sql made
-- it). Advisory locks would not do, because any login can take any number.
insert into dpe.locks (name)
values ('build'), ('rule results')
on conflict do nothing;

comment on table dpe.locks is
'One row per thing that one session at a time may do. A session that does it holds a lock on the row (for update, for share).';
comment on column dpe.locks.name is
'bootstrap, build, rule results, "extract" and a source, or "writers" and a source. A row without a lock on it means nothing.';

alter table dpe.locks owner to dpe_owner;
alter table dpe.locks enable row level security, force row level security;
revoke all on dpe.locks from public, dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader;

drop policy if exists admin_in_context on dpe.locks;
create policy admin_in_context on dpe.locks for all to dpe_owner
using ((select dpe.context_is_open())) with check ((select dpe.context_is_open()));
drop policy if exists pipeline_in_context on dpe.locks;
create policy pipeline_in_context on dpe.locks for all to dpe_loader, dpe_transformer
using ((select dpe.context_is_open())) with check ((select dpe.context_is_open()));
-- To lock a row takes the right to update it.
grant select, insert, update on dpe.locks to dpe_loader, dpe_transformer;
