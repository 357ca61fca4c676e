-- severity: error
-- title: A protected table has a parent or a child outside dpe's schemas
-- why: a query of a parent ignores the policies of its children, and rows of a child appear in its parent
-- For a partition, `detach partition` does what `no inherit` does for a table that inherits.
select
    child.name as subject,
    format('is a child of %s, queries of which ignore its policies', outside.name) as detail,
    format('alter table %s no inherit %s', child.name, outside.name) as fix
from pg_inherits
inner join protected as child on pg_inherits.inhrelid = child.relation_id
inner join outside on pg_inherits.inhparent = outside.relation_id
union all
select
    parent.name as subject,
    format('has the child %s outside dpe''s schemas, whose rows appear in it', outside.name) as detail,
    format('alter table %s no inherit %s', outside.name, parent.name) as fix
from pg_inherits
inner join protected as parent on pg_inherits.inhparent = parent.relation_id
inner join outside on pg_inherits.inhrelid = outside.relation_id
