-- severity: warning
-- title: A function or materialized view outside dpe's schemas cannot be judged
-- why: it runs SQL from a string as an owner that sees protected rows; the catalog does not record what it reads
select
    definers.function_id::regprocedure::text as subject,
    format(
        'runs SQL from a string with the rights of %s, so the catalog does not record what it reads; it %s%s',
        definers.owner,
        callable_definers.ways,
        case when definers.has_safe_path then '' else '; its caller chooses its search_path' end
    ) as detail,
    format('alter routine %s security invoker, or review it and write its body as begin atomic', definers.function_id::regprocedure) as fix
from definers
inner join callable_definers on definers.function_id = callable_definers.function_id
where
    definers.is_of_privileged
    and not definers.is_of_dpe
    and not definers.is_of_extension
    and (
        definers.function_id in (select unjudged.function_id from unjudged)
        or exists (
            select from reads
            where reads.class_id = 'pg_proc'::regclass and reads.object_id = definers.function_id and not reads.is_of_protected
        )
    )
    and not exists (
        select from reads
        where reads.class_id = 'pg_proc'::regclass and reads.object_id = definers.function_id and reads.is_of_protected
    )
union all
select
    outside.name as subject,
    format(
        'keeps what %s sees through %s, which runs SQL from a string, so the catalog does not record what it reads',
        outside.owner,
        roots.names
    ) as detail,
    'review it, or make it a view with security_invoker' as fix
from outside
inner join roots on roots.class_id = 'pg_class'::regclass and outside.relation_id = roots.object_id and not roots.is_of_protected
where
    outside.kind = 'm'
    and outside.is_of_privileged
    and outside.readers <> '{}'
    and not exists (
        select from reads as of_protected
        where
            of_protected.class_id = 'pg_class'::regclass
            and of_protected.object_id = outside.relation_id
            and of_protected.is_of_protected
    )
