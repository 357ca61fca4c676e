-- severity: error
-- title: A trigger or rule on a protected relation that acts for others
-- why: a trigger runs for any role that may write a column, and a SECURITY DEFINER function in it runs as its owner
select
    protected.name as subject,
    format(
        'has the trigger %s, %s',
        pg_trigger.tgname,
        case
            when pg_proc.prosecdef
                then format('whose function %s runs with the rights of %s', pg_proc.oid::regprocedure, pg_get_userbyid(pg_proc.proowner))
            else 'which other roles can fire by writing to the relation'
        end
    ) as detail,
    format('drop trigger %I on %s', pg_trigger.tgname, protected.name) as fix
from pg_trigger
inner join protected on pg_trigger.tgrelid = protected.relation_id
inner join pg_proc on pg_trigger.tgfoid = pg_proc.oid
left join others on protected.relation_id = others.relation_id
where not pg_trigger.tgisinternal and (pg_proc.prosecdef or others.writers <> '{}')
union all
select
    protected.name as subject,
    format('has the rule %s, through which roles that may write to it act as its owner', pg_rewrite.rulename) as detail,
    format('drop rule %I on %s', pg_rewrite.rulename, protected.name) as fix
from pg_rewrite
inner join protected on pg_rewrite.ev_class = protected.relation_id
inner join others on protected.relation_id = others.relation_id
where pg_rewrite.ev_type <> '1' and others.writers <> '{}'
