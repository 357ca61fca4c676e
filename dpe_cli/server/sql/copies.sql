-- The copy of a published table in which dbt builds the next version of an incremental model or a snapshot. Readers see the copy one day,
-- so it has every property of the table except who may see it: policies and privileges are set from the declaration, foreign keys once
-- the tables that they refer to are built (macros/publish/restore_foreign_keys.sql). Rules and inheritance are not copied.
create or replace function dpe.copy_sequences(source regclass, copy regclass, schema_of_copy name)
returns void
language plpgsql
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    owned record;
    changed record;
    identity_of_copy regclass;
    position_in_sequence record;
begin
    -- PostgreSQL chose the names of identity columns' sequences. They make room before any name is taken from the table.
    for identity_of_copy in
        select objid::regclass
        from pg_depend
        where classid = 'pg_class'::regclass and refobjid = copy and refobjsubid > 0 and deptype = 'i'
    loop
        execute format('alter sequence %s rename to %I', identity_of_copy, format('dpe_copied_%s', identity_of_copy::oid));
    end loop;

    for owned in
        select
            pg_class.oid::regclass as sequence_id,
            pg_class.relname,
            pg_class.relpersistence,
            pg_depend.deptype = 'i' as is_identity,
            pg_attribute.attname,
            pg_sequence.*
        from pg_depend
        inner join pg_class on pg_class.oid = pg_depend.objid
        inner join pg_sequence on pg_sequence.seqrelid = pg_class.oid
        inner join pg_attribute on pg_attribute.attrelid = pg_depend.refobjid and pg_attribute.attnum = pg_depend.refobjsubid
        where
            pg_depend.classid = 'pg_class'::regclass
            and pg_depend.refclassid = 'pg_class'::regclass
            and pg_depend.refobjid = copy_sequences.source
            and pg_depend.deptype in ('a', 'i')
    loop
        if owned.is_identity then
            execute format('alter sequence %s rename to %I', pg_get_serial_sequence(copy::text, owned.attname), owned.relname);
            -- LIKE gives every identity column a sequence of bigint.
            execute format('alter sequence %I.%I as %s', schema_of_copy, owned.relname, format_type(owned.seqtypid, null));
        else
            execute format(
                'create %s sequence %I.%I as %s increment by %s minvalue %s maxvalue %s start with %s cache %s %s owned by %s.%I',
                case owned.relpersistence when 'u' then 'unlogged' end,
                schema_of_copy,
                owned.relname,
                format_type(owned.seqtypid, null),
                owned.seqincrement,
                owned.seqmin,
                owned.seqmax,
                owned.seqstart,
                owned.seqcache,
                case when owned.seqcycle then 'cycle' else 'no cycle' end,
                copy,
                owned.attname
            );
            for changed in
                select
                    pg_attribute.attname,
                    pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid) as expression
                from pg_depend
                inner join pg_attrdef on pg_attrdef.oid = pg_depend.objid
                inner join pg_attribute on pg_attribute.attrelid = pg_attrdef.adrelid and pg_attribute.attnum = pg_attrdef.adnum
                where
                    pg_depend.classid = 'pg_attrdef'::regclass
                    and pg_depend.refobjid = owned.sequence_id
                    and pg_attrdef.adrelid = copy_sequences.copy
            loop
                execute format(
                    'alter table %s alter column %I set default %s',
                    copy,
                    changed.attname,
                    replace(
                        changed.expression,
                        format('%L::regclass', owned.sequence_id::text),
                        format('%L::regclass', format('%I.%I', schema_of_copy, owned.relname))
                    )
                );
            end loop;
        end if;
        execute format('select last_value, is_called from %s', owned.sequence_id) into strict position_in_sequence;
        perform setval(
            format('%I.%I', schema_of_copy, owned.relname)::regclass,
            position_in_sequence.last_value,
            position_in_sequence.is_called
        );
        execute format('comment on sequence %I.%I is %L', schema_of_copy, owned.relname, obj_description(owned.sequence_id, 'pg_class'));
    end loop;
end
$$;

comment on function dpe.copy_sequences(regclass, regclass, name) is
'Gives the copy of a table sequences of its own for the columns that take values from them, with their names and at the same position.';

