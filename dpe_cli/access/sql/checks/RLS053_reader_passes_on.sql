-- severity: warning
-- title: A reader or auditor passes on what it sees
-- why: other roles read its rows without having been granted them
-- One finding per role, however many objects it creates. A reader's view shows other readers their own rows; an auditor's view shows
-- what the auditor sees.
with

passed_on as (

    select
        outside.owner_id,
        outside.name
    from outside
    inner join reads on reads.class_id = 'pg_class'::regclass and outside.relation_id = reads.object_id and reads.is_of_protected
    where outside.kind = 'm' and outside.readers <> '{}'
    union
    select
        acting_as_owner.owner_id,
        acting_as_owner.name
    from acting_as_owner
    where acting_as_owner.is_reading and acting_as_owner.readers <> '{}' and pg_has_role(acting_as_owner.owner_id, 'dpe_auditor', 'usage')
    union
    -- Many can act as this role; its relation may also be a copy that a hook of the pipeline made (RLS045).
    select
        outside.owner_id,
        outside.name
    from outside
    inner join dpe_roles on outside.owner_id = dpe_roles.role_id and dpe_roles.is_of_readers
    union
    select
        pg_largeobject_metadata.lomowner,
        format('large object %s', pg_largeobject_metadata.oid) as name
    from pg_largeobject_metadata
    inner join dpe_roles on pg_largeobject_metadata.lomowner = dpe_roles.role_id and dpe_roles.is_of_readers
    union
    select
        definers.owner_id,
        definers.name
    from definers
    inner join callable_definers on definers.function_id = callable_definers.function_id
    where
        definers.function_id in (select unjudged.function_id from unjudged)
        or definers.function_id in (
            select reads.object_id
            from reads
            where reads.class_id = 'pg_proc'::regclass
        )

),

numbered as (

    select
        owner_id,
        name,
        row_number() over (
            partition by owner_id
            order by name
        ) as place
    from passed_on

)

select
    pg_get_userbyid(numbered.owner_id)::text as subject,
    format(
        'lets other roles read what it sees, or may do so, through %s%s',
        string_agg(numbered.name, ', ' order by numbered.name) filter (where numbered.place <= 3),
        case when count(*) > 3 then format(' and %s more', count(*) - 3) else '' end
    ) as detail,
    'ask this role''s owner; no policy can stop it from passing on its own rows' as fix
from numbered
where
    numbered.owner_id not in (select privileged.role_id from privileged)
    -- Unless an application may act as dpe_tenant, what belongs to it is an error (RLS045, RLS062).
    and numbered.owner_id not in (
        select dpe_roles.role_id
        from dpe_roles
        where not dpe_roles.is_of_readers
    )
    and (
        numbered.owner_id in (
            select readers.role_id
            from readers
            where readers.is_granted_directly
        )
        or pg_has_role(numbered.owner_id, 'dpe_auditor', 'usage')
    )
group by numbered.owner_id
