-- Two statements that PostgreSQL lets readers run, and that would harm others. A role that has the privileges of another can run DROP
-- OWNED BY that role, which removes it from every policy, on anyone's tables: one reader could hide all rows from all readers. And
-- CREATE RULE takes an exclusive lock on any relation that it can name, even in the catalog, before it checks the privilege.
--
-- Only a superuser can create an event trigger, and keeps owning it: its function runs with the rights of the role that runs the
-- statement. If another administrator bootstraps and cannot create it, `dpe rls check` warns (RLS069).
do $bootstrap$
begin
    if not (select rolsuper from pg_roles where rolname = current_user) then
        return;
    end if;

    create or replace function dpe.refuse_to_readers()
    returns event_trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
    begin
        if not pg_has_role('dpe_owner', 'member') and exists (
            select
            from unnest(array['dpe_reader', 'dpe_masked_reader', 'dpe_auditor']) as readers (role_name)
            where pg_has_role(readers.role_name, 'member')
        ) then
            raise exception '%: is not allowed for readers, because it would harm others; ask an administrator', tg_tag
                using errcode = 'insufficient_privilege';
        end if;
    end
    $$;

    comment on function dpe.refuse_to_readers() is
    'Refuses DROP OWNED and CREATE RULE to readers and auditors; a role that may become dpe_owner is neither.';
    revoke all on function dpe.refuse_to_readers() from public;

    drop event trigger if exists dpe_refuse_to_readers;
    create event trigger dpe_refuse_to_readers on ddl_command_start
    when tag in ('DROP OWNED', 'CREATE RULE')
    execute function dpe.refuse_to_readers();
    comment on event trigger dpe_refuse_to_readers is 'Keeps readers from statements that would hide rows from others, or block them.';
end
$bootstrap$;