create or replace function dpe.copy_indexes(source regclass, copy regclass, name_of_source text, schema_of_copy name)
returns void
language plpgsql
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    copied record;
    part record;
begin
    for copied in
        select
            pg_class.relname,
            pg_get_indexdef(pg_class.oid) as definition,
            format('CREATE %sINDEX %I', case when indisunique then 'UNIQUE ' end, pg_class.relname) as beginning,
            pg_class.oid,
            spcname,
            indisclustered,
            indisreplident,
            pg_constraint.oid as constraint_id,
            pg_constraint.contype,
            pg_constraint.condeferrable,
            pg_constraint.condeferred,
            pg_get_constraintdef(pg_constraint.oid) as constraint_definition
        from pg_index
        inner join pg_class on pg_class.oid = pg_index.indexrelid
        left join pg_tablespace on pg_tablespace.oid = pg_class.reltablespace
        left join pg_constraint on pg_constraint.conindid = pg_class.oid and pg_constraint.contype in ('p', 'u', 'x')
        where pg_index.indrelid = copy_indexes.source and pg_index.indisvalid
        order by pg_class.oid
    loop
        -- An exclusion constraint, or a key without overlaps, cannot be made from an existing index.
        if copied.contype = 'x' or copied.constraint_definition like '%WITHOUT OVERLAPS%' then
            execute format('alter table %s add constraint %I %s', copy, copied.relname, copied.constraint_definition);
        else
            if not starts_with(copied.definition, format('%s ON %s ', copied.beginning, name_of_source)) then
                raise exception 'index %: its definition cannot be copied: %', copied.relname, copied.definition;
            end if;
            execute format('%s ON %s ', copied.beginning, copy)
            || substr(copied.definition, length(format('%s ON %s ', copied.beginning, name_of_source)) + 1);
            if copied.contype is not null then
                execute format(
                    'alter table %s add constraint %I %s using index %I %s %s',
                    copy,
                    copied.relname,
                    case copied.contype when 'p' then 'primary key' else 'unique' end,
                    copied.relname,
                    case when copied.condeferrable then 'deferrable' end,
                    case when copied.condeferred then 'initially deferred' end
                );
            end if;
        end if;
        if copied.spcname is not null then
            execute format('alter index %I.%I set tablespace %I', schema_of_copy, copied.relname, copied.spcname);
        end if;
        if copied.indisclustered then
            execute format('alter table %s cluster on %I', copy, copied.relname);
        end if;
        if copied.indisreplident then
            execute format('alter table %s replica identity using index %I', copy, copied.relname);
        end if;
        for part in select attnum, attstattarget from pg_attribute where attrelid = copied.oid and attstattarget >= 0 loop
            execute format(
                'alter index %I.%I alter column %s set statistics %s', schema_of_copy, copied.relname, part.attnum, part.attstattarget
            );
        end loop;
        execute format('comment on index %I.%I is %L', schema_of_copy, copied.relname, obj_description(copied.oid, 'pg_class'));
        if copied.constraint_id is not null then
            execute format(
                'comment on constraint %I on %s is %L', copied.relname, copy, obj_description(copied.constraint_id, 'pg_constraint')
            );
        end if;
    end loop;
end
$$;

comment on function dpe.copy_indexes(regclass, regclass, text, name) is
'Gives the copy of a table its valid indexes, keys and exclusion constraints, with their names and properties.';

create or replace function dpe.copy_table(source regclass, target_schema name)
returns void
language plpgsql
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
    original record;
    copied record;
    columns text;
    copy regclass;
