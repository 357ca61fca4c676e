"""
Ways to bypass the policies from outside dpe's schemas, harmless look-alikes, and what a reader may do with its own rights.

In statements, {ua}, {ha} and {intern} are the names of roles, and {host}, {port} and {database} those of the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Orders of two shops, the tenants: two of UA, one of HA. Made by hand as dbt makes a table, which takes longer.
PROTECTED = """
    set role dpe_transformer;
    create schema finance;
    grant usage on schema finance to dpe_owner, dpe_reader, dpe_tenant, dpe_masked_reader;
    create table finance.fct_orders (order_id integer, shop text not null, amount integer);
    insert into finance.fct_orders values (1, 'UA', 10), (2, 'UA', 20), (3, 'HA', 30);
    create index on finance.fct_orders (shop);
    alter table finance.fct_orders enable row level security, force row level security;
    create policy dpe_system on finance.fct_orders to dpe_transformer
    using ((select dpe.every_tenant_is_open()) or shop = any ((select dpe.visible_tenants())::text[]))
    with check ((select dpe.every_tenant_is_open()) or shop = any ((select dpe.visible_tenants())::text[]));
    create policy dpe_admin on finance.fct_orders for select to dpe_owner
    using ((select dpe.every_tenant_is_open()) or shop = any ((select dpe.visible_tenants())::text[]));
    create policy dpe_reader on finance.fct_orders for select to dpe_reader, dpe_masked_reader
    using (shop = any ((select dpe.visible_tenants())::text[]));
    create policy dpe_mask on finance.fct_orders as restrictive for select to dpe_reader
    using (shop = any ((select case when pg_has_role('dpe_masked_reader', 'usage') then null else dpe.visible_tenants() end)::text[]));
    comment on policy dpe_system on finance.fct_orders is 'tenant_column shop';
    grant select on finance.fct_orders to dpe_owner, dpe_reader;
    grant select (order_id, shop) on finance.fct_orders to dpe_masked_reader;
    create view finance.orders_seen with (security_invoker = true) as select * from finance.fct_orders;
    grant select on finance.orders_seen to dpe_reader;
    create view finance.fct_orders__masked with (security_invoker = true) as
    select order_id, shop, null::integer as amount from finance.fct_orders;
    grant select on finance.fct_orders__masked to dpe_masked_reader;
    reset role
"""

UNMASKED = "drop policy dpe_mask on finance.fct_orders"
COUNT = "select count(*) from finance.fct_orders"
DEFINER = f"security definer begin atomic {COUNT}; end"
AS_STRING = f"security definer as $$ {COUNT} $$"
CLOSED_ELSEWHERE = "revoke all on function copies.leak(integer, integer) from public"
CLOSED = "revoke all on function public.leak({}) from public"
OPEN_TABLE = "create table public.box (id integer, seen bigint); grant all on public.box to public"
LOOP = """
    create extension postgres_fdw;
    create server loop foreign data wrapper postgres_fdw options (dbname '{database}', host '{host}', port '{port}');
    create foreign table public.far (order_id integer) server loop options (schema_name 'finance', table_name 'fct_orders')
