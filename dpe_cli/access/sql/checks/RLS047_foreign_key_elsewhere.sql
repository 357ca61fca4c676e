-- severity: warning
-- title: A foreign key ties a protected table to one that other roles write
-- why: foreign keys ignore policies: a refusal shows that a value exists, and a cascade changes rows
select
    protected.name as subject,
    format('is referenced by %s, to which other roles may write: a refusal shows which values exist', outside.name) as detail,
    format('alter table %s drop constraint %I', outside.name, pg_constraint.conname) as fix
from pg_constraint
inner join protected on pg_constraint.confrelid = protected.relation_id
inner join outside on pg_constraint.conrelid = outside.relation_id
where pg_constraint.contype = 'f' and outside.writers <> '{}'
union all
select
    protected.name as subject,
    format('references %s, to which other roles may write: their changes are applied to it, or block it', outside.name) as detail,
    format('alter table %s drop constraint %I', protected.name, pg_constraint.conname) as fix
from pg_constraint
inner join protected on pg_constraint.conrelid = protected.relation_id
inner join outside on pg_constraint.confrelid = outside.relation_id
where pg_constraint.contype = 'f' and outside.writers <> '{}'
