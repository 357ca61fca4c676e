"""Changes to a database of `protected_project` that weaken its protection, and the check that has to find each."""

from __future__ import annotations

from conftest import numbers

READER = f"reader_of_checks_{next(numbers)}"
OUTSIDE = f"outside_{next(numbers)}"

# A table whose rows are visible by the keys that another one grants.
ACCESS = (
    "comment on policy dpe_system on finance.fct_margins is 'access {model: managers, column: shop, role_column: manager}';"
    "create policy dpe_reader on finance.fct_margins for select to dpe_reader, dpe_masked_reader"
    " using (shop = any ((select dpe.granted_keys('\"finance\".\"managers\"', 'shop', 'manager'))::text[]))"
)
# A text type whose creator writes its cast.
TAG = (
    "create type public.tag as enum ('UA', 'HA'); create function public.tag_text(public.tag) returns text language plpgsql stable as"
    " $$ begin return 'UA'; end $$; create cast (public.tag as text) with function public.tag_text(public.tag)"
)

# Makes the tenant column another type, under the policies of its declaration.
RETYPE = (
    "drop view finance.fct_orders__masked, finance.orders_seen, quality.small_orders; drop policy dpe_system on finance.fct_orders;"
    " drop policy dpe_admin on finance.fct_orders; drop policy dpe_reader on finance.fct_orders; drop policy dpe_mask on finance.fct_orders;"
    " alter table finance.fct_orders alter column shop type {0} using shop::text::{0};"
    " create policy dpe_system on finance.fct_orders to dpe_transformer using (shop::text = any ((select dpe.visible_tenants())::text[]));"
    " comment on policy dpe_system on finance.fct_orders is 'tenant_column shop'"
)

# A function of the pipeline, as a model's hook would create it.
CALLED = (
    "create function finance.called(integer) returns integer language sql immutable as 'select $1';"
    " alter function finance.called(integer) owner to dpe_transformer"
)

# A type whose values that function checks.
NUMBER = f"{CALLED}; create domain finance.number as integer check (finance.called(value) > 0)"

