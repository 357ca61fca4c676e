-- The dbt project, and its target, that the session works for; null if it did not say. The ledger shows a pipeline role only what belongs
-- to them.
create or replace function dpe.project()
returns text
language sql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$ select nullif(current_setting('dpe.project', true), '') $$;

create or replace function dpe.target()
returns text
language sql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$ select nullif(current_setting('dpe.target', true), '') $$;

-- The same, for the policies and defaults of the ledger's tables. If a pipeline role's context names no project or target, an empty list
-- would look as if nothing had ever been loaded. An administrator who is a member of these roles sees all of it by another policy.
create or replace function dpe.own_project()
returns text
language plpgsql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    if dpe.project() is null and dpe.actor() is not null and current_user in ('dpe_loader', 'dpe_transformer') then
        raise exception 'dpe.project: is not set in this session, so the session may not use the ledger'
            using errcode = 'insufficient_privilege',
            hint = 'Run `eval "$(dpe env)"` in the project, or set dpe.project and dpe.target to the names of the dbt project and its target.';
    end if;
    return dpe.project();
end
$$;

create or replace function dpe.own_target()
returns text
language plpgsql
stable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
    if dpe.target() is null and dpe.actor() is not null and current_user in ('dpe_loader', 'dpe_transformer') then
        raise exception 'dpe.target: is not set in this session, so the session may not use this part of the ledger'
            using errcode = 'insufficient_privilege',
            hint = 'Run `eval "$(dpe env)"` in the project, or set dpe.target to the name of the dbt project''s target.';
    end if;
    return dpe.target();
end
$$;

do $$
declare
    signature regprocedure;
begin
    foreach signature in array array['dpe.project()', 'dpe.target()', 'dpe.own_project()', 'dpe.own_target()']::regprocedure[] loop
        execute format('alter function %s owner to dpe_owner', signature);
        execute format('revoke all on function %s from public', signature);
        execute format('grant execute on function %s to dpe_owner, dpe_loader, dpe_transformer, dpe_auditor', signature);
    end loop;
end
$$;

-- Ledgers used to know one project. Those of earlier versions get the columns that say which project, target and staging table a row
-- belongs to: the project and target of the session that bootstraps. Columns are added without a default, with which PostgreSQL refuses to
-- add them while another table, even a reader's, has a column of this row type.
do $$
declare
    kept record;
    is_filled boolean;
begin
    for kept in
        select
            known.ledger_table,
            known.has_target,
            known.has_relation
        from (
            values
            ('extracts', false, true),
            ('loads', false, true),
            ('rejects', false, true),
            ('publications', true, false),
            ('notifications', true, false),
            ('rule_results', true, false),
            ('rule_failures', true, false)
        ) as known (ledger_table, has_target, has_relation)
        where
            to_regclass('dpe.' || known.ledger_table) is not null
            and not exists (
                select
                from pg_attribute
                where attrelid = to_regclass('dpe.' || known.ledger_table) and attname = 'project' and not attisdropped
            )
    loop
        execute format('select exists (select from dpe.%I)', kept.ledger_table) into is_filled;
        if is_filled and (dpe.project() is null or dpe.target() is null) then
            raise exception 'database %: its ledger is of an earlier version of dpe, which did not record the dbt project', current_database()
                using errcode = 'object_not_in_prerequisite_state', hint = 'run `dpe bootstrap` in that project''s directory';
        end if;
        execute format('alter table dpe.%I add column project text', kept.ledger_table);
        execute format('update dpe.%I set project = dpe.project()', kept.ledger_table);
        execute format(
            'alter table dpe.%I alter column project set default dpe.own_project(), alter column project set not null', kept.ledger_table
        );
        if kept.has_target then
            execute format('alter table dpe.%I add column target text', kept.ledger_table);
            execute format('update dpe.%I set target = dpe.target()', kept.ledger_table);
            execute format(
                'alter table dpe.%I alter column target set default dpe.own_target(), alter column target set not null', kept.ledger_table
            );
        end if;
        if kept.has_relation then
            execute format('alter table dpe.%I add column relation text', kept.ledger_table);
        end if;
        if kept.ledger_table = 'rule_failures' then
            alter table dpe.rule_failures drop constraint rule_failures_pkey;
            alter table dpe.rule_failures add primary key (project, target, test_id, row_hash);
        end if;
    end loop;
end
$$;

-- Which staging table each source was loaded into: the parent of its slices, whose names end in the number of an extract. A source that
-- has none was loaded into the schema that bootstrap used to create for sources, if it was ever loaded.
do $$
begin
    if not exists (
        select
        from pg_attribute
        where attrelid = to_regclass('dpe.extracts') and attname = 'relation' and not attnotnull and not attisdropped
    ) then
        return;
    end if;
    with

    slices as (

        select
            pg_inherits.inhparent as relation_id,
            substring(pg_class.relname from '__([0-9]{1,18})_[0-9]+$')::bigint as extract_id
        from pg_inherits
        inner join pg_class on pg_inherits.inhrelid = pg_class.oid
        where pg_class.relowner = 'dpe_loader'::regrole

    ),

    placed as (

        select distinct on (extracts.source)
            extracts.source,
            array[pg_namespace.nspname, pg_class.relname] as names
        from slices
        inner join dpe.extracts on slices.extract_id = extracts.extract_id
        inner join pg_class on slices.relation_id = pg_class.oid
        inner join pg_namespace on pg_class.relnamespace = pg_namespace.oid
        order by extracts.source, slices.extract_id desc

    )

    update dpe.extracts
    set relation = coalesce(
        (
            -- As dpe_cli/blocks/contract.py writes it.
            select
                string_agg(
                    case when part.name ~ '[."]' then '"' || replace(part.name, '"', '""') || '"' else part.name end, '.' order by part.position
                )
            from placed
            cross join lateral unnest(placed.names) with ordinality as part (name, position)
            where placed.source = extracts.source
        ),
        'staging.' || split_part(extracts.source, '.', 2)
    );
    update dpe.loads
    set relation = extracts.relation
    from dpe.extracts
    where loads.extract_id = extracts.extract_id;
    update dpe.rejects
    set relation = loads.relation
    from dpe.loads
    where rejects.load_id = loads.load_id;
    if exists (select from pg_attribute where attrelid = 'dpe.rejects'::regclass and attname = 'refused_extract_id' and not attisdropped) then
        update dpe.rejects
        set relation = extracts.relation
        from dpe.extracts
        where rejects.refused_extract_id = extracts.extract_id;
    end if;
    alter table dpe.extracts alter column relation set not null;
    alter table dpe.loads alter column relation set not null;
    alter table dpe.rejects alter column relation set not null;
end
$$;
