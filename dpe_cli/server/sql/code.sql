-- Code in the definition of a table: PostgreSQL runs it later, in other sessions, and with their rights. Autovacuum computes the
-- expressions of indexes and statistics as the table's owner; whoever plans a query of the table evaluates the constant parts of an index's
-- expression or of a CHECK constraint. So such code has to belong to PostgreSQL or to an administrator.
create or replace function dpe.code_in_definition(relation_id oid)
returns table (part text, routine text)
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    with recursive

    administrators as (

        select pg_roles.oid as role_id
        from pg_roles
        where
            (
                pg_roles.rolsuper
                or pg_has_role(pg_roles.oid, 'dpe_owner', 'member')
                or pg_roles.oid = (select datdba from pg_database where datname = current_database())
            )
            and pg_roles.rolname not in ('dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_tenant', 'dpe_reader', 'dpe_masked_reader', 'dpe_auditor')

    ),

    parts as (

        select
            format('index %s', pg_class.relname) as part,
            'pg_class'::regclass::oid as class_id,
            pg_class.oid as object_id
        from pg_index
        inner join pg_class on pg_class.oid = pg_index.indexrelid
        where pg_index.indrelid = code_in_definition.relation_id
        union all
        select format('statistics %s', stxname), 'pg_statistic_ext'::regclass, oid
        from pg_statistic_ext
        where stxrelid = code_in_definition.relation_id
        union all
        select format('constraint %s', conname), 'pg_constraint'::regclass, oid
        from pg_constraint
        where conrelid = code_in_definition.relation_id
        union all
        -- The key of a partitioned table.
        select 'partition key', 'pg_class'::regclass, oid
        from pg_class
        where oid = code_in_definition.relation_id and relkind = 'p'
        union all
        -- A range type has a function for the statistics of its columns.
        select format('column %s', attname), 'pg_type'::regclass, atttypid
        from pg_attribute
        where attrelid = code_in_definition.relation_id and attnum > 0 and not attisdropped and atttypid >= 16384

    ),

    reached as (

        select part, class_id, object_id
        from parts
        union
        select reached.part, pg_depend.refclassid, pg_depend.refobjid
        from reached
        inner join pg_depend on pg_depend.classid = reached.class_id and pg_depend.objid = reached.object_id
        where
            pg_depend.refobjid >= 16384
            and pg_depend.refclassid in (
                'pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass, 'pg_type'::regclass
            )
            -- What a function calls is its owner's affair.
            and reached.class_id <> 'pg_proc'::regclass

    )

    select distinct reached.part, pg_proc.oid::regprocedure::text
    from reached
    inner join pg_proc on reached.class_id = 'pg_proc'::regclass and pg_proc.oid = reached.object_id
    where
        pg_proc.proowner not in (select role_id from administrators)
        and not exists (
            select
            from pg_depend
            inner join pg_extension on pg_extension.oid = pg_depend.refobjid
            where
                pg_depend.classid = 'pg_proc'::regclass
                and pg_depend.objid = pg_proc.oid
                and pg_depend.refclassid = 'pg_extension'::regclass
                and pg_depend.deptype = 'e'
                and pg_extension.extowner in (select role_id from administrators)
        )
$$;

comment on function dpe.code_in_definition(oid) is
'The functions in indexes, statistics, constraints and types of a table that belong to neither PostgreSQL nor an administrator.';
