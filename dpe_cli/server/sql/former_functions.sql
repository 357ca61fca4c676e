-- The functions that earlier versions had, and this one does not create, or creates with other arguments. A reader's view or function may
-- use one, although the reader may not call it. Then it is kept under another name, because `dpe rls check` compares functions by name,
-- and because a call would not say which of the two it means; a bootstrap drops it once nothing uses it.
--
-- dpe.signatures lists those that this version creates. They are compared before any of them is created.
do $$
declare
    created constant oid[] := array(
        select to_regprocedure(signature)
        from unnest(string_to_array(current_setting('dpe.signatures'), ';')) as signature
        where to_regprocedure(signature) is not null
    );
    owners constant oid[] := array(select oid from pg_roles where rolname in ('dpe_owner', 'dpe_loader', 'dpe_transformer'));
    former record;
begin
    for former in
        select
            oid::regprocedure as signature,
            oid,
            proname ~ '^former_[0-9]+$' as is_renamed
        from pg_proc
        -- What an administrator created here is not dpe's.
        where pronamespace = 'dpe'::regnamespace
            and proowner = 'dpe_owner'::regrole
            and prokind = 'f'
            and oid <> all(created)
    loop
        begin
            execute format('drop function %s', former.signature);
        exception
            when dependent_objects_still_exist then
                -- The policies, defaults and views of published relations call it with the rights of their readers, until they are built again.
                if not exists (
                    select
                    from pg_depend
                    left join pg_policy on pg_depend.classid = 'pg_policy'::regclass and pg_depend.objid = pg_policy.oid
                    left join pg_attrdef on pg_depend.classid = 'pg_attrdef'::regclass and pg_depend.objid = pg_attrdef.oid
                    left join pg_rewrite on pg_depend.classid = 'pg_rewrite'::regclass and pg_depend.objid = pg_rewrite.oid
                    inner join pg_class on coalesce(pg_policy.polrelid, pg_attrdef.adrelid, pg_rewrite.ev_class) = pg_class.oid
                    where pg_depend.refclassid = 'pg_proc'::regclass
                        and pg_depend.refobjid = former.oid
                        and pg_class.relowner = any(owners)
                ) then
                    execute format(
                        'revoke all on function %s from public, dpe_loader, dpe_transformer, dpe_reader, dpe_auditor, dpe_tenant, dpe_masked_reader cascade',
                        former.signature
                    );
                end if;
                execute format('alter function %s security invoker set search_path = pg_catalog, pg_temp', former.signature);
                if not former.is_renamed then
                    execute format(
                        'comment on function %s is %L', former.signature, format('Formerly %s. Dropped once nothing uses it.', former.signature)
                    );
                    execute format('alter function %s rename to %I', former.signature, 'former_' || former.oid);
                end if;
        end;
    end loop;
end
$$;
