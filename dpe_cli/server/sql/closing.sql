-- Relations whose protection was changed after the transaction that built them are found in the catalog, and closed to all readers
-- (macros/rls/close_changed_relations.sql).
-- A protected relation stays registered as long as it exists: the role that builds can neither delete its row nor make the row name
-- another relation.
create or replace function dpe.keep_protected_relation()
returns trigger
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    if exists(select from pg_class where oid = old.relation_id) then
        raise exception '%: stays in dpe.protected_relations as long as it exists', old.relation_id::regclass
            using errcode = 'insufficient_privilege',
            hint = 'Leave the rows of dpe.protected_relations to dpe.';
    end if;
    return case tg_op when 'DELETE' then old else new end;
end
$$;

comment on function dpe.keep_protected_relation() is 'Refuses to forget a relation that still exists.';

-- The relations of a run of dbt, and related ones by name, whose protection differs from the declared one. The argument `built` lists the
-- nodes that dbt reached, [{node, relation, built}], the relation as a quoted name; `built` is false for a node that failed, so that its
-- relation may be an earlier run's. A relation that only lost privileges is omitted: it is not visible to more roles than declared.
create or replace function dpe.changed_relations(of_invocation_id text, built jsonb)
returns table (node text, relation_id oid, differences text)
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    with

    given as (

        select
            results.node,
            results.built,
            pg_class.oid as relation_id,
            pg_class.relnamespace,
            pg_class.relname
        from jsonb_to_recordset(changed_relations.built) as results (node text, relation text, built boolean)
        inner join pg_class on to_regclass(results.relation) = pg_class.oid

    ),

    found as (

        select
            known.node,
            known.relation_id,
            true as is_of_this_run,
            false as is_given
        from dpe.protected_relations as known
        where known.invocation_id = of_invocation_id
        union
        select
            given.node,
            given.relation_id,
            given.built,
            true
        from given
        union
        select
            given.node,
            pg_class.oid,
            false,
            false
        from given
        cross join unnest(array['__masked', '__quarantine']) as suffixes (suffix)
        inner join pg_class
            on given.relnamespace = pg_class.relnamespace and dpe.companion_name(given.relname::text, suffixes.suffix) = pg_class.relname::text

    ),

    candidates as (

        select
            found.relation_id,
            coalesce(min(found.node) filter (where found.is_given), min(found.node)) as node,
            bool_or(found.is_of_this_run) as is_of_this_run,
            -- A node was built, and another one was protected in its place.
            count(distinct found.node) filter (where found.is_of_this_run) > 1 as is_of_another
        from found
        group by found.relation_id

    ),

    compared as (

        select
            candidates.node,
            candidates.relation_id,
            candidates.is_of_this_run,
            candidates.is_of_another,
            known.protection as declared,
            dpe.protection_of(candidates.relation_id) as present
        from candidates
        inner join pg_class on candidates.relation_id = pg_class.oid
        left join dpe.protected_relations as known
            on
                candidates.relation_id = known.relation_id
                and (known.invocation_id = of_invocation_id or not candidates.is_of_this_run)
        where
            pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
            -- Another role's relation of that name was built neither by dbt nor by a hook.
            and (known.relation_id is not null or pg_has_role(pg_class.relowner, 'member'))

    )

    select
        compared.node,
        compared.relation_id,
        case
            when compared.is_of_another or compared.declared is null and compared.is_of_this_run then 'another relation is in its place'
            when compared.declared is null then 'its protection is not recorded'
            else dpe.protection_differences(compared.declared, compared.present)
        end
    from compared
    where
        compared.declared is null
        or compared.is_of_another
        or exists (
            select
            from jsonb_each_text(compared.present) as is_now (fact, value)
            where compared.declared ->> is_now.fact is distinct from is_now.value
        )
        or exists (
            select
            from jsonb_object_keys(compared.declared) as was (fact)
            where was.fact !~ '^privileges of ' and not compared.present ? was.fact
        )
$$;

comment on function dpe.changed_relations(text, jsonb) is
'The relations of a run of dbt that are not protected as declared, each with what differs.';

-- Closes relations that were changed after the transaction that protected them, so that no reader sees their rows, and returns them. Each
-- is closed separately, so that one failure does not leave others open; privileges go first, because revoking them waits for no lock.
create or replace function dpe.close_changed_relations(of_invocation_id text, built jsonb)
returns table (node text, differences text)
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    changed record;
begin
    -- A hook may have changed these for the role, so that this would see or change nothing.
    perform set_config('dpe.tenant_id', '', true), set_config('row_security', 'on', true);
    if not dpe.every_tenant_is_open() then
        perform set_config('dpe.actor', 'dbt', true);
    end if;

    for changed in
        select
            found.node,
            found.relation_id,
            found.differences,
            pg_class.relkind
        from dpe.changed_relations(of_invocation_id, built) as found
        inner join pg_class on found.relation_id = pg_class.oid
    loop
        node := changed.node;
        differences := changed.differences;
        begin
            perform dpe.revoke_privileges(changed.relation_id::regclass);
        exception
            when others then
                differences := format('%s; its privileges could not be revoked: %s', differences, sqlerrm);
        end;
        begin
            perform dpe.reset_protection(changed.relation_id::regclass);
            if changed.relkind in ('r', 'p') then
                execute format('alter table %s enable row level security, force row level security', changed.relation_id::regclass);
            elsif changed.relkind = 'v' then
                execute format('alter view %s set (security_invoker = true)', changed.relation_id::regclass);
            end if;
        exception
            when others then
                differences := format('%s; its policies could not be removed: %s', differences, sqlerrm);
        end;
        return next;
    end loop;

    delete from dpe.protected_relations
    where not exists (
        select
        from pg_class
        where pg_class.oid = protected_relations.relation_id
    );
end
$$;

comment on function dpe.close_changed_relations(text, jsonb) is
'Drops all policies and privileges of a dbt run''s relations whose protection differs from the declared one; returns how they differ.';

do $$
begin
    if not exists (
        select
        from pg_trigger
        where tgrelid = 'dpe.protected_relations'::regclass and tgname = 'keep_deleted'
    ) then
        create trigger keep_deleted
        before delete on dpe.protected_relations
        for each row execute function dpe.keep_protected_relation();
        create trigger keep_renamed
        before update on dpe.protected_relations
        for each row
        when (new.relation_id <> old.relation_id)
        execute function dpe.keep_protected_relation();
    end if;
end
$$;
