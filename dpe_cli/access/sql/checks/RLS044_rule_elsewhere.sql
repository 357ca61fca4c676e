-- severity: error
-- title: A rule outside dpe's schemas reads or writes protected rows
-- why: it acts as the owner of its relation, for every role that may write to that relation
select
    name as subject,
    format('has the rule %s, which reads or writes %s with the rights of %s, for other roles that may write', rule_name, roots, owner)
        as detail,
    format('drop rule %I on %s, or revoke insert, update and delete on it from these roles', rule_name, name) as fix
from acting_as_owner
where not is_reading and is_of_privileged and writers <> '{}'
