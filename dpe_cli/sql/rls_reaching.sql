-- What the checks look at outside of dpe's schemas, continued: which objects lead to protected rows, with whose rights, and who
-- may use them. It continues rls_outside.sql.
-- noqa: disable=ST03, ST05
with

extension_members as (

    select
        classid as class_id,
        objid as object_id
    from pg_depend
    where deptype = 'e'

),

-- What is named by the rules of relations (a view is one), by the bodies of functions that are not strings, by operators and
-- aggregates.
dependencies as materialized (

    select
        'pg_class'::regclass::oid as class_id,
        pg_rewrite.ev_class as object_id,
        pg_rewrite.ev_type = '1' as is_reading,
        pg_rewrite.rulename as rule_name,
        pg_depend.refclassid as named_class_id,
        pg_depend.refobjid as named_id
    from pg_depend
    inner join pg_rewrite on pg_depend.objid = pg_rewrite.oid
    where
        pg_depend.classid = 'pg_rewrite'::regclass
        and pg_depend.refclassid in ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass)
        and (pg_depend.refclassid, pg_depend.refobjid) <> ('pg_class'::regclass::oid, pg_rewrite.ev_class)
    union
    select
        pg_depend.classid as class_id,
        pg_depend.objid as object_id,
        true as is_reading,
        null as rule_name,
        pg_depend.refclassid as named_class_id,
        pg_depend.refobjid as named_id
    from pg_depend
    left join pg_proc on pg_depend.classid = 'pg_proc'::regclass and pg_depend.objid = pg_proc.oid
    where
        pg_depend.classid in ('pg_proc'::regclass, 'pg_operator'::regclass)
        and pg_depend.refclassid in ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass)
        -- What a body in a string names is not recorded; its defaults may name a relation.
        and (pg_proc.oid is null or pg_proc.prosqlbody is not null or pg_proc.prokind = 'a')

),

-- PostgreSQL's own functions that run SQL from a string. Calls of them are not in pg_depend.
running_strings as materialized (

    select format('%%:funcid %s %%', oid) as call
    from pg_proc
    where
        pronamespace = 'pg_catalog'::regnamespace
        and proname ~ '^((query|table|schema|database|cursor)_to_xml.*|ts_stat|ts_rewrite)$'

),

-- Functions that run SQL from a string, so that no catalog says what they read: those with such a body, and those that call one of
-- PostgreSQL's own which does. Extensions are trusted, but for dblink.
unjudged as materialized (

    select pg_proc.oid as function_id
    from pg_proc
    where
        pg_proc.oid >= 16384
        and pg_proc.prokind <> 'a'
        and pg_proc.prosqlbody is null
        and (
            pg_proc.proname ~ '^dblink'
            or ('pg_proc'::regclass::oid, pg_proc.oid) not in (
                select
                    extension_members.class_id,
                    extension_members.object_id
                from extension_members
            )
        )
    union all
    select pg_proc.oid
    from pg_proc
    where
        pg_proc.prosqlbody is not null
        and exists (
            select from running_strings
            where pg_proc.prosqlbody::text like running_strings.call
        )

),

-- What shows only what a role without privileges sees, whoever asks.
narrowing as materialized (

    select
        'pg_class'::regclass::oid as class_id,
        outside.relation_id as object_id
    from outside
    where
        not outside.is_of_privileged
        and outside.kind in ('v', 'm')
        and outside.relation_id not in (select invokers_views.relation_id from invokers_views)
    union all
    select
        'pg_proc'::regclass as class_id,
        pg_proc.oid as object_id
    from pg_proc
    where pg_proc.prosecdef and pg_proc.proowner not in (select privileged.role_id from privileged)

),

