-- What `dpe run --notify` decided after each run, which tells the next run whether this one failed.
create table if not exists dpe.notifications (
    notification_id bigint generated always as identity primary key,
    pipeline text not null,
    has_failed boolean not null,
    event text check (event in ('failure', 'recovery')),
    is_delivered boolean,
    finished_at timestamptz not null default clock_timestamp(),
    project text not null default dpe.own_project(),
    target text not null default dpe.own_target(),
    check ((event is null) = (is_delivered is null)),
    check (not has_failed or event = 'failure')
);

drop index if exists dpe.notifications_pipeline_index;
create index if not exists notifications_project_index on dpe.notifications (project, target, pipeline, notification_id);

comment on table dpe.notifications is 'One row per run with --notify. The webhook''s address is a secret and is not stored.';
comment on column dpe.notifications.pipeline is 'What was run: its selection, or everything.';
comment on column dpe.notifications.project is 'The dbt project that was run.';
comment on column dpe.notifications.target is 'The target of the project that it was run for.';
comment on column dpe.notifications.event is 'What was sent: a failure, or a recovery after one; null if there was nothing to send.';
comment on column dpe.notifications.is_delivered is
'Whether the webhook accepted it; a recovery that it did not accept is sent again after the next run.';

alter table dpe.notifications owner to dpe_owner;
alter table dpe.notifications enable row level security, force row level security;
revoke all on dpe.notifications from public, dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader cascade;
grant select on dpe.notifications to dpe_auditor;
grant select, insert on dpe.notifications to dpe_loader;

drop policy if exists admin_in_context on dpe.notifications;
create policy admin_in_context on dpe.notifications for all to dpe_owner
using ((select dpe.context_is_open())) with check ((select dpe.context_is_open()));
drop policy if exists auditor_reads on dpe.notifications;
create policy auditor_reads on dpe.notifications for select to dpe_auditor using (true);
drop policy if exists loader_in_context on dpe.notifications;
create policy loader_in_context on dpe.notifications for all to dpe_loader
using ((select dpe.context_is_open()) and project = (select dpe.own_project()) and target = (select dpe.own_target()))
with check ((select dpe.context_is_open()) and project = (select dpe.own_project()) and target = (select dpe.own_target()));
