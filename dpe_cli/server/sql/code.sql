-- Superusers, the owner of the database, and roles that can become dpe_owner. dpe's own roles are excluded, because authors of models act
-- as them.
create or replace function dpe.administrators()
returns setof oid
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    select pg_roles.oid
    from pg_roles
    where
        (
            pg_roles.rolsuper
            or pg_has_role(pg_roles.oid, 'dpe_owner', 'member')
            or pg_roles.oid = (
                select pg_database.datdba
                from pg_database
                where pg_database.datname = current_database()
            )
        )
        and pg_roles.rolname not in (
            'dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_reader', 'dpe_masked_reader', 'dpe_tenant', 'dpe_auditor'
        )
$$;

comment on function dpe.administrators() is
'The roles whose code may run with the rights of others: superusers, and those that administer dpe.';

-- Code in the definition of a table: PostgreSQL runs it later, in other sessions, and with their rights. Autovacuum computes the
-- expressions of indexes and statistics as the table's owner; a session that plans a query of the table evaluates the constant parts of an
-- index's expression or of a CHECK constraint. So such code has to belong to PostgreSQL or to an administrator.
create or replace function dpe.code_in_definition(relation_id oid)
returns table (part text, routine text)
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
    with recursive

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
        -- A range type has a function for the statistics of its columns, and a domain has constraints.
        select format('column %s', attname), 'pg_type'::regclass, atttypid
        from pg_attribute
        where attrelid = code_in_definition.relation_id and attnum > 0 and not attisdropped and atttypid >= 16384

    ),

    reached as (

        select part, class_id, object_id
        from parts
        union
        select reached.part, needed.class_id, needed.object_id
        from reached
        cross join lateral (
            select pg_depend.refclassid as class_id, pg_depend.refobjid as object_id
            from pg_depend
            where
                pg_depend.classid = reached.class_id
                and pg_depend.objid = reached.object_id
                and pg_depend.refobjid >= 16384
                and pg_depend.refclassid in (
                    'pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass, 'pg_type'::regclass
                )
            union all
            -- A domain's constraints depend on it, not it on them.
            select 'pg_constraint'::regclass, pg_constraint.oid
            from pg_constraint
            where reached.class_id = 'pg_type'::regclass and pg_constraint.contypid = reached.object_id
            union all
            -- Nor does a composite type depend on the types of its columns: its entry in pg_class does.
            select 'pg_type'::regclass, pg_attribute.atttypid
            from pg_type
            inner join pg_attribute on pg_attribute.attrelid = pg_type.typrelid
            where
                reached.class_id = 'pg_type'::regclass
                and pg_type.oid = reached.object_id
                and pg_attribute.attnum > 0
                and pg_attribute.atttypid >= 16384
            union all
            -- PostgreSQL 17 and 18 do not record the type that JSON_VALUE and JSON_QUERY return: it is only in the expression.
            select 'pg_type'::regclass, types.type_id
            from (
                select concat_ws(' ', indexprs, indpred) as tree
                from pg_index
                where reached.class_id = 'pg_class'::regclass and indexrelid = reached.object_id
                union all
                select partexprs::text
                from pg_partitioned_table
                where reached.class_id = 'pg_class'::regclass and partrelid = reached.object_id
                union all
                select stxexprs::text
                from pg_statistic_ext
                where reached.class_id = 'pg_statistic_ext'::regclass and oid = reached.object_id
                union all
                select conbin::text
                from pg_constraint
                where reached.class_id = 'pg_constraint'::regclass and oid = reached.object_id
            ) as expressions
            cross join lateral unnest(string_to_array(expressions.tree, ' :typid ')) as following (words)
            cross join lateral (
                select substring(left(following.words, 10) from '^[0-9]+')::oid as type_id
            ) as types
            where types.type_id >= 16384
        ) as needed
        -- What a function calls is its owner's affair.
        where reached.class_id <> 'pg_proc'::regclass

    )

    select distinct reached.part, pg_proc.oid::regprocedure::text
    from reached
    inner join pg_proc on reached.class_id = 'pg_proc'::regclass and pg_proc.oid = reached.object_id
    where pg_proc.proowner not in (select administrators.role_id from dpe.administrators() as administrators (role_id))
$$;

comment on function dpe.code_in_definition(oid) is
'The functions in indexes, statistics, constraints and types of a table that belong to neither PostgreSQL nor an administrator.';
