-- Two statements that PostgreSQL lets readers run, and that would harm others. Whoever has the privileges of a role may DROP OWNED BY
-- it, which takes that role out of every policy, whoever owns the table: one reader would hide all rows from all readers. And CREATE
-- RULE locks any relation that it can name exclusively, the catalog's too, before it asks for the privilege.
--
-- Only a superuser can make an event trigger. It stays the superuser's own: its function runs with the rights of who runs the statement.
-- Where a bootstrap by another administrator cannot make it, `dpe rls check` warns (RLS069).
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
            raise exception '%: is refused to readers, because it would harm others; ask an administrator', tg_tag
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
    comment on event trigger dpe_refuse_to_readers is 'Keeps readers from statements that would hide rows from others, or keep them waiting.';
end
$bootstrap$;