begin
    select
        pg_class.relname,
        pg_class.relreplident,
        pg_class.reloptions,
        toast.reloptions as toast_options,
        spcname,
        amname,
        case pg_class.relpersistence when 'u' then 'unlogged' end as persistence,
        format('%I.%I', nspname, pg_class.relname) as name,
        format('%I.%I', target_schema, pg_class.relname) as name_of_copy
    into strict original
    from pg_class
    inner join pg_namespace on pg_namespace.oid = pg_class.relnamespace
    left join pg_class as toast on toast.oid = pg_class.reltoastrelid
    left join pg_tablespace on pg_tablespace.oid = pg_class.reltablespace
    left join pg_am on pg_am.oid = pg_class.relam
    where pg_class.oid = source;

    execute format(
        'create %s table %s (like %s including all excluding indexes excluding statistics) %s %s %s',
        original.persistence,
        original.name_of_copy,
        source,
        'using ' || quote_ident(original.amname),
        (
            select 'with (' || string_agg(format('%s=%L', split_part(option, '=', 1), substr(option, strpos(option, '=') + 1)), ', ') || ')'
            from (
                select unnest(original.reloptions)
                union all
                select 'toast.' || unnest(original.toast_options)
            ) as options (option)
        ),
        'tablespace ' || quote_ident(original.spcname)
    );
    copy := original.name_of_copy::regclass;
    perform dpe.copy_sequences(source, copy, target_schema);

    select string_agg(quote_ident(attname), ', ' order by attnum)
    into columns
    from pg_attribute
    where attrelid = source and attnum > 0 and not attisdropped and attgenerated = '';
    execute format('insert into %s (%s) overriding system value select %s from only %s', copy, columns, columns, source);

    perform dpe.copy_indexes(source, copy, original.name, target_schema);
    if original.relreplident in ('n', 'f') then
        execute format('alter table %s replica identity %s', copy, case original.relreplident when 'n' then 'nothing' else 'full' end);
    end if;
    execute format('comment on table %s is %L', copy, obj_description(source, 'pg_class'));

    for copied in
        select
            attname,
            attstattarget,
            attoptions
        from pg_attribute
        where attrelid = source and attnum > 0 and not attisdropped and (attstattarget >= 0 or attoptions is not null)
    loop
        if copied.attstattarget >= 0 then
            execute format('alter table %s alter column %I set statistics %s', copy, copied.attname, copied.attstattarget);
        end if;
        if copied.attoptions is not null then
            execute format('alter table %s alter column %I set (%s)', copy, copied.attname, array_to_string(copied.attoptions, ', '));
        end if;
    end loop;

    for copied in
        select
            stxname,
            stxstattarget,
            pg_get_statisticsobjdef(pg_statistic_ext.oid) as definition,
            format('CREATE STATISTICS %I.%I', nspname, stxname) as beginning,
            format(' FROM %s', original.name) as ending,
            obj_description(pg_statistic_ext.oid, 'pg_statistic_ext') as description
        from pg_statistic_ext
        inner join pg_namespace on pg_namespace.oid = stxnamespace
        where stxrelid = source
    loop
        execute format(
            'create statistics %I.%I %s from %s',
            target_schema,
            copied.stxname,
            substr(
                copied.definition,
                length(copied.beginning) + 1,
                length(copied.definition) - length(copied.beginning) - length(copied.ending)
            ),
            copy
        );
        if copied.stxstattarget >= 0 then
            execute format('alter statistics %I.%I set statistics %s', target_schema, copied.stxname, copied.stxstattarget);
        end if;
        execute format('comment on statistics %I.%I is %L', target_schema, copied.stxname, copied.description);
    end loop;

    -- After the rows, for which they must not run once more.
    for copied in
        select
            tgname,
            tgenabled,
            pg_get_triggerdef(oid) as definition,
            obj_description(oid, 'pg_trigger') as description
        from pg_trigger
        where tgrelid = source and not tgisinternal
        order by oid
    loop
        execute overlay(
            copied.definition
            placing format(' ON %s ', copy)
            from strpos(copied.definition, format(' ON %s ', original.name))
            for length(format(' ON %s ', original.name))
        );
        execute format(
            'alter table %s %s trigger %I',
            copy,
            case copied.tgenabled
                when 'O' then 'enable'
                when 'D' then 'disable'
                when 'R' then 'enable replica'
                else 'enable always'
            end,
            copied.tgname
        );
        execute format('comment on trigger %I on %s is %L', copied.tgname, copy, copied.description);
    end loop;

    execute format('analyze %s', copy);
end
$$;

comment on function dpe.copy_table(regclass, name) is
'Copies a table with its rows into another schema, with every property except policies, privileges, foreign keys, rules and inheritance.';
