-- Bootstraps of one database take turns: each locks a row that no other login can reach, until the end of its transaction. The first
-- ones wait for each other's schema or table, and then fail because it already exists: `bootstrap` tries again.
--
-- The table has a schema of its own, on which readers have no USAGE, so that they cannot name it. A role that can name a table can
-- queue for its exclusive lock (`create rule` checks the owner only once it has the lock), and every later session queues after it.
create schema if not exists dpe_locks;

create table if not exists dpe_locks.locks (
    name text primary key
);

insert into dpe_locks.locks (name)
values ('bootstrap')
on conflict do nothing;

select name
from dpe_locks.locks
where name = 'bootstrap'
for update;
