-- What the checks examine outside of dpe's schemas, continued: the objects that lead to protected rows, with whose rights, and the
-- roles that can use them. It continues outside.sql.
-- noqa: disable=ST03, ST05, AM09
with

administrators as materialized (

    select found.role_id
    from dpe.administrators() as found (role_id)

),

-- What administrators installed. A role that owns a trusted extension can add its own functions to it.
extension_members as materialized (

    select
        pg_depend.classid as class_id,
        pg_depend.objid as object_id
    from pg_depend
    inner join pg_extension on pg_depend.refclassid = 'pg_extension'::regclass and pg_depend.refobjid = pg_extension.oid
    left join pg_proc on pg_depend.classid = 'pg_proc'::regclass and pg_depend.objid = pg_proc.oid
    where
        pg_depend.deptype = 'e'
        and pg_extension.extowner in (select administrators.role_id from administrators)
        and (pg_proc.oid is null or pg_proc.proowner in (select administrators.role_id from administrators))

),

-- The objects named by rules of relations (a view is one), by function bodies that are not strings, by operators and by aggregates.
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
        -- The catalog does not record what a string body names; a function's defaults may name a relation.
        and (pg_proc.oid is null or pg_proc.prosqlbody is not null or pg_proc.prokind = 'a')

),

-- PostgreSQL's own functions that run SQL from a string. Calls of them are not in pg_depend.
running_strings as materialized (

    select format(':funcid (%s) ', string_agg(oid::text, '|')) as calls
    from pg_proc
    where
        pronamespace = 'pg_catalog'::regnamespace
        and proname ~ '^((query|table|schema|database|cursor)_to_xml.*|ts_stat|ts_rewrite)$'

),

-- Functions that run SQL from a string, so that the catalog does not record what they read: those with a string body, and those that
-- call one of PostgreSQL's own that runs strings. Extensions are trusted, except dblink.
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
    cross join running_strings
    where
        pg_proc.prosqlbody is not null
        -- A longer body cannot be searched in a short time, nor can those of the functions that any login can create in pg_temp.
        and case
            when pg_proc.pronamespace::regnamespace::text ~ '^pg_temp_' or length(pg_proc.prosqlbody::text) > 1000000 then true
            else pg_proc.prosqlbody::text ~ running_strings.calls
        end

),

-- Objects that show only what an unprivileged owner sees, no matter which role reads them.
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

-- Protected relations, and foreign tables that lead back to them.
protected_roots as materialized (

    select
        protected.relation_id,
        protected.name
    from protected
    union
    select
        foreign_tables.relation_id,
        foreign_tables.name
    from foreign_tables
    inner join servers_that_lead_back on foreign_tables.server_id = servers_that_lead_back.server_id

),

-- Objects that read a protected relation, or call a function that cannot be judged, directly or through the views and functions that
-- they name. Each object is followed once, through the catalog's indexes, so that the time is linear in the number of a reader's
-- functions. Objects that are protected, or that narrow, are reached but not followed.
reached as materialized (

    with recursive objects (class_id, object_id, is_of_protected, is_root, is_followed) as (

        select
            'pg_class'::regclass::oid as class_id,
            protected_roots.relation_id as object_id,
            true as is_of_protected,
            true as is_root,
            true as is_followed
        from protected_roots
        union all
        select
            'pg_proc'::regclass::oid as class_id,
            unjudged.function_id as object_id,
            false as is_of_protected,
            true as is_root,
            true as is_followed
        from unjudged
        union
        select
            naming.class_id,
            naming.object_id,
            objects.is_of_protected,
            false as is_root,
            (naming.class_id, naming.object_id) not in (
                select
                    narrowing.class_id,
                    narrowing.object_id
                from narrowing
            )
            and (naming.class_id <> 'pg_class'::regclass or naming.object_id not in (select protected.relation_id from protected))
                as is_followed
        from objects
        cross join
            lateral (
                select
                    case pg_depend.classid when 'pg_rewrite'::regclass then 'pg_class'::regclass::oid else pg_depend.classid end
                        as class_id,
                    case pg_depend.classid
                        when 'pg_rewrite'::regclass
                            then (
                                select pg_rewrite.ev_class
                                from pg_rewrite
                                where pg_rewrite.oid = pg_depend.objid and pg_rewrite.ev_type = '1'
                            )
                        when 'pg_proc'::regclass
                            then (
                                select pg_proc.oid
                                from pg_proc
                                where pg_proc.oid = pg_depend.objid and (pg_proc.prosqlbody is not null or pg_proc.prokind = 'a')
                            )
                        when 'pg_operator'::regclass then pg_depend.objid
                    end as object_id
                from pg_depend
                where pg_depend.refclassid = objects.class_id and pg_depend.refobjid = objects.object_id
                -- Looked up separately for each object.
                offset 0
            ) as naming
        where
            objects.is_followed
            and naming.object_id is not null
            and (naming.class_id, naming.object_id) <> (objects.class_id, objects.object_id)

    )

    select *
    from objects

),