-- What reads a protected relation, or calls a function that cannot be judged; itself, or through views and functions that it names.
reached as materialized (

    with recursive objects (class_id, object_id, root_class_id, root_id) as (

        select
            'pg_class'::regclass::oid as class_id,
            roots.relation_id as object_id,
            'pg_class'::regclass::oid as root_class_id,
            roots.relation_id as root_id
        from (
            select protected.relation_id
            from protected
            union all
            select foreign_tables.relation_id
            from foreign_tables
            inner join servers_that_lead_back on foreign_tables.server_id = servers_that_lead_back.server_id
        ) as roots
        union all
        select
            'pg_proc'::regclass::oid as class_id,
            unjudged.function_id as object_id,
            'pg_proc'::regclass::oid as root_class_id,
            unjudged.function_id as root_id
        from unjudged
        union
        select
            dependencies.class_id,
            dependencies.object_id,
            objects.root_class_id,
            objects.root_id
        from objects
        inner join dependencies
            on objects.class_id = dependencies.named_class_id and objects.object_id = dependencies.named_id and dependencies.is_reading
        left join protected on dependencies.class_id = 'pg_class'::regclass and dependencies.object_id = protected.relation_id
        left join narrowing on dependencies.class_id = narrowing.class_id and dependencies.object_id = narrowing.object_id
        where protected.relation_id is null and narrowing.object_id is null

    )

    select
        objects.class_id,
        objects.object_id,
        objects.root_class_id,
        objects.root_id,
        coalesce(protected.name, foreign_tables.name, objects.root_id::regprocedure::text) as root
    from objects
    left join protected on objects.root_class_id = 'pg_class'::regclass and objects.root_id = protected.relation_id
    left join foreign_tables on objects.root_class_id = 'pg_class'::regclass and objects.root_id = foreign_tables.relation_id

),

reads as materialized (

    select
        dependencies.class_id,
        dependencies.object_id,
        reached.root_class_id = 'pg_class'::regclass as is_of_protected,
        array_to_string((array_agg(distinct reached.root order by reached.root))[1:3], ', ')
        || case when count(distinct reached.root) > 3 then format(' and %s more', count(distinct reached.root) - 3) else '' end as roots
    from dependencies
    inner join reached on dependencies.named_class_id = reached.class_id and dependencies.named_id = reached.object_id
    where dependencies.is_reading
    group by dependencies.class_id, dependencies.object_id, reached.root_class_id

),

-- Views and rules elsewhere that read or write protected rows with the rights of their relation's owner, to whom the policies of
-- the owner's roles apply. A view with its reader's rights passes these on, also from within another view.
acting_as_owner as materialized (

    select
        outside.relation_id,
        outside.name,
        outside.kind,
        outside.owner_id,
        outside.owner,
        outside.is_of_privileged,
        outside.readers,
        outside.writers,
        dependencies.is_reading,
        dependencies.rule_name,
        array_to_string((array_agg(distinct reached.root order by reached.root))[1:3], ', ')
        || case when count(distinct reached.root) > 3 then format(' and %s more', count(distinct reached.root) - 3) else '' end as roots
    from outside
    inner join dependencies on dependencies.class_id = 'pg_class'::regclass and outside.relation_id = dependencies.object_id
    inner join reached
        on
            reached.class_id = 'pg_class'::regclass
            and dependencies.named_class_id = reached.class_id
            and dependencies.named_id = reached.object_id
            and reached.root_class_id = 'pg_class'::regclass
    where
        outside.kind <> 'm'
        and reached.object_id not in (select invokers_views.relation_id from invokers_views)
        and not (dependencies.is_reading and outside.relation_id in (select invokers_views.relation_id from invokers_views))
    group by
        outside.relation_id,
        outside.name,
        outside.kind,
        outside.owner_id,
        outside.owner,
        outside.is_of_privileged,
        outside.readers,
        outside.writers,
        dependencies.is_reading,
        dependencies.rule_name

),

