-- severity: warning
-- title: A subscription writes into a protected table
-- why: rows arrive without passing the loader, the rules or the ledger
select
    protected.name as subject,
    format('gets rows from the subscription %s, bypassing the pipeline', pg_subscription.subname) as detail,
    format('remove %s from the publication that %I subscribes to', protected.name, pg_subscription.subname) as fix
from pg_subscription_rel
inner join pg_subscription on pg_subscription_rel.srsubid = pg_subscription.oid
inner join protected on pg_subscription_rel.srrelid = protected.relation_id