reads as materialized (

    select distinct
        class_id,
        object_id,
        is_of_protected
    from reached
    where not is_root

),

passing as materialized (

    select distinct
        class_id,
        object_id,
        is_of_protected
    from reached
    where is_followed

),

-- The roots that objects reach which act as an owner with more rights, searched from these objects.
walked as materialized (

    with recursive walk (class_id, object_id, is_reading, named_class_id, named_id) as (

        select
            dependencies.class_id,
            dependencies.object_id,
            dependencies.is_reading,
            dependencies.named_class_id,
            dependencies.named_id
        from dependencies
        inner join passing on dependencies.named_class_id = passing.class_id and dependencies.named_id = passing.object_id
        left join pg_proc on dependencies.class_id = 'pg_proc'::regclass and dependencies.object_id = pg_proc.oid
        left join outside on dependencies.class_id = 'pg_class'::regclass and dependencies.object_id = outside.relation_id
        where
            outside.is_of_privileged
            or pg_proc.prosecdef and pg_proc.proowner in (select privileged.role_id from privileged)
        union
        select
            walk.class_id,
            walk.object_id,
            walk.is_reading,
            named.class_id as named_class_id,
            named.object_id as named_id
        from walk
        cross join
            lateral (
                select
                    either.refclassid as class_id,
                    either.refobjid as object_id
                from (
                    select
                        of_rule.refclassid,
                        of_rule.refobjid
                    from pg_rewrite
                    cross join
                        lateral (
                            select
                                pg_depend.refclassid,
                                pg_depend.refobjid
                            from pg_depend
                            where pg_depend.classid = 'pg_rewrite'::regclass and pg_depend.objid = pg_rewrite.oid
                            offset 0
                        ) as of_rule
                    where
                        walk.named_class_id = 'pg_class'::regclass
                        and walk.named_id not in (select protected_roots.relation_id from protected_roots)
                        and pg_rewrite.ev_class = walk.named_id
                        and pg_rewrite.ev_type = '1'
                    union all
                    select
                        pg_depend.refclassid,
                        pg_depend.refobjid
                    from pg_depend
                    where
                        walk.named_class_id <> 'pg_class'::regclass
                        and pg_depend.classid = walk.named_class_id
                        and pg_depend.objid = walk.named_id
                ) as either
                offset 0
            ) as named
        where
            -- "is true" makes PostgreSQL hash them once instead of joining them at each step.
            (
                (named.class_id, named.object_id) in (
                    select
                        passing.class_id,
                        passing.object_id
                    from passing
                )
            ) is true

    )

    select *
    from walk

),

-- The first three are named. PostgreSQL could not hold all names of a reader's functions in one array.
roots as materialized (

    select
        class_id,
        object_id,
        is_reading,
        is_of_protected,
        string_agg(name, ', ' order by name) filter (where place <= 3)
        || case when count(*) > 3 then format(' and %s more', count(*) - 3) else '' end as names
    from (
        select
            named.*,
            row_number() over (
                partition by named.class_id, named.object_id, named.is_reading, named.is_of_protected
                order by named.name
            ) as place
        from (
            select distinct
                walked.class_id,
                walked.object_id,
                walked.is_reading,
                reached.is_of_protected,
                coalesce(protected_roots.name, left(reached.object_id::regprocedure::text, 200)) as name
            from walked
            inner join reached on walked.named_class_id = reached.class_id and walked.named_id = reached.object_id and reached.is_root
            left join protected_roots on reached.is_of_protected and reached.object_id = protected_roots.relation_id
        ) as named
    ) as numbered
    group by class_id, object_id, is_reading, is_of_protected

),

-- Views and rules elsewhere that read or write protected rows with the rights of their relation's owner, so that the owner's policies
-- apply. A security_invoker view passes these rights on, also from within another view.
acting_as_owner as materialized (

    select distinct
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
        roots.names as roots
    from outside
    inner join dependencies on dependencies.class_id = 'pg_class'::regclass and outside.relation_id = dependencies.object_id
    inner join passing
        on
            passing.class_id = 'pg_class'::regclass
            and dependencies.named_class_id = passing.class_id
            and dependencies.named_id = passing.object_id
            and passing.is_of_protected
    left join roots
        on
            dependencies.class_id = roots.class_id
            and dependencies.object_id = roots.object_id
            and dependencies.is_reading = roots.is_reading
            and roots.is_of_protected
    where
        outside.kind <> 'm'
        and passing.object_id not in (select invokers_views.relation_id from invokers_views)
        and not (dependencies.is_reading and outside.relation_id in (select invokers_views.relation_id from invokers_views))

),

