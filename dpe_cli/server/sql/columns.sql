-- dbt changes the type of a column, for example to widen a text, by replacing the column with another one. Everything that reads the
-- column would be dropped with it, also the policies that compare it (PostgreSQL documentation, "ALTER TABLE", DROP COLUMN).
create or replace function dpe.change_column_type(relation regclass, column_name name, new_type text)
returns void
language plpgsql
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    policies jsonb[];
    policy jsonb;
    dependent regclass;
    old_column record;
    temporary_name constant name := 'dpe_' || gen_random_uuid();
begin
    select attnum, attnotnull, relforcerowsecurity
    into strict old_column
    from pg_attribute
    inner join pg_class on pg_class.oid = attrelid
    where attrelid = relation and attname = column_name and not attisdropped;

    select coalesce(array_agg(to_jsonb(comparing)), '{}')
    into policies
    from (
        select
            polname as name,
            case when polpermissive then 'permissive' else 'restrictive' end as kind,
            case polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end as command,
            (select string_agg(case role when 0 then 'public' else role::regrole::text end, ', ') from unnest(polroles) as role) as roles,
            ' using (' || pg_get_expr(polqual, polrelid) || ')' as condition,
            ' with check (' || pg_get_expr(polwithcheck, polrelid) || ')' as check_of_new_rows,
            obj_description(pg_policy.oid, 'pg_policy') as description
        from pg_policy
        where
            polrelid = relation
            and exists (
                select
                from pg_depend
                where
                    classid = 'pg_policy'::regclass
                    and objid = pg_policy.oid
                    and refclassid = 'pg_class'::regclass
                    and refobjid = relation
                    and refobjsubid = old_column.attnum
            )
    ) as comparing;

    foreach policy in array policies loop
        execute format('drop policy %I on %s', policy ->> 'name', relation);
    end loop;

    -- What reads the column is built again, as dbt expects: it drops the old column with everything that depends on it.
    for dependent in
        select distinct ev_class::regclass
        from pg_depend
        inner join pg_rewrite on pg_rewrite.oid = objid
        inner join pg_class on pg_class.oid = ev_class
        where
            classid = 'pg_rewrite'::regclass
            and refclassid = 'pg_class'::regclass
            and refobjid = relation
            and refobjsubid = old_column.attnum
            and relkind = 'v'
            and pg_has_role(relowner, 'usage')
    loop
        -- It may have been dropped with the one before.
        if exists (select from pg_class where oid = dependent) then
            execute format('drop view %s cascade', dependent);
        end if;
    end loop;

    begin
        execute format('alter table %s alter column %I type %s', relation, column_name, new_type);
    exception
        when feature_not_supported then
            -- A generated column, a trigger, a materialized view or another role's view reads it. This is dbt's own way.
            execute format('alter table %s add column %I %s', relation, temporary_name, new_type);
            -- Every row, without the policies. No other session can read the table until this transaction ends.
            execute format('alter table %s no force row level security', relation);
            execute format('update %s set %I = %I', relation, temporary_name, column_name);
            if old_column.relforcerowsecurity then
                execute format('alter table %s force row level security', relation);
            end if;
            execute format('alter table %s drop column %I cascade', relation, column_name);
            execute format('alter table %s rename column %I to %I', relation, temporary_name, column_name);
            if old_column.attnotnull then
                execute format('alter table %s alter column %I set not null', relation, column_name);
            end if;
    end;

    foreach policy in array policies loop
        execute format(
            'create policy %I on %s as %s for %s to %s%s%s',
            policy ->> 'name',
            relation,
            policy ->> 'kind',
            policy ->> 'command',
            policy ->> 'roles',
            policy ->> 'condition',
            policy ->> 'check_of_new_rows'
        );
        execute format('comment on policy %I on %s is %L', policy ->> 'name', relation, policy ->> 'description');
    end loop;
end
$$;

comment on function dpe.change_column_type(regclass, name, text) is
'Changes the type of a column as an assignment would, and keeps the policies that compare it.';