"""


# A hook of a model copies what it built.
COPY = (
    "create schema copies authorization dpe_transformer; set local role dpe_transformer; set local dpe.actor = 'hook';"
    f" create table copies.leak as {COUNT}; grant usage on schema copies to public"
)


@dataclass(frozen=True)
class Leak:
    """How a reader of UA, which may see two orders, gets to see three; or a masked reader of UA masked columns."""

    made_by: str
    read_by: str
    check_id: str
    seen: tuple[Any, ...] = (3,)
    reader: str = "ua"


LEAKS = {
    "a view": Leak(f"create view public.leak as {COUNT}; grant select on public.leak to public", "select * from public.leak", "RLS025"),
    "a view of a view": Leak(
        f"create view public.inner_view as {COUNT}; create view public.leak as select * from public.inner_view;"
        " grant select on public.leak to public",
        "select * from public.leak",
        "RLS025",
    ),
    "a materialized view": Leak(
        f"create materialized view public.leak as {COUNT}; grant select on public.leak to public", "select * from public.leak", "RLS026"
    ),
    "a materialized view of a view with its reader's rights": Leak(
        "create materialized view public.leak as select count(*) from finance.orders_seen; grant select on public.leak to public",
        "select * from public.leak",
        "RLS026",
    ),
    "a materialized view of a function": Leak(
        f"create function public.leak() returns bigint language sql begin atomic {COUNT}; end; {CLOSED.format('')};"
        " create materialized view public.kept as select public.leak(); grant select on public.kept to public",
        "select * from public.kept",
        "RLS026",
    ),
    "a function": Leak(f"create function public.leak() returns bigint language sql {DEFINER}", "select public.leak()", "RLS042"),
    "a function over a view with its reader's rights": Leak(
        "create function public.leak() returns bigint language sql security definer"
        " begin atomic select count(*) from finance.orders_seen; end",
        "select public.leak()",
        "RLS042",
    ),
    "a function over a function with its caller's rights": Leak(
        f"create function public.called() returns bigint language sql begin atomic {COUNT}; end;"
        " create function public.leak() returns bigint language sql security definer begin atomic select public.called(); end",
        "select public.leak()",
        "RLS042",
    ),
    "a function of one reader only": Leak(
        f"create function public.leak() returns bigint language sql {DEFINER}; {CLOSED.format('')};"
        " grant execute on function public.leak() to {ua}",
        "select public.leak()",
        "RLS042",
    ),
    "a procedure": Leak(f"create procedure public.leak(out seen bigint) language sql {DEFINER}", "call public.leak(null)", "RLS042"),
    "a function that only an aggregate may call": Leak(
        f"create function public.leak(bigint, integer) returns bigint language sql {DEFINER}; {CLOSED.format('bigint, integer')};"
        " create aggregate public.leak_of (integer) (sfunc = public.leak, stype = bigint)",
        "select public.leak_of(1)",
        "RLS042",
    ),
    "an operator of a function in a closed schema": Leak(
        f"create schema closed; create function closed.leak(integer, integer) returns bigint language sql {DEFINER};"
        " create operator public.=== (function = closed.leak, leftarg = integer, rightarg = integer)",
        "select 1 operator(public.===) 1",
        "RLS042",
    ),
    "a cast by a function in a closed schema": Leak(
        "create schema closed; create type public.pair as (first integer, second integer);"
        f" create function closed.leak(public.pair) returns bigint language sql {DEFINER};"
        " create cast (public.pair as bigint) with function closed.leak(public.pair)",
        "select row(1, 2)::public.pair::bigint",
        "RLS042",
    ),
    "a function with a body in a string": Leak(
        f"create function public.leak() returns bigint language sql {AS_STRING}", "select public.leak()", "RLS043"
    ),
    "a function with a body in a string, which names the table in a default": Leak(
        "create function public.leak(of regclass default 'finance.fct_orders') returns bigint language plpgsql security definer as"
        " $$ declare found bigint; begin execute format('select count(*) from %s', of) into found; return found; end $$",
        "select public.leak()",
        "RLS043",
    ),
    "a function that calls one with a body in a string": Leak(
        f"create function public.called() returns bigint language sql as $$ {COUNT} $$;"
        " create function public.leak() returns bigint language sql security definer begin atomic select public.called(); end",
        "select public.leak()",
        "RLS043",
    ),
    "a function that has PostgreSQL run a string": Leak(
        "create function public.leak() returns bigint language sql security definer begin atomic"
        " select count(*) from ts_stat('select to_tsvector(''simple'', shop) from finance.fct_orders'); end",
        "select public.leak()",
        "RLS043",
        # The words UA and HA.
        seen=(2,),
    ),
    "a function that connects back": Leak(
        "create extension dblink schema public; create function public.leak() returns bigint language sql security definer begin atomic"
        " select back.seen from public.dblink('host={host} port={port} dbname={database} user=postgres',"
        f" '{COUNT}') as back (seen bigint); end",
        "select public.leak()",
        "RLS043",
    ),
    "a trigger whose function no other role may call": Leak(
        f"{OPEN_TABLE}; create function public.leak() returns trigger language plpgsql security definer as"
        f" $$ begin new.seen := ({COUNT}); return new; end $$; {CLOSED.format('')};"
        " create trigger leak before insert on public.box for each row execute function public.leak()",
        "insert into public.box values (1) returning seen",
        "RLS043",
    ),
    "a materialized view of a function with a body in a string": Leak(
        f"create function public.called() returns bigint language sql as $$ {COUNT} $$;"
        " create materialized view public.leak as select public.called(); grant select on public.leak to public",
        "select * from public.leak",
        "RLS043",
    ),
    "a rule of a table": Leak(
        f"{OPEN_TABLE}; create rule leak as on insert to public.box do instead {COUNT}", "insert into public.box values (1)", "RLS044"
    ),
    "a rule of a view with its reader's rights": Leak(
        "create view public.box with (security_invoker = true) as select 1 as id; grant all on public.box to public;"
        f" create rule leak as on insert to public.box do instead {COUNT}",
        "insert into public.box values (1)",
        "RLS044",
    ),
    "a copy by the pipeline": Leak(
        f"create schema copies authorization dpe_transformer; set local role dpe_transformer; set local dpe.actor = 'hook';"
        f" create table copies.leak as {COUNT}; grant usage on schema copies to public; grant select on copies.leak to {{ua}}; reset role",
        "select * from copies.leak",
        "RLS045",
    ),
    "a copy by the pipeline under a policy that is true": Leak(
        f"create schema copies authorization dpe_transformer; set local role dpe_transformer; set local dpe.actor = 'hook';"
        f" create table copies.leak as {COUNT}; grant usage on schema copies to public; grant select on copies.leak to public;"
        " alter table copies.leak enable row level security, force row level security;"
        " create policy leak on copies.leak using (true); reset role",
        "select * from copies.leak",
        "RLS045",
    ),
    "a copy by the pipeline under a policy that is always true": Leak(
        f"{COPY}; grant select on copies.leak to {{ua}};"
        " alter table copies.leak enable row level security, force row level security;"
        " create policy leak on copies.leak for select to {ua} using (1 = 1); reset role",
        "select * from copies.leak",
        "RLS045",
    ),
    "a copy by the pipeline that another of dpe's roles owns": Leak(
        f"{COPY}; grant create on schema copies to dpe_tenant; grant select on copies.leak to {{ua}};"
        " alter table copies.leak owner to dpe_tenant; reset role",
        "select * from copies.leak",
        "RLS045",
    ),
    "a copy by the pipeline that its readers own": Leak(
        f"{COPY}; grant create on schema copies to dpe_reader; alter table copies.leak owner to dpe_reader; reset role",
        "select * from copies.leak",
        "RLS045",
    ),
    "a view of a copy by the pipeline": Leak(
        f"{COPY}; create view copies.seen as select * from copies.leak; grant select on copies.seen to {{ua}}; reset role",
        "select * from copies.seen",
        "RLS045",
    ),
    "a rule over a copy by the pipeline": Leak(
        f"{COPY}; create table copies.box (id integer); grant insert on copies.box to {{ua}}; reset role;"
        " create rule leak as on insert to copies.box do instead select * from copies.leak",
        "insert into copies.box values (1)",
        "RLS045",
    ),
    "a copy in a large object of another of dpe's roles": Leak(
        "set local role dpe_transformer; select lo_from_bytea(4712, 'UA, HA'); grant select on large object 4712 to {ua};"
        " alter large object 4712 owner to dpe_tenant; reset role",
        "select convert_from(lo_get(4712), 'utf8')",
        "RLS045",
        seen=("UA, HA",),
    ),
    "a copy in a large object": Leak(
        "set local role dpe_transformer; select lo_from_bytea(4711, 'UA, HA'); grant select on large object 4711 to public; reset role",
        "select convert_from(lo_get(4711), 'utf8')",
        "RLS045",
        seen=("UA, HA",),
    ),
    "a parent": Leak(
        "create table public.parent (order_id integer, shop text not null, amount integer);"
        " alter table public.parent owner to dpe_transformer; alter table finance.fct_orders inherit public.parent;"
        " grant select on public.parent to public",
        "select count(*) from public.parent",
        "RLS046",
    ),
    "a foreign table that leads back": Leak(
        f"{LOOP}; create user mapping for public server loop options (user 'postgres', password_required 'false');"
        " grant select on public.far to public",
        "select count(*) from public.far",
        "RLS048",
    ),
    "a view of a foreign table that leads back": Leak(
        f"{LOOP}; create user mapping for postgres server loop options (user 'postgres');"
        " create view public.leak as select count(*) from public.far; grant select on public.leak to public",
        "select * from public.leak",
        "RLS025",
    ),
    "a function of the pipeline, whose context its caller opens": Leak(
        f"set local role dpe_transformer; create function finance.leak() returns bigint language sql {DEFINER};"
        " grant execute on function finance.leak() to {ua}; reset role",
        "set local dpe.actor = 'me'; select finance.leak()",
        "RLS029",
    ),
    "a function of the pipeline that only an aggregate may call": Leak(
        "set local role dpe_transformer;"
        f" create function finance.leak(bigint, integer) returns bigint language sql {AS_STRING};"
        " create aggregate finance.leak_of (integer) (sfunc = finance.leak, stype = bigint);"
        " grant execute on function finance.leak_of(integer) to public; reset role",
        "set local dpe.actor = 'me'; select finance.leak_of(1)",
        "RLS029",
    ),
    "a function of another of dpe's roles": Leak(
        f"create schema copies authorization dpe_transformer; set local role dpe_transformer; grant usage on schema copies to public;"
        " grant create on schema copies to dpe_tenant; create function copies.leak(tenant text) returns bigint language plpgsql"
        f" security definer as $$ begin perform set_config('dpe.tenant_id', tenant, true); return ({COUNT}); end $$;"
        " grant execute on function copies.leak(text) to {ua}; alter function copies.leak(text) owner to dpe_tenant; reset role",
        "select copies.leak('UA') + copies.leak('HA')",
        "RLS062",
    ),
    "a function of the pipeline that was added to an extension": Leak(
        "create schema copies authorization dpe_transformer; set local role dpe_transformer; grant usage on schema copies to public;"
        f" create extension hstore schema copies; create function copies.leak() returns bigint language sql {AS_STRING};"
        " grant execute on function copies.leak() to {ua}; alter extension hstore add function copies.leak(); reset role",
        "set local dpe.actor = 'me'; select copies.leak()",
        "RLS062",
    ),
    "a function that calls one which the pipeline added to an extension": Leak(
        "create schema copies authorization dpe_transformer; set local role dpe_transformer; create extension hstore schema copies;"
        f" create function copies.called() returns bigint language sql as $$ {COUNT} $$;"
        " alter extension hstore add function copies.called(); grant usage on schema copies to public; reset role;"
        " create function public.leak() returns bigint language sql security definer begin atomic select copies.called(); end",
        "select public.leak()",
        "RLS043",
    ),
    "a trigger of a view, for who may write one of its columns": Leak(
        "create function public.leak() returns trigger language plpgsql security definer as"
        f" $$ begin new.order_id := ({COUNT}); return new; end $$; {CLOSED.format('')};"
        " create trigger leak instead of insert on finance.orders_seen for each row execute function public.leak();"
        " grant insert (shop) on finance.orders_seen to {ua}",
        "insert into finance.orders_seen (shop) values ('UA') returning order_id",
        "RLS063",
    ),
    "a view of a reader with more columns, without the policy of the mask": Leak(
        f"{UNMASKED}; set local role {{ha}}; create view sandbox.leak as select min(amount) from finance.fct_orders;"
        " grant select on sandbox.leak to {intern}; reset role",
        "select * from sandbox.leak",
        "RLS056",
        seen=(10,),
        reader="intern",
    ),
    "a rule of a reader with more columns, without the policy of the mask": Leak(
        f"{UNMASKED}; set local role {{ha}}; create table sandbox.box (id integer); grant insert on sandbox.box to {{intern}};"
        " reset role; create rule leak as on insert to sandbox.box do instead select min(amount) from finance.fct_orders",
        "insert into sandbox.box values (1)",
        "RLS056",
        seen=(10,),
        reader="intern",
    ),
    "a masked reader who may read all data": Leak(
        "grant pg_read_all_data to {intern}", "select min(amount) from finance.fct_orders", "RLS057", seen=(10,), reader="intern"
    ),
}

# PostgreSQL does not check EXECUTE here. A session that has called the function keeps using its cached definition.
LEAK_OF_A_TYPE = Leak(
    "create schema copies authorization dpe_transformer; set local role dpe_transformer; grant usage on schema copies to public;"
    " create table copies.kept (seen bigint); grant select on copies.kept to {ua};"
    " create function copies.keep() returns void language plpgsql as"
    f" $$ begin perform set_config('dpe.actor', 'me', true); insert into copies.kept {COUNT}; end $$;"
    " create function copies.leak(integer, integer) returns double precision language plpgsql immutable security definer as"
    f" $$ begin perform copies.keep(); return 1; end $$; {CLOSED_ELSEWHERE};"
    " create type copies.span as range (subtype = integer, subtype_diff = copies.leak); reset role",
    "create temporary table spans as select copies.span(i, i + 1) as span from generate_series(1, 9) as i; analyze spans;"
    " select seen from copies.kept limit 1",
    "RLS062",
)

# What looks like one of these, but shows a reader only its own rows; with what the checks find.
NO_LEAKS = {
    "a view of a view with its reader's rights": (
        "create view public.leak as select count(*) from finance.orders_seen; grant select on public.leak to public",
        "select * from public.leak",
    ),
    "a function that only its owner may call, in a view": (
        (
            f"create function public.leak() returns bigint language sql {DEFINER}; {CLOSED.format('')};"
            " create view public.seen as select public.leak(); grant select on public.seen to public"
        ),
        "select * from public.seen",
    ),
    "a function that only its owner may call, used by an operator": (
        (
            f"create function public.leak(integer, integer) returns bigint language sql {DEFINER}; {CLOSED.format('integer, integer')};"
            " create operator public.=== (function = public.leak, leftarg = integer, rightarg = integer)"
        ),
        "select 1 operator(public.===) 1",
    ),
    "a function with its caller's rights": (
        f"create function public.leak() returns bigint language sql begin atomic {COUNT}; end",
        "select public.leak()",
    ),
    "a rule that reads a view with its reader's rights": (
        f"{OPEN_TABLE}; create rule leak as on insert to public.box do instead select count(*) from finance.orders_seen",
        "insert into public.box values (1)",
    ),
    "a function of an owner without rights": (
        (
            f"create role plain; create function public.leak() returns bigint language sql {DEFINER};"
            " alter function public.leak() owner to plain"
        ),
        "select public.leak()",
    ),
    "a temporary view, which other sessions cannot reach": (f"create temporary view seen as {COUNT}", "select 2"),
    "a function that calls an extension": (
        (
            "create extension pg_trgm schema public; create function public.leak() returns bigint language sql security definer begin atomic"
            " select 2 where public.similarity('UA', 'HA') < 1; end"
        ),
        "select public.leak()",
    ),
}

# What a reader does with its own rights, as the owner of a schema, with what the checks find, which is never an error.
OWN_AFFAIRS: dict[str, list[str]] = {
    "create temporary view seen as select * from finance.fct_orders": [],
    "create temporary table seen as select * from finance.fct_orders": [],
    f"create function pg_temp.seen() returns bigint language sql {DEFINER}": [],
    f"create view sandbox.seen as {COUNT}; grant select on sandbox.seen to public": [],
    "create table sandbox.seen as select * from finance.fct_orders; grant select on sandbox.seen to public": [],
    f"create materialized view sandbox.seen as {COUNT}; grant select on sandbox.seen to public": ["RLS053"],
    f"create materialized view sandbox.seen as {COUNT}": [],
    f"create function sandbox.seen() returns bigint language sql {DEFINER}": ["RLS053"],
    f"create function sandbox.seen() returns bigint language sql {AS_STRING}": ["RLS053"],
    f"create function sandbox.seen() returns bigint language sql {AS_STRING}; revoke execute on function sandbox.seen() from public": [],
    "create table sandbox.box (id integer); grant all on sandbox.box to public; reset role;"
    f" create rule seen as on insert to sandbox.box do instead {COUNT}": [],
    "grant create on schema sandbox to public": [],
    # It changes a view, and a function, that an administrator's view and function use.
    "create view sandbox.seen as select 1::bigint as count; grant select on sandbox.seen to public; reset role;"
    " create view public.over as select * from sandbox.seen; grant select on public.over to public; set local role {ha};"
    f" create or replace view sandbox.seen as {COUNT}": [],
    "create function sandbox.seen() returns bigint language sql security definer begin atomic select 1; end; reset role;"
    " create function public.over() returns bigint language sql security definer begin atomic select sandbox.seen(); end;"
    f" set local role {{ha}}; create or replace function sandbox.seen() returns bigint language sql {DEFINER}": ["RLS053"],
    "alter role {ha} set row_security = off": ["RLS054"],
    # Any reader can act as its group role, which does not log in, so that the role's settings have no effect.
    "set local role dpe_reader; alter role dpe_reader set row_security = off; alter role dpe_reader set search_path = sandbox": [],
    "set local role dpe_masked_reader; alter role dpe_masked_reader set row_security = off": [],
    "set local role dpe_auditor; alter role dpe_auditor set row_security = off": [],
    "grant create on schema sandbox to dpe_reader; set local role dpe_reader; create table sandbox.seen as select 1 as id;"
    " grant select on sandbox.seen to public": ["RLS053"],
    f"grant create on schema sandbox to dpe_reader; set local role dpe_reader; create view sandbox.seen as {COUNT};"
    " grant select on sandbox.seen to public": ["RLS053"],
    f"grant create on schema sandbox to dpe_reader; set local role dpe_reader; create function sandbox.seen() returns bigint language sql"
    f" {DEFINER}": ["RLS053"],
    "set local role dpe_reader; select lo_create(4713); grant select on large object 4713 to public": ["RLS053"],
    f"set local role dpe_reader; create function pg_temp.seen() returns bigint language sql {AS_STRING}": [],
    "alter role {ha} set search_path = sandbox": [],
    "alter default privileges grant select on tables to public": [],
    "alter default privileges in schema sandbox grant all on tables to public, dpe_reader": [],
    "create type sandbox.word as (letters text); create function sandbox.to_text(sandbox.word) returns text language sql"
    " begin atomic select ($1).letters; end; create cast (sandbox.word as text) with function sandbox.to_text(sandbox.word) as implicit": [],
}

# What an application does as dpe_tenant, which it may act as, with what the checks find.
OF_APPLICATIONS: dict[str, list[str]] = {
    "select lo_create(4714); grant select on large object 4714 to public": ["RLS053"],
    f"create function pg_temp.seen() returns bigint language sql {DEFINER}": [],
    f"create function pg_temp.seen() returns bigint language sql {AS_STRING}": [],
    "create temporary table seen as select * from finance.orders_seen; grant select on seen to public": [],
    f"create view sandbox.seen as {COUNT}; grant select on sandbox.seen to public": ["RLS053"],
    f"create function sandbox.seen() returns bigint language sql {DEFINER}": ["RLS053"],
    f"create function sandbox.seen() returns bigint language sql {AS_STRING}": ["RLS053"],
    "create function sandbox.plain() returns bigint language sql as 'select 1'": [],
    "create table sandbox.seen as select 1 as id; grant all on sandbox.seen to public": ["RLS053"],
    "alter default privileges grant usage on schemas to public": [],
    "alter default privileges grant all on sequences to public; alter default privileges grant all on tables to public": [],
    "alter role dpe_tenant set row_security = off; alter role dpe_tenant set search_path = sandbox": [],
}
