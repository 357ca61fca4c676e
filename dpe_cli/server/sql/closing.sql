-- What happens to relations whose protection was changed after the transaction that built them: they are found by the catalog, and closed
-- to all readers (macros/rls/close_changed_relations.sql).
-- What dbt protected stays known for as long as it is there: who builds may neither delete its row nor let the row name another relation.
create or replace function dpe.keep_protected_relation()
returns trigger
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    if exists(select from pg_class where oid = old.relation_id) then
        raise exception '%: dpe.protected_relations has to know it for as long as it is there', old.relation_id::regclass
            using errcode = 'insufficient_privilege',
            hint = 'Leave the rows of dpe.protected_relations to dpe.';
    end if;
    return case tg_op when 'DELETE' then old else new end;
end
$$;

comment on function dpe.keep_protected_relation() is 'Refuses to forget a relation that is still there.';

-- What a run of dbt has to answer for, and what differs from what was declared. `built` is what dbt came to: [{node, relation, built}], the
-- relation as a quoted name, with what belongs to it by name; `built` is false where it failed, so that a relation of an earlier run may
-- be there. Where privileges were only taken away, nothing is shown to more than it was.
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
            true as is_of_this_run
        from dpe.protected_relations as known
        where known.invocation_id = of_invocation_id
        union
        select
            given.node,
            given.relation_id,
            given.built
        from given
        union
        select
            given.node,
            pg_class.oid,
            false
        from given
        cross join unnest(array['__masked', '__quarantine']) as suffixes (suffix)
        inner join pg_class
            on given.relnamespace = pg_class.relnamespace and given.relname || suffixes.suffix = pg_class.relname::text

    ),

    looked_at as (

        select
            found.relation_id,
            min(found.node) as node,
            bool_or(found.is_of_this_run) as is_of_this_run
        from found
        group by found.relation_id

    ),

    compared as (

        select
            looked_at.node,
            looked_at.relation_id,
            looked_at.is_of_this_run,
            known.protection as declared,
            dpe.protection_of(looked_at.relation_id) as present
        from looked_at
        inner join pg_class on looked_at.relation_id = pg_class.oid
        left join dpe.protected_relations as known
            on
                looked_at.relation_id = known.relation_id
                and (known.invocation_id = of_invocation_id or not looked_at.is_of_this_run)
        where
            pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
            -- A relation of somebody else that has the name is not what dbt built, nor a hook of it.
            and (known.relation_id is not null or pg_has_role(pg_class.relowner, 'member'))

    )

    select
        compared.node,
        compared.relation_id,
        case
            when compared.declared is null and compared.is_of_this_run then 'another relation is in its place'
            when compared.declared is null then 'nothing is known of how it was protected'
            else dpe.protection_differences(compared.declared, compared.present)
        end
    from compared
    where
        compared.declared is null
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

-- Undoes what was done to relations after the transaction that protected them: rows are shown to no reader, and the caller is told. Each by
-- itself, so that one that cannot be closed leaves none of the others open; privileges first, for which nothing has to be waited for.
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
    -- What a hook may have set for the role, so that nothing is seen or changed.
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
'Takes all policies and privileges from relations of a run of dbt that are no longer protected as declared; returns how they differ.';

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
