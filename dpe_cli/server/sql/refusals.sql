-- What PostgreSQL lets any login do, and what would harm others.
--
-- Many statements that define objects lock a relation exclusively, even one of the catalog, before they check the privilege: CREATE RULE,
-- CREATE TABLE … PARTITION OF, ALTER TABLE … ATTACH PARTITION, ALTER INDEX … DEPENDS ON EXTENSION. While such a request waits for a
-- transaction, all other sessions wait for the request. So it may wait for a tenth of a second only. The statements that run a query wait
-- as long as a query does, because they lock nothing of others exclusively before the check.
--
-- ALTER TABLE … ATTACH PARTITION, and CREATE TABLE … PARTITION OF a table of one's own, evaluate the partition's bounds in between, which
-- can call a function that lets the statement wait for longer. So only administrators and the pipeline may make partitioned tables.
--
-- CREATE SCHEMA with elements, CREATE STATISTICS and CREATE PUBLICATION call functions of their user, too (a constant of a domain's array
-- calls the domain's CHECK), before or while they lock a relation of others.
--
-- A role that has the privileges of another can run DROP OWNED BY that role, which removes it from every policy, on anyone's tables:
-- one reader could hide all rows from all readers. These, and CREATE RULE, are refused.
--
-- GRANT and REVOKE by a role that may not pass the privilege on only warn, but write the catalog's row all the same. The same statement of
-- another session then waits for the row, and fails once the first one commits ("tuple concurrently updated"). So one reader could make
-- bootstraps, publications and builds fail: only administrators and the pipeline may run these. ALTER DEFAULT PRIVILEGES grants, too.
--
-- A login that may create in the database can CREATE EXTENSION. PostgreSQL runs the script of a trusted one as a superuser, in any schema:
-- one in dpe makes the checks find foreign functions there, and the operators of one in pg_catalog are everyone's. With ALTER EXTENSION,
-- its owner moves it, or adds functions of its own; with ALTER SCHEMA, the owner of a schema gives it a name that dpe needs.
--
-- The other statements that define objects need a superuser (languages, access methods, operator classes, foreign data wrappers,
-- parsers), a privilege that no login has by default (servers, user mappings, subscriptions, labels), or the ownership of what they
-- change (casts, transforms, types, comments) and a schema in which the login may create. They change nothing for sessions that do not
-- name their object.
--
-- REFRESH MATERIALIZED VIEW collects nothing of what its functions make (pg_event_trigger_ddl_commands() is empty), so the catalog
-- itself says then whether the role owns a partitioned table. What belongs to a group of readers does not count before a statement:
-- one reader could stop the statements of all others with it.
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
    declare
        -- Members of these roles are administrators, or the pipeline; the login counts, and so does the role that it has become.
        trusted oid[] := array(select oid from pg_roles where rolname in ('dpe_owner', 'dpe_loader', 'dpe_transformer'));
        is_login_trusted boolean := exists (select from unnest(trusted) as role_id where pg_has_role(session_user, role_id, 'member'));
        is_role_trusted boolean := exists (select from unnest(trusted) as role_id where pg_has_role(current_user, role_id, 'member'));
        -- Autovacuum has the login of a superuser, and calls the functions of a table's indexes as the table's owner. So do an
        -- administrator's ANALYZE and REFRESH MATERIALIZED VIEW. These functions cannot become a role, as an administrator can.
        is_trusted boolean := is_login_trusted and (is_role_trusted or current_user::text = current_setting('role', true));
        partitioned text;
    begin
        if tg_event = 'ddl_command_end' then
            if not is_trusted
                and (
                    exists (
                        select
                        from pg_event_trigger_ddl_commands() as made
                        inner join pg_class on made.classid = 'pg_class'::regclass and made.objid = pg_class.oid
                        where relkind in ('p', 'I')
                    )
                    or tg_tag = 'CREATE TABLE'
                    and exists (select from pg_class where relkind = 'p' and relowner = to_regrole(quote_ident(current_user)))
                )
            then
                raise exception 'partitioned tables: are allowed for administrators only, because readers could block others with them; make another table'
                    using errcode = 'insufficient_privilege';
            end if;
            return;
        end if;

        if tg_tag in ('DROP OWNED', 'CREATE RULE') and not (is_login_trusted and is_role_trusted)
            or tg_tag in (
                'CREATE SCHEMA', 'ALTER SCHEMA', 'CREATE STATISTICS', 'CREATE PUBLICATION', 'ALTER PUBLICATION',
                'CREATE EXTENSION', 'ALTER EXTENSION', 'GRANT', 'REVOKE', 'ALTER DEFAULT PRIVILEGES'
            )
            and not is_trusted
        then
            raise exception '%: is allowed for administrators only, because it would harm others; ask one of them', tg_tag
                using errcode = 'insufficient_privilege';
        end if;
        if not is_trusted and tg_tag in ('CREATE TABLE', 'ALTER TABLE', 'ALTER INDEX', 'REASSIGN OWNED') then
            select oid::regclass::text into partitioned
            from pg_class
            where relkind in ('p', 'I')
                and pg_get_userbyid(relowner) not in ('dpe_reader', 'dpe_masked_reader', 'dpe_auditor')
                and (
                    pg_has_role(current_user, relowner, 'member')
                    or not is_login_trusted and pg_has_role(session_user, relowner, 'member')
                )
            limit 1;
            if found then
                raise exception '%: is refused, because you own the partitioned relation %; drop it first', tg_tag, partitioned
                    using errcode = 'insufficient_privilege';
            end if;
        end if;
        if not is_trusted
            and tg_tag not in ('CREATE TABLE AS', 'SELECT INTO', 'CREATE MATERIALIZED VIEW', 'REFRESH MATERIALIZED VIEW')
            and not current_setting('lock_timeout', true)::interval between interval '1 millisecond' and interval '100 milliseconds'
        then
            perform set_config('lock_timeout', '100ms', true);
        end if;
    end
    $$;

    comment on function dpe.refuse_to_readers() is
    'Refuses DROP OWNED, CREATE RULE, GRANT, CREATE EXTENSION and partitioned tables to all but administrators and the pipeline, and limits how long other statements wait for locks.';
    revoke all on function dpe.refuse_to_readers() from public;

    drop event trigger if exists dpe_refuse_to_readers;
    create event trigger dpe_refuse_to_readers on ddl_command_start
    execute function dpe.refuse_to_readers();
    drop event trigger if exists dpe_refuse_partitions_to_readers;
    create event trigger dpe_refuse_partitions_to_readers on ddl_command_end
    execute function dpe.refuse_to_readers();
    comment on event trigger dpe_refuse_partitions_to_readers is 'Keeps logins from partitioned tables, with which they could block others.';
    comment on event trigger dpe_refuse_to_readers is 'Keeps logins from statements that would hide rows from others, or block them.';
end
$bootstrap$;
