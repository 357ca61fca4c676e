-- What was built in shadow schemas, and what became of it.
create table if not exists dpe.publications (
    publication_id bigint generated always as identity primary key,
    status text not null check (status in ('built', 'refused', 'published', 'undone')),
    selection text not null,
    relations jsonb not null,
    refused_because text,
    actor text not null default current_setting('dpe.actor', true),
    built_at timestamptz not null default clock_timestamp(),
    published_at timestamptz,
    undone_at timestamptz,
    project text not null default dpe.own_project(),
    target text not null default dpe.own_target()
);

alter table dpe.publications add column if not exists replaced jsonb;

comment on table dpe.publications is 'One row per build of dpe run: what it built, and whether it was published.';
comment on column dpe.publications.status is 'built (not published yet), refused (a rule or a check failed), published or undone.';
comment on column dpe.publications.project is 'The dbt project that was built.';
comment on column dpe.publications.target is 'The target of the project that it was built for.';
comment on column dpe.publications.selection is 'What was selected to build, in dbt''s syntax; empty for everything.';
comment on column dpe.publications.relations is 'The relations: schema and name as published, and oid.';
comment on column dpe.publications.replaced is
'The relations that it replaced, in the same form: an undo restores exactly these. Null until it is published.';
comment on column dpe.publications.refused_because is 'The rules, models and checks that failed.';

alter table dpe.publications owner to dpe_owner;
alter table dpe.publications enable row level security, force row level security;
revoke all on dpe.publications from public, dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader cascade;

drop policy if exists admin_in_context on dpe.publications;
create policy admin_in_context on dpe.publications for all to dpe_owner
using ((select dpe.context_is_open())) with check ((select dpe.context_is_open()));
drop policy if exists transformer_in_context on dpe.publications;
create policy transformer_in_context on dpe.publications for all to dpe_transformer
using ((select dpe.context_is_open()) and project = (select dpe.own_project()) and target = (select dpe.own_target()))
with check ((select dpe.context_is_open()) and project = (select dpe.own_project()) and target = (select dpe.own_target()));
drop policy if exists auditor_reads on dpe.publications;
create policy auditor_reads on dpe.publications for select to dpe_auditor using (true);
-- Not publication_id, which identifies the newest, nor what was built. The session's settings give project and target.
grant select, insert (status, selection, relations, refused_because), update (status, refused_because, replaced, published_at, undone_at)
on dpe.publications to dpe_transformer;
grant select on dpe.publications to dpe_auditor;

-- The schemas of each project: for `dpe rls check`, what another project publishes is not a stray copy of this project's rows. The loader
-- records them, because hooks and Jinja of models act as dpe_transformer, and could declare a schema of their own to be another project's.
do $$
begin
    if to_regclass('dpe.project_schemas') is not null then
        return;
    end if;
    create table dpe.project_schemas (
        schema_name text,
        project text default dpe.own_project(),
        target text default dpe.own_target(),
        primary key (schema_name, project, target)
    );
    insert into dpe.project_schemas (schema_name, project, target)
    select distinct
        relation ->> 'schema',
        publications.project,
        publications.target
    from dpe.publications
    cross join lateral jsonb_array_elements(publications.relations) as relation;
end
$$;

comment on table dpe.project_schemas is 'The schemas that each project and target loads into and publishes in.';

alter table dpe.project_schemas owner to dpe_owner;
alter table dpe.project_schemas enable row level security, force row level security;
revoke all on dpe.project_schemas from public, dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader cascade;

drop policy if exists admin_in_context on dpe.project_schemas;
create policy admin_in_context on dpe.project_schemas for all to dpe_owner
using ((select dpe.context_is_open())) with check ((select dpe.context_is_open()));
drop policy if exists loader_adds_in_context on dpe.project_schemas;
create policy loader_adds_in_context on dpe.project_schemas for insert to dpe_loader
with check ((select dpe.context_is_open()) and project = (select dpe.own_project()) and target = (select dpe.own_target()));
drop policy if exists loader_deletes_in_context on dpe.project_schemas;
create policy loader_deletes_in_context on dpe.project_schemas for delete to dpe_loader
using ((select dpe.context_is_open()) and project = (select dpe.own_project()) and target = (select dpe.own_target()));
drop policy if exists pipeline_reads_in_context on dpe.project_schemas;
create policy pipeline_reads_in_context on dpe.project_schemas for select to dpe_loader, dpe_transformer
using ((select dpe.context_is_open()));
drop policy if exists auditor_reads on dpe.project_schemas;
create policy auditor_reads on dpe.project_schemas for select to dpe_auditor using (true);
grant select, insert, delete on dpe.project_schemas to dpe_loader;
grant select on dpe.project_schemas to dpe_transformer, dpe_auditor;

-- Hooks and Jinja of models act as dpe_transformer, like dpe itself: a refused build stays refused, and cannot be recorded again as built.
create or replace function dpe.refuse_rewriting_of_publications()
returns trigger
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    is_allowed boolean;
begin
    -- Without a context, the policy refuses it.
    if not dpe.context_is_open() then
        return new;
    end if;
    if tg_op = 'INSERT' then
        is_allowed := new.status = 'refused' or new.status = 'built' and new.refused_because is null and not exists (
            select
            from dpe.publications as earlier
            cross join lateral jsonb_array_elements(earlier.relations) as refused (relation)
            cross join lateral jsonb_array_elements(new.relations) as built (relation)
            where earlier.status = 'refused' and refused.relation ->> 'oid' = built.relation ->> 'oid'
        );
    else
        is_allowed := case old.status || ' ' || new.status
            when 'built published'
                then new.published_at is not null and new.replaced is not null and new.undone_at is null and new.refused_because is null
            when 'published undone'
                then
                    new.undone_at is not null
                    and (new.published_at, new.replaced, new.refused_because)
                    is not distinct from (old.published_at, old.replaced, old.refused_because)
            else false
        end;
    end if;
    if not is_allowed then
        raise exception 'publication %: a % build cannot become %', new.publication_id, coalesce(old.status, 'refused'), new.status
            using errcode = 'insufficient_privilege',
            hint = 'Leave the rows of dpe.publications to dpe; `dpe run` builds again.';
    end if;
    return new;
end
$$;

comment on function dpe.refuse_rewriting_of_publications() is
'Prevents a refused build from becoming publishable, and a published one from being changed.';

do $$
begin
    if not exists (
        select
        from pg_trigger
        where tgrelid = 'dpe.publications'::regclass and tgname = 'refuse_rewriting'
    ) then
        create trigger refuse_rewriting
        before insert or update on dpe.publications
        for each row
        when (current_user = 'dpe_transformer')
        execute function dpe.refuse_rewriting_of_publications();
    end if;
end
$$;
