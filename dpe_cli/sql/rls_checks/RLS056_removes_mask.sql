-- severity: error
-- title: A reader's view or rule removes a mask
-- why: it combines the reader's privileges with the tenants of the masked reader who uses it
with

-- The columns that the view for masked readers leaves out.
masked as (

    select
        protected.relation_id,
        protected.name,
        pg_attribute.attnum
    from protected
    inner join protected as shown
        on
            protected.schema_name = shown.schema_name
            and shown.relation_name = protected.relation_name || '__masked'
            and shown.kind = 'v'
    inner join pg_attribute on protected.relation_id = pg_attribute.attrelid and pg_attribute.attnum > 0 and not pg_attribute.attisdropped
    where
        not exists (
            select
            from pg_rewrite
            inner join pg_depend on pg_depend.classid = 'pg_rewrite'::regclass and pg_rewrite.oid = pg_depend.objid
            where
                pg_rewrite.ev_class = shown.relation_id
                and pg_depend.refclassid = 'pg_class'::regclass
                and pg_depend.refobjid = protected.relation_id
                and pg_depend.refobjsubid = pg_attribute.attnum
        )

),

-- Views and rules with their owner's rights that name one of them, or a row as a whole, or a view that does.
unmasking as (

    with recursive named (relation_id, rule_name, is_reading, name) as (

        select
            pg_rewrite.ev_class as relation_id,
            pg_rewrite.rulename as rule_name,
            pg_rewrite.ev_type = '1' as is_reading,
            masked.name
        from masked
        inner join pg_depend
            on
                pg_depend.classid = 'pg_rewrite'::regclass
                and pg_depend.refclassid = 'pg_class'::regclass
                and masked.relation_id = pg_depend.refobjid
        inner join pg_rewrite on pg_depend.objid = pg_rewrite.oid
        where
            (masked.attnum = pg_depend.refobjsubid or pg_rewrite.ev_action::text ~ ':varattno 0 ')
            and not (pg_rewrite.ev_type = '1' and pg_rewrite.ev_class in (select invokers_views.relation_id from invokers_views))
        union
        select
            dependencies.object_id as relation_id,
            dependencies.rule_name,
            dependencies.is_reading,
            named.name
        from named
        inner join dependencies
            on
                dependencies.class_id = 'pg_class'::regclass
                and dependencies.named_class_id = 'pg_class'::regclass
                and named.relation_id = dependencies.named_id
        where
            named.is_reading
            -- It keeps rows of its owner's tenants.
            and named.relation_id not in (
                select outside.relation_id
                from outside
                where outside.kind = 'm'
            )
            and not (dependencies.is_reading and dependencies.object_id in (select invokers_views.relation_id from invokers_views))

    )

    select *
    from named

)

select
    outside.name as subject,
    format(
        'shows masked columns of %s to %s, with the privileges of %s',
        unmasking.name,
        string_agg(distinct pg_roles.rolname, ', '),
        outside.owner
    ) as detail,
    case
        when unmasking.is_reading then format('alter view %s set (security_invoker = true)', outside.name)
        else format('drop rule %I on %s', unmasking.rule_name, outside.name)
    end as fix
from unmasking
inner join outside
    on unmasking.relation_id = outside.relation_id and outside.kind <> 'm' and not outside.is_of_privileged
cross join lateral unnest(case when unmasking.is_reading then outside.readers else outside.writers end) as granted (role_id)
inner join pg_roles
    on
        pg_has_role(pg_roles.oid, 'dpe_masked_reader', 'member')
        and not pg_has_role(pg_roles.oid, 'dpe_reader', 'member')
        and pg_roles.rolname <> 'dpe_masked_reader'
        and (granted.role_id = 0 or pg_has_role(pg_roles.oid, granted.role_id, 'usage'))
where pg_has_role(outside.owner_id, 'dpe_reader', 'usage')
group by outside.name, outside.owner, unmasking.is_reading, unmasking.rule_name, unmasking.name
