-- severity: error
-- title: A protected table has a parent or a child
-- why: a query of a parent ignores the policies of its children, and rows of a child appear in its parent
-- Only a staging table has children: its slices, which it protects, and which other roles cannot read. Other sessions do not see the
-- rows of temporary children.
with

linked as (

    select
        pg_inherits.inhrelid as child_id,
        pg_inherits.inhparent as parent_id,
        format('%I.%I', child_schemas.nspname, child.relname) as child_name,
        format('%I.%I', parent_schemas.nspname, parent.relname) as parent_name,
        child.relispartition as is_partition,
        child.relispartition
        and pg_get_userbyid(child.relowner) = 'dpe_loader'
        and pg_get_userbyid(parent.relowner) = 'dpe_loader'
        and child.relnamespace = parent.relnamespace as is_slice
    from pg_inherits
    inner join pg_class as child on pg_inherits.inhrelid = child.oid
    inner join pg_namespace as child_schemas on child.relnamespace = child_schemas.oid
    inner join pg_class as parent on pg_inherits.inhparent = parent.oid
    inner join pg_namespace as parent_schemas on parent.relnamespace = parent_schemas.oid
    where child.relkind in ('r', 'p', 'f') and child.relpersistence <> 't' and parent.relpersistence <> 't'

)

select
    case when child.relation_id is null then linked.parent_name else linked.child_name end as subject,
    case
        when child.relation_id is null then format('has the child %s, whose rows appear in it', linked.child_name)
        else format('is a child of %s, queries of which ignore its policies', linked.parent_name)
    end as detail,
    case
        when linked.is_partition then format('alter table %s detach partition %s', linked.parent_name, linked.child_name)
        else format('alter table %s no inherit %s', linked.child_name, linked.parent_name)
    end as fix
from linked
left join protected as child on linked.child_id = child.relation_id
left join protected as parent on linked.parent_id = parent.relation_id
where not linked.is_slice and coalesce(child.relation_id, parent.relation_id) is not null