definers as materialized (

    select
        pg_proc.oid as function_id,
        pg_proc.oid::regprocedure::text as signature,
        pg_proc.proowner as owner_id,
        pg_get_userbyid(pg_proc.proowner)::text as owner,
        pg_proc.proowner in (select privileged.role_id from privileged) as is_of_privileged,
        coalesce(pg_proc.proacl, acldefault('f', pg_proc.proowner)) as acl,
        pg_proc.oid in (select safe_paths.function_id from safe_paths) as has_safe_path,
        pg_namespace.nspname = any($4::text[])
        or pg_get_userbyid(pg_proc.proowner) in ('dpe_owner', 'dpe_loader', 'dpe_transformer') as is_of_dpe,
        ('pg_proc'::regclass::oid, pg_proc.oid) in (select
            extension_members.class_id,
            extension_members.object_id
        from extension_members)
            as is_of_extension
    from pg_proc
    inner join pg_namespace on pg_proc.pronamespace = pg_namespace.oid
    where pg_proc.prosecdef and pg_proc.oid >= 16384 and pg_namespace.nspname !~ '^pg_temp_'

),

-- Who else may call them: EXECUTE is asked of the caller, through an operator or a cast too. USAGE on the schema is not.
executable as (

    select
        definers.function_id,
        granted.grantee
    from definers
    cross join lateral aclexplode(definers.acl) as granted
    where granted.grantee <> definers.owner_id and granted.grantee not in (select privileged.role_id from privileged)

),

-- How others come to run them. Where an aggregate calls a function, EXECUTE is asked of the aggregate's owner; where a trigger
-- does, of nobody.
ways as (

    select
        executable.function_id,
        'may be called by '
        || case executable.grantee when 0 then 'every role (PUBLIC)' else pg_get_userbyid(executable.grantee)::text end as way
    from executable
    union all
    select
        executable.function_id,
        format('is called by the operator %s', pg_operator.oid::regoperator) as way
    from executable
    inner join pg_operator on executable.function_id = pg_operator.oprcode
    union all
    select
        executable.function_id,
        format('is called by the cast from %s to %s', pg_cast.castsource::regtype, pg_cast.casttarget::regtype) as way
    from executable
    inner join pg_cast on executable.function_id = pg_cast.castfunc
    union all
    select
        definers.function_id,
        format('is called by the aggregate %s', pg_aggregate.aggfnoid::oid::regprocedure) as way
    from pg_aggregate
    inner join pg_proc on pg_aggregate.aggfnoid = pg_proc.oid
    inner join definers
        on definers.function_id in (
            pg_aggregate.aggtransfn, pg_aggregate.aggfinalfn, pg_aggregate.aggcombinefn, pg_aggregate.aggserialfn,
            pg_aggregate.aggdeserialfn, pg_aggregate.aggmtransfn, pg_aggregate.aggminvtransfn, pg_aggregate.aggmfinalfn
        )
    where
        exists (
            select
            from aclexplode(coalesce(pg_proc.proacl, acldefault('f', pg_proc.proowner))) as granted
            where granted.grantee not in (select privileged.role_id from privileged)
        )
    union all
    select
        definers.function_id,
        format('is run by the trigger %s on %s, which others may change', pg_trigger.tgname, outside.name) as way
    from pg_trigger
    inner join outside on pg_trigger.tgrelid = outside.relation_id
    inner join definers on pg_trigger.tgfoid = definers.function_id
    where outside.writers <> '{}'
    union all
    select
        definers.function_id,
        format('is run by the event trigger %s', pg_event_trigger.evtname) as way
    from pg_event_trigger
    inner join definers on pg_event_trigger.evtfoid = definers.function_id

),

callable_definers as (

    select
        ways.function_id,
        array_to_string((array_agg(distinct ways.way order by ways.way))[1:3], ', ')
        || case when count(distinct ways.way) > 3 then format(' and %s more ways', count(distinct ways.way) - 3) else '' end
            as ways
    from ways
    group by ways.function_id

)

-- The checks take the place of what follows.
select name
from outside
