-- What was built beside the published version, and what became of it.
create table if not exists dpe.publications (
    publication_id bigint generated always as identity primary key,
    status text not null check (status in ('built', 'refused', 'published', 'undone')),
    selection text not null,
    relations jsonb not null,
    refused_because text,
    actor text not null default current_setting('dpe.actor', true),
    built_at timestamptz not null default clock_timestamp(),
    published_at timestamptz,
    undone_at timestamptz
);

comment on table dpe.publications is 'One row a build of dpe run: what it built, and whether it was published.';
comment on column dpe.publications.status is 'built (not published yet), refused (a rule or a check failed), published or undone.';
comment on column dpe.publications.selection is 'What was selected to be built, in dbt''s syntax; empty for everything.';
comment on column dpe.publications.relations is 'The relations: schema and name as published, and oid.';
comment on column dpe.publications.refused_because is 'The rules, models and checks that failed.';

alter table dpe.publications owner to dpe_owner;
alter table dpe.publications enable row level security, force row level security;
revoke all on dpe.publications from public, dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader;

drop policy if exists admin_in_context on dpe.publications;
create policy admin_in_context on dpe.publications for all to dpe_owner
using ((select dpe.context_is_open())) with check ((select dpe.context_is_open()));
drop policy if exists transformer_in_context on dpe.publications;
create policy transformer_in_context on dpe.publications for all to dpe_transformer
using ((select dpe.context_is_open())) with check ((select dpe.context_is_open()));
drop policy if exists auditor_reads on dpe.publications;
create policy auditor_reads on dpe.publications for select to dpe_auditor using (true);
grant select, insert, update on dpe.publications to dpe_transformer;
grant select on dpe.publications to dpe_auditor;