# What an administrator can do in a few statements, by mistake or not. {index} is that of the tenant column of fct_orders; {database}
# and {port} are those of the session.
MUTATIONS = {
    "alter table finance.fct_orders disable row level security": "RLS003",
    "create table finance.copied as select * from finance.fct_orders": "RLS001",
    "create table core.copied as select * from finance.fct_orders": "RLS001",
    "alter table finance.fct_orders no force row level security": "RLS002",
    "alter table dpe.rejects no force row level security": "RLS002",
    "alter table finance.orders_history no force row level security": "RLS002",
    "alter table quality.large_orders no force row level security": "RLS002",
    "alter table dpe.rejects disable row level security": "RLS003",
    "alter table finance.orders disable row level security": "RLS003",
    "alter table quality.large_orders disable row level security": "RLS003",
    "drop policy dpe_system on quality.large_orders; drop policy dpe_admin on quality.large_orders": "RLS004",
    "create policy everybody on finance.fct_orders for select using (false)": "RLS005",
    "create policy everybody on dpe.rejects for select using (source = 'shop')": "RLS005",
    "alter policy dpe_reader on finance.fct_orders to public": "RLS005",
    "alter policy dpe_reader on finance.fct_orders using (true)": "RLS006",
    "alter policy dpe_reader on finance.orders_history using (true)": "RLS006",
    "create policy dpe_reader on finance.fct_margins for select to dpe_reader using (true)": "RLS006",
    "create policy more on dpe.loads for select to dpe_reader using (true)": "RLS006",
    "drop policy dpe_system on finance.fct_orders; create policy dpe_system on finance.fct_orders for all to dpe_transformer"
    " using ((select dpe.every_tenant_is_open()) or shop = any ((select dpe.visible_tenants())::text[]))": "RLS007",
    "alter policy dpe_system on finance.fct_orders with check (true)": "RLS008",
    "alter policy dpe_system on finance.dim_shops with check (true)": "RLS008",
    "create policy cheap on finance.fct_orders for select to dpe_reader using (amount < 15)": "RLS009",
    f"create policy friends on finance.fct_orders for select to {READER} using (shop = 'HA')": "RLS009",
    f"create policy friends on dpe.rule_failures for select to {READER} using (test_id <> '')": "RLS009",
    "alter policy dpe_reader on finance.fct_orders using (shop = any ((select dpe.visible_tenants())::text[]) or amount < 15)": "RLS010",
    "alter policy dpe_reader on finance.fct_orders using (shop is not null)": "RLS010",
    "alter policy dpe_reader on finance.fct_orders using (shop <> all ((select dpe.visible_tenants())::text[]))": "RLS010",
    "alter policy dpe_system on finance.fct_orders using ((select dpe.context_is_open()))": "RLS010",
    "alter policy dpe_system on finance.fct_orders using (shop = 'UA')": "RLS010",
    "alter policy dpe_admin on finance.fct_orders using (true)": "RLS010",
    "alter policy dpe_system on finance.dim_shops using (true)": "RLS010",
    "alter policy dpe_reader on finance.dim_shops using (false)": "RLS010",
    "alter policy dpe_system on finance.fct_orders with check ((select dpe.context_is_open()))": "RLS010",
    f"alter policy dpe_system on finance.fct_orders to dpe_transformer, {READER}": "RLS010",
    f"alter policy dpe_reader on finance.fct_orders to dpe_reader, {OUTSIDE}": "RLS010",
    "alter policy dpe_reader on finance.fct_orders using ((shop || '') = any ((select dpe.visible_tenants())::text[]))": "RLS010",
    "drop policy dpe_reader on finance.fct_orders; create policy dpe_reader on finance.fct_orders to dpe_reader, dpe_masked_reader"
    " using (shop = any ((select dpe.visible_tenants())::text[]))": "RLS010",
    "alter policy dpe_mask on finance.fct_orders using (not (select pg_has_role('dpe_masked_reader', 'usage')) or amount > 0)": "RLS010",
    "alter policy dpe_reader on finance.dim_shops using ((select case when pg_has_role(to_regrole('pg_monitor'), 'usage') then false end))": "RLS010",
    # A mask for other roles than the policy of readers.
    "alter policy dpe_reader on finance.fct_orders"
    " using (shop = any ((select case when pg_has_role(to_regrole('dpe_reader'), 'usage') then dpe.visible_tenants() end)::text[]));"
    " alter policy dpe_mask on finance.fct_orders using (shop = any ((select case when pg_has_role('dpe_masked_reader', 'usage') then null"
    " when pg_has_role(to_regrole('pg_monitor'), 'usage') then dpe.visible_tenants() end)::text[]))": "RLS010",
    # A lookup with the same result for every reader; a table of PostgreSQL's own; a column other than the declared one.
    f"{ACCESS}; alter policy dpe_reader on finance.fct_margins"
    " using ('true'::text = any ((select dpe.granted_keys('pg_catalog.pg_roles', 'rolinherit', 'rolname'))::text[]))": "RLS010",
    f"{ACCESS}; alter policy dpe_reader on finance.fct_margins"
    " using (shop = any ((select dpe.granted_keys('\"pg_catalog\".\"pg_roles\"', 'shop', 'manager'))::text[]))": "RLS010",
    f"{ACCESS}; alter policy dpe_reader on finance.fct_margins"
    " using (shop = any ((select dpe.granted_keys('\"finance\".\"managers\"', 'town', 'manager'))::text[]))": "RLS010",
    "drop policy dpe_reader on finance.fct_orders": "RLS011",
    "drop policy dpe_admin on finance.fct_orders": "RLS011",
    "drop policy dpe_system on finance.fct_orders": "RLS011",
    "comment on policy dpe_system on finance.fct_orders is null": "RLS011",
    "create policy dpe_reader on finance.fct_margins for select to dpe_reader using (shop = 'UA')": "RLS012",
    "grant select on finance.fct_orders to public": "RLS013",
    "grant select (amount) on finance.fct_orders to public": "RLS013",
    "grant select on dpe.rejects to public": "RLS013",
    "grant usage on schema core to public": "RLS013",
    "grant insert on finance.fct_orders to dpe_reader": "RLS014",
    f"grant update on finance.fct_orders to {READER}": "RLS014",
    "grant truncate on finance.dim_shops to dpe_reader": "RLS014",
    "grant references on finance.dim_shops to dpe_tenant": "RLS014",
    "grant insert on dpe.tenant_access to dpe_reader": "RLS014",
    f"grant select on finance.fct_orders to {READER} with grant option": "RLS014",
    "grant insert (shop) on finance.orders_seen to dpe_reader": "RLS014",
    "grant references (order_id) on finance.fct_orders to dpe_reader": "RLS014",
    f"grant update (amount) on finance.fct_orders to {OUTSIDE}": "RLS014",
    f"grant select (amount) on finance.fct_orders to {READER} with grant option": "RLS014",
    "grant create on schema finance to dpe_reader": "RLS015",
    f"grant create on schema raw to {READER}": "RLS015",
    "grant select on finance.fct_margins to dpe_reader": "RLS016",
    "grant select on dpe.rule_failures to dpe_reader": "RLS016",
    f"grant select on quality.large_orders to {READER}": "RLS016",
    "grant select on quality.small_orders to dpe_reader": "RLS016",
    "grant select on raw.stg_orders to dpe_reader": "RLS016",
    "grant select (order_id, shop) on finance.fct_margins to dpe_reader": "RLS016",
    "alter role dpe_reader bypassrls": "RLS017",
    "alter role dpe_transformer superuser": "RLS017",
    f"alter role {READER} bypassrls": "RLS017",
    "create role bypassing bypassrls; grant bypassing to dpe_reader": "RLS018",
    f"create role bypassing superuser; grant bypassing to {READER}": "RLS018",
    "create role bypassing bypassrls; create role between; grant bypassing to between; grant between to dpe_loader": "RLS018",
    f"grant dpe_transformer to {READER}": "RLS019",
    f"grant dpe_owner to {READER}": "RLS019",
    f"grant dpe_tenant to {READER}": "RLS019",
    "create role manager createrole; grant dpe_owner, dpe_reader to manager": "RLS019",
    "alter table finance.fct_orders alter column shop drop not null": "RLS020",
    "drop index {index}": "RLS021",
    "create unique index on finance.fct_orders (order_id)": "RLS022",
    "create policy narrow on finance.fct_orders as restrictive for select to dpe_reader"
    " using (shop <> (select current_setting('shop.hidden')))": "RLS023",
    "create function finance.setting() returns text language sql stable as $$ select current_setting('shop.hidden') $$": "RLS023",
    "alter policy dpe_reader on finance.fct_orders using (shop = any (dpe.visible_tenants()))": "RLS024",
    "create policy narrow on finance.fct_orders as restrictive for select to dpe_reader using (dpe.chosen_tenant() is null)": "RLS024",
    "alter view finance.orders_seen reset (security_invoker)": "RLS025",
    "alter view raw.stg_orders set (security_invoker = false)": "RLS025",
    "create view public.leak as select * from finance.fct_orders": "RLS025",
    "create materialized view finance.leak as select * from finance.fct_orders": "RLS026",
    "create view public.leak as select * from dpe.rejects": "RLS025",
    "create materialized view public.leak as select * from finance.fct_orders": "RLS026",
    "create materialized view public.leak as select * from finance.orders_seen": "RLS026",
    "create foreign data wrapper nowhere; create server nowhere foreign data wrapper nowhere;"
    " create foreign table finance.far (id integer) server nowhere": "RLS027",
    "create function finance.leak() returns bigint language sql security definer as $$ select count(*) from finance.fct_orders $$": "RLS028",
    "alter function dpe.visible_tenants() security definer reset search_path": "RLS028",
    "create function finance.leak(integer) returns bigint language sql security definer set search_path = pg_catalog as"
    " $$ select count(*) from finance.fct_orders $$": "RLS028",
    "create function finance.leak() returns bigint language sql security definer set search_path = '' as"
    " $$ select count(*) from finance.fct_orders $$": "RLS029",
    "create procedure public.leak() language sql security definer as $$ select 1 $$; alter procedure public.leak() owner to dpe_transformer;"
    f" grant execute on procedure public.leak() to {READER}": "RLS029",
    "create table raw.parts (id integer) partition by list (id);"
    " create table raw.part partition of raw.parts for values in (1); grant select on raw.part to dpe_transformer;"
    " alter table raw.parts owner to dpe_loader; alter table raw.part owner to dpe_loader": "RLS030",
    "create table raw.parts (id integer) partition by list (id);"
    " create table raw.part partition of raw.parts for values in (1); grant select (id) on raw.part to dpe_transformer;"
    " alter table raw.parts owner to dpe_loader; alter table raw.part owner to dpe_loader": "RLS030",
    "alter default privileges for role dpe_transformer grant select on tables to dpe_reader": "RLS032",
    "alter default privileges for role dpe_transformer in schema finance grant select on tables to public": "RLS032",
    f"alter default privileges for role dpe_transformer grant usage on schemas to {OUTSIDE}": "RLS032",
    "alter default privileges for role dpe_transformer grant execute on functions to public": "RLS032",
    f"alter default privileges for role dpe_transformer grant select on sequences to {READER}": "RLS032",
    "alter role dpe_transformer set dpe.actor = 'always'": "RLS033",
    "alter role all set dpe.actor = 'always'": "RLS033",
    "alter database {database} set dpe.actor = 'always'": "RLS033",
    "alter role dpe_loader in database {database} set row_security = off": "RLS033",
    "create role manager_of_checks login in role dpe_owner; alter role manager_of_checks set dpe.actor = 'always'": "RLS033",
    "create publication everything for table finance.fct_orders": "RLS034",
    "create publication everything for all tables": "RLS034",
    "create publication everything for tables in schema finance": "RLS034",
    "create schema finance__next; create publication everything for tables in schema finance__next": "RLS034",
    f"alter table finance.fct_orders owner to {READER}": "RLS035",
    f"alter schema finance owner to {READER}": "RLS035",
    "create function public.copy() returns trigger language plpgsql as $$ begin return null; end $$;"
    " create trigger copying after insert on finance.fct_orders for each row execute function public.copy()": "RLS036",
    "create rule also as on insert to finance.fct_orders do also notify orders": "RLS036",
    "create or replace function dpe.visible_tenants() returns text[] language sql stable parallel safe set search_path = pg_catalog"
    " as $$ select array['UA', 'HA'] $$": "RLS037",
    "create or replace function dpe.context_is_open() returns boolean language sql stable parallel safe set search_path = pg_catalog"
    " as $$ select true $$": "RLS037",
    "alter function dpe.visible_tenants() security definer": "RLS037",
    "alter function dpe.visible_tenants() volatile": "RLS037",
    "alter function dpe.own_project() volatile": "RLS037",
    "create or replace function dpe.project() returns text language sql stable parallel safe set search_path = pg_catalog, pg_temp"
    " as $$ select 'other' $$": "RLS037",
    "alter function dpe.visible_tenants() parallel unsafe": "RLS037",
    "alter function dpe.visible_tenants() set search_path = pg_catalog": "RLS037",
    "alter function dpe.visible_tenants() set search_path = ''": "RLS037",
    "alter function dpe.visible_tenants() set search_path = public, pg_catalog, pg_temp": "RLS037",
    "alter function dpe.remember_failures reset search_path": "RLS037",
    "alter function dpe.count_failures set search_path = pg_catalog": "RLS037",
    "alter function dpe.record_access_change() set search_path = pg_catalog": "RLS037",
    "create procedure dpe.more() language sql as $$ select 1 $$": "RLS037",
    f"alter function dpe.every_tenant_is_open() owner to {READER}": "RLS037",
    "grant select on finance.fct_orders to dpe_masked_reader": "RLS038",
    "grant select (amount) on finance.fct_orders to dpe_masked_reader": "RLS038",
    f"grant dpe_masked_reader to {READER}": "RLS039",
    f"grant dpe_masked_reader to {READER} with inherit false, set true": "RLS039",
    f"grant dpe_masked_reader to {OUTSIDE}; grant dpe_reader to {OUTSIDE} with admin true, inherit false, set false": "RLS039",
    "alter policy dpe_reader on finance.fct_orders to dpe_masked_reader": "RLS010",
    "grant create on schema public to public": "RLS040",
    "create schema looked_in; grant create on schema looked_in to public; alter role all set search_path = looked_in": "RLS040",
    "create schema looked_in; grant create on schema looked_in to public;"
    " alter database {database} set search_path = '$user', public, looked_in": "RLS040",
    "create schema looked_in; grant create on schema looked_in to public; alter role dpe_loader set search_path = looked_in": "RLS040",
    "create schema dpe_transformer; grant create on schema dpe_transformer to public": "RLS040",
    f"grant create on schema public to {READER}": "RLS041",
    f"grant create on schema public to {OUTSIDE}": "RLS041",
    f"alter schema public owner to {READER}": "RLS041",
    f"alter schema public owner to {OUTSIDE}; grant create on schema public to public": "RLS041",
    f"create schema dpe_transformer authorization {OUTSIDE}": "RLS041",
    "create function public.leak() returns bigint language sql security definer begin atomic select count(*) from finance.fct_orders; end": "RLS042",
    "create function public.leak() returns bigint language sql security definer begin atomic select count(*) from dpe.loads; end": "RLS042",
    "create role keeper bypassrls; create procedure public.leak() language sql security definer begin atomic"
    " delete from dpe.rejects; end; alter procedure public.leak() owner to keeper": "RLS042",
    "create function public.leak(integer, integer) returns double precision language sql immutable security definer begin atomic"
    " select count(*)::double precision from finance.fct_orders; end; revoke all on function public.leak(integer, integer) from public;"
    " create type public.span as range (subtype = integer, subtype_diff = public.leak)": "RLS042",
    "create function public.leak() returns bigint language sql security definer as $$ select count(*) from finance.fct_orders $$": "RLS043",
    "create table public.box (id integer); grant insert on public.box to public;"
    " create rule leak as on insert to public.box do also update finance.fct_orders set amount = 0": "RLS044",
    "create table public.copied as select 1 as id; alter table public.copied owner to dpe_transformer;"
    f" grant select (id) on public.copied to {OUTSIDE}": "RLS045",
    "create table public.copied as select 1 as id; alter table public.copied owner to dpe_loader; grant select on public.copied to public;"
    " alter table public.copied enable row level security": "RLS045",
    # Whatever policies it has, no declaration calls for them.
    "create table public.copied as select 1 as id, 'UA'::text as shop; alter table public.copied owner to dpe_transformer;"
    " alter table public.copied enable row level security, force row level security; create policy dpe_reader on public.copied"
    " for select to dpe_reader using (shop = any ((select dpe.visible_tenants())::text[])); grant select on public.copied to dpe_reader": "RLS045",
    "create table public.part () inherits (finance.fct_orders)": "RLS046",
    "create table public.parent (order_id integer, shop text not null, amount integer); alter table finance.fct_orders inherit public.parent": "RLS046",
    "alter table finance.fct_orders inherit finance.fct_margins": "RLS046",
    "create table raw.parts (id integer) partition by list (id);"
    " create table core.part partition of raw.parts for values in (1);"
    " alter table raw.parts owner to dpe_loader; alter table core.part owner to dpe_loader": "RLS046",
    f"create table public.box (shop text primary key); grant delete on public.box to {READER};"
    " alter table finance.fct_added_orders add constraint refers foreign key (shop) references public.box not valid": "RLS047",
    "create extension postgres_fdw; create server loop foreign data wrapper postgres_fdw options (dbname '{database}', port '{port}');"
    f" grant usage on foreign server loop to {READER}; create user mapping for public server loop": "RLS048",
    "create extension postgres_fdw; create server loop foreign data wrapper postgres_fdw options (dbname '{database}', port '{port}');"
    f" create foreign table public.far (id integer) server loop; grant select on public.far to {READER};"
    f" create user mapping for {READER} server loop": "RLS048",
    "create extension postgres_fdw; create server far foreign data wrapper postgres_fdw options (host 'far', dbname '{database}');"
    " create foreign table public.far (id integer) server far; grant select on public.far to public; create user mapping for public server far": "RLS049",
    "create function public.see() returns event_trigger language plpgsql as $$ begin end $$;"
    " create event trigger see on ddl_command_end execute function public.see()": "RLS050",
    "create function public.see() returns event_trigger language plpgsql as $$ begin end $$;"
    f" create event trigger see on ddl_command_end execute function public.see(); alter function public.see() owner to {READER}": "RLS051",
    "create function public.see() returns trigger language plpgsql as $$ begin return new; end $$;"
    " create trigger see before insert on finance.fct_orders for each row execute function public.see();"
    f" alter function public.see() owner to {OUTSIDE}": "RLS051",
    f"create materialized view public.seen as select * from finance.fct_orders; alter materialized view public.seen owner to {READER};"
    " grant select on public.seen to public": "RLS053",
    f"create view public.seen as select * from dpe.rejects; alter view public.seen owner to {OUTSIDE}; grant dpe_auditor to {OUTSIDE};"
    " grant select on public.seen to dpe_reader": "RLS053",
    f"alter role {READER} set row_security = off": "RLS054",
    f"alter role {READER} in database {{database}} set row_security = 'no'": "RLS054",
    f"grant create on database {{database}} to {READER}": "RLS055",
    "create schema postgres authorization dpe_transformer": "RLS058",
    "create schema dpe_loader authorization dpe_transformer": "RLS058",
    f"create schema dpe_owner authorization {OUTSIDE}": "RLS058",
    "create role second_administrator in role dpe_owner; create schema second_administrator authorization dpe_loader": "RLS058",
    "drop view finance.fct_orders__masked": "RLS072",
    "create index on finance.fct_orders (shop, amount)": "RLS074",
    "create unique index on finance.fct_orders (amount desc) include (order_id)": "RLS074",
    "create index on finance.fct_orders (shop, (amount + 1))": "RLS074",
    "create index on finance.fct_orders using spgist ((amount::text)) include (order_id)": "RLS074",
    "drop policy dpe_mask on finance.fct_orders": "RLS056",
    "alter policy dpe_mask on finance.fct_orders using (true)": "RLS056",
    "alter policy dpe_mask on finance.fct_orders to dpe_masked_reader": "RLS056",
    f"alter role {READER} replication": "RLS057",
    f"alter role {READER} createrole": "RLS057",
    f"create role of_managers createrole role {READER}": "RLS057",
    "grant pg_read_server_files to dpe_transformer": "RLS057",
    "create role of_masked in role dpe_masked_reader, pg_read_all_data": "RLS057",
    "create function public.called(integer, integer) returns double precision language sql immutable security definer as"
    " $$ select 1.0 $$; alter function public.called(integer, integer) owner to dpe_owner": "RLS062",
    "create function finance.called() returns integer language sql security definer as $$ select 1 $$;"
    " alter function finance.called() owner to dpe_tenant; revoke all on function finance.called() from public": "RLS062",
    "create function finance.serve() returns trigger language plpgsql as $$ begin return new; end $$;"
    " create trigger serve instead of insert on finance.orders_seen for each row execute function finance.serve();"
    " grant insert (shop) on finance.orders_seen to dpe_reader": "RLS063",
    "create function public.serve() returns trigger language plpgsql security definer as $$ begin return new; end $$;"
    " create trigger serve before insert on finance.fct_orders for each row execute function public.serve()": "RLS063",
    f"create rule serve as on insert to finance.orders_seen do instead select * from dpe.loads; grant insert (shop) on finance.orders_seen to {OUTSIDE}": "RLS063",
    # As `drop owned by dpe_reader` does, which removes the role from each policy and revokes its privileges.
    "alter policy own_entries on dpe.tenant_access to dpe_masked_reader, dpe_tenant, dpe_loader, dpe_transformer": "RLS064",
    "drop owned by dpe_reader": "RLS064",
    "drop owned by dpe_auditor": "RLS064",
    "alter policy own_entries on dpe.tenant_access using (true)": "RLS064",
    "alter policy transformer_in_context on dpe.rule_failures using ((select dpe.context_is_open()))": "RLS064",
    "alter policy loader_in_context on dpe.loads with check (source <> '')": "RLS064",
    "create policy narrow on dpe.loads as restrictive using (source <> '')": "RLS064",
    "alter policy transformer_in_context on dpe.publications using ((select dpe.context_is_open()))": "RLS064",
    "alter policy loader_claims_in_context on dpe.staged_relations with check ((select dpe.context_is_open()))": "RLS064",
    "create policy adds on dpe.project_schemas for insert to dpe_transformer with check (true)": "RLS064",
    "revoke select on dpe.tenant_access from dpe_masked_reader": "RLS064",
    "alter policy pipeline_locks on dpe_locks.locks with check (true)": "RLS064",
    "create policy everybody on dpe_locks.locks using (true)": "RLS064",
    f"{TAG}; {RETYPE.format('public.tag')}": "RLS065",
    f"create domain public.word as text; {RETYPE.format('public.word')}": "RLS065",
    f"create schema finance__next; grant usage on schema finance__next to {OUTSIDE}": "RLS066",
    "create schema finance__previous; grant usage on schema finance__previous to dpe_reader": "RLS066",
    "alter role dpe_transformer set role = 'dpe_tenant'": "RLS067",
    "alter role dpe_loader in database {database} set default_transaction_read_only = on": "RLS067",
    "alter role dpe_transformer set standard_conforming_strings = off": "RLS067",
    "alter role dpe_transformer set quote_all_identifiers = on": "RLS067",
    "alter role dpe_transformer set client_encoding = 'SQL_ASCII'": "RLS067",
    "alter role dpe_transformer set statement_timeout = '1ms'": "RLS068",
    "create role gone; insert into dpe.tenant_access values ('gone', 'UA'); drop role gone": "RLS060",
    "insert into dpe.tenant_access values ('dpe_reader', 'UA')": "RLS061",
    f"grant pg_read_all_data to {READER}; insert into dpe.tenant_access values ('{READER}', 'UA')": "RLS061",
    "drop event trigger dpe_refuse_to_readers": "RLS069",
    "drop event trigger dpe_refuse_partitions_to_readers": "RLS069",
    "alter event trigger dpe_refuse_to_readers disable": "RLS069",
    f"alter function dpe.refuse_to_readers() owner to {OUTSIDE}": "RLS069",
    "create table public.parts (shop text) partition by list (shop); alter table public.parts owner to dpe_reader": "RLS069",
    """
    drop event trigger dpe_refuse_to_readers;
    create event trigger dpe_refuse_to_readers on ddl_command_start when tag in ('DROP OWNED', 'CREATE RULE')
    execute function dpe.refuse_to_readers()
    """: "RLS069",
    **{
        f"grant create on database {{database}} to {OUTSIDE}; set local role {OUTSIDE}; create extension {name} schema {schema}; reset role": "RLS075"
        for name, schema in {"citext": "dpe", "lo": "dpe_locks", "hstore": "finance", "isn": "raw", "intarray": "pg_catalog"}.items()
    },
    "create extension citext schema dpe": "RLS075",
    f"{CALLED}; create index on finance.fct_orders ((finance.called(order_id)))": "RLS073",
    f"{CALLED}; create index on finance.fct_orders (order_id) where finance.called(1) > 0": "RLS073",
    f"{CALLED}; create statistics finance.called on (finance.called(order_id)) from finance.fct_orders": "RLS073",
    f"{CALLED}; alter table finance.fct_orders add check (finance.called(order_id) is not null)": "RLS073",
    f"{CALLED}; create operator finance.### (function = finance.called, rightarg = integer);"
    " create index on finance.fct_orders ((operator(finance.###) order_id))": "RLS073",
    f"{NUMBER}; create index on finance.fct_orders ((order_id::finance.number))": "RLS073",
    f"{NUMBER}; alter table finance.fct_orders add number finance.number": "RLS073",
    f"{NUMBER}; create type finance.pair as (number finance.number);"
    " create statistics finance.called on ((('(' || order_id || ')')::finance.pair)::text), shop from finance.fct_orders": "RLS073",
    f"{NUMBER}; create table public.pair (number finance.number);"
    " alter table finance.fct_orders add check (jsonb_populate_record(null::public.pair, jsonb_build_object('number', order_id)) is not null)": "RLS073",
    f"{NUMBER}; create type finance.pair as (number finance.number); create domain finance.pairs as finance.pair[];"
    " alter table finance.fct_orders add pairs finance.pairs": "RLS073",
    f"{NUMBER}; alter table finance.fct_orders add check (json_value('1'::jsonb, '$' returning finance.number) > 0)": "RLS073",
    f"{NUMBER}; create index on finance.fct_orders (order_id) where json_value('1'::jsonb, '$' returning finance.number) > 0": "RLS073",
    f"{NUMBER}; create statistics finance.called on (json_value(jsonb_build_array(order_id), '$[0]' returning finance.number)), shop"
    " from finance.fct_orders": "RLS073",
    "create function finance.apart(text, text) returns double precision language sql immutable as 'select 1.0::double precision';"
    " alter function finance.apart(text, text) owner to dpe_transformer; create type finance.span as range (subtype = text, subtype_diff = finance.apart);"
    " alter table finance.fct_orders add span finance.span": "RLS073",
}
