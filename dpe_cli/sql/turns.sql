-- Bootstraps of one database take turns: each locks a row that no other login can reach, to the end of its transaction. The first
-- ones wait for each other's schema or table, and then fail because it is there already: `bootstrap` tries again.
create table if not exists dpe.locks (
    name text primary key
);

insert into dpe.locks (name)
values ('bootstrap')
on conflict do nothing;

select name
from dpe.locks
where name = 'bootstrap'
for update;