definers as materialized (

    select
        pg_proc.oid as function_id,
        -- A signature may have 14,000 characters.
        left(pg_proc.oid::regprocedure::text, 200) as name,
        pg_proc.proowner as owner_id,
        pg_get_userbyid(pg_proc.proowner)::text as owner,
        pg_proc.proowner in (select privileged.role_id from privileged) as is_of_privileged,
        coalesce(pg_proc.proacl, acldefault('f', pg_proc.proowner)) as acl,
        pg_proc.oid in (select safe_paths.function_id from safe_paths) as has_safe_path,
        pg_namespace.nspname = any($4::text[]) or pg_proc.proowner in (select dpe_roles.role_id from dpe_roles) as is_of_dpe,
        ('pg_proc'::regclass::oid, pg_proc.oid) in (
            select
                extension_members.class_id,
                extension_members.object_id
            from extension_members
        ) as is_of_extension
    from pg_proc
    inner join pg_namespace on pg_proc.pronamespace = pg_namespace.oid
    where pg_proc.prosecdef and pg_proc.oid >= 16384 and pg_namespace.nspname !~ '^pg_temp_'

),

-- The other roles that can call them: the caller needs EXECUTE, also through an operator or a cast, but not USAGE on the schema.
executable as (

    select
        definers.function_id,
        granted.grantee
    from definers
    cross join lateral aclexplode(definers.acl) as granted
    where granted.grantee <> definers.owner_id and granted.grantee not in (select privileged.role_id from privileged)

),

-- How others can run them. If an aggregate calls a function, the aggregate's owner needs EXECUTE; if a trigger or a type does, no role
-- does.
ways as (

    select
        executable.function_id,
        'may be called by '
        || case executable.grantee when 0 then 'every role (PUBLIC)' else pg_get_userbyid(executable.grantee)::text end as way
    from executable
    union all
    select
        executable.function_id,
        'is called by the operator ' || left(pg_operator.oid::regoperator::text, 200) as way
    from executable
    inner join pg_operator on executable.function_id = pg_operator.oprcode
    union all
    select
        executable.function_id,
        left(format('is called by the cast from %s to %s', pg_cast.castsource::regtype, pg_cast.casttarget::regtype), 200) as way
    from executable
    inner join pg_cast on executable.function_id = pg_cast.castfunc
    union all
    select
        definers.function_id,
        'is called by the aggregate ' || left(pg_aggregate.aggfnoid::oid::regprocedure::text, 200) as way
    from pg_aggregate
    inner join pg_proc on pg_aggregate.aggfnoid = pg_proc.oid
    cross join
        lateral unnest(
            array[
                pg_aggregate.aggtransfn, pg_aggregate.aggfinalfn, pg_aggregate.aggcombinefn, pg_aggregate.aggserialfn,
                pg_aggregate.aggdeserialfn, pg_aggregate.aggmtransfn, pg_aggregate.aggminvtransfn, pg_aggregate.aggmfinalfn
            ]::oid[]
        ) as called (function_id)
    inner join definers on called.function_id = definers.function_id
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
    -- Ranges, operator classes and the like call it without checking EXECUTE.
    select
        definers.function_id,
        'is called by the ' || left(pg_describe_object(pg_depend.classid, pg_depend.objid, 0), 200) as way
    from definers
    inner join pg_depend on pg_depend.refclassid = 'pg_proc'::regclass and definers.function_id = pg_depend.refobjid
    where
        pg_depend.classid in (
            'pg_type'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass, 'pg_amproc'::regclass, 'pg_conversion'::regclass,
            'pg_ts_parser'::regclass, 'pg_ts_template'::regclass, 'pg_transform'::regclass, 'pg_language'::regclass
        )
    union all
    select
        definers.function_id,
        format('is run by the event trigger %s', pg_event_trigger.evtname) as way
    from pg_event_trigger
    inner join definers on pg_event_trigger.evtfoid = definers.function_id

),

callable_definers as (

    select
        function_id,
        string_agg(way, ', ' order by way) filter (where place <= 3)
        || case when count(*) > 3 then format(' and %s more ways', count(*) - 3) else '' end as ways
    from (
        select
            each_way.*,
            row_number() over (
                partition by each_way.function_id
                order by each_way.way
            ) as place
        from (
            select distinct
                ways.function_id,
                ways.way
            from ways
        ) as each_way
    ) as numbered
    group by function_id

)

-- The checks take the place of what follows.
select name
from outside
