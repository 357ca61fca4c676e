-- severity: warning
-- title: A rule or trigger on a protected table
-- why: it may copy rows to where no policy protects them
select
    managed.name as subject,
    format('has the trigger %s, which runs for each statement that changes it', pg_trigger.tgname) as detail,
    format('drop trigger %I on %s, if it copies rows', pg_trigger.tgname, managed.name) as fix
from managed
inner join pg_trigger on managed.relation_id = pg_trigger.tgrelid
where not pg_trigger.tgisinternal and managed.schema_name <> 'dpe'
union all
select
    managed.name as subject,
    format('has the rule %s, which rewrites statements', pg_rewrite.rulename) as detail,
    format('drop rule %I on %s', pg_rewrite.rulename, managed.name) as fix
from managed
inner join pg_rewrite on managed.relation_id = pg_rewrite.ev_class
where managed.is_table
