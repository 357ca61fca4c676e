"""Statements that PostgreSQL allows to any login, and with which one reader could harm all others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest
from conftest import Cluster, numbers
from psycopg import sql
from support.rls_leaks import PROTECTED

from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server

GROUPS = ("dpe_reader", "dpe_masked_reader", "dpe_auditor")


@dataclass(frozen=True)
class Readers:
    """
    A database with a protected table, of which a reader sees two rows, and a login of each group.

    The reader may become `team`, which is not a reader; `outsider` is a login without any role.
    """

    server: Server
    login: dict[str, str]
    team: str
    outsider: str

    def orders(self) -> int:
        """Return how many orders the reader sees."""
        with self.server.connect(self.login["dpe_reader"]) as connection:
            [(count,)] = connection.execute("select count(*) from finance.fct_orders").fetchall()
            return int(count)


@pytest.fixture(scope="module")
def readers(any_cluster: Cluster) -> Iterator[Readers]:
    """Give such a database on each version."""
    login = {group: f"of_{group}_{next(numbers)}" for group in GROUPS}
    team, outsider = f"team_{next(numbers)}", f"outsider_{next(numbers)}"
    names = sql.SQL(", ").join(map(sql.Identifier, [*login.values(), team, outsider]))
    with any_cluster.new_database() as server:
        with server.connect("admin") as connection:
            connection.execute(PROTECTED.encode())
            for group, name in login.items():
                connection.execute(sql.SQL("create role {} login in role {}").format(sql.Identifier(name), sql.Identifier(group)))
            connection.execute(
                sql.SQL("create role {} login; create role {} role {}").format(
                    sql.Identifier(outsider), sql.Identifier(team), sql.Identifier(login["dpe_reader"])
                )
            )
            connection.execute("create index orders_by_shop on finance.fct_orders (shop)")
            connection.commit()
            with admin_context(connection, "test"):
                connection.execute("insert into dpe.tenant_access values (%s, 'UA')", [login["dpe_reader"]])
        yield Readers(server, login, team, outsider)
        with server.connect("admin", autocommit=True) as connection:
            connection.execute(sql.SQL("drop owned by {0}; drop role {0}").format(names))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("become", ["", "set role {group}; "], ids=["by its privileges", "having become it"])
def test_no_reader_removes_its_group_from_the_policies(readers: Readers, group: str, become: str) -> None:
    """PostgreSQL would remove the role from each policy, on anyone's tables, and no reader would see a row."""
    with (
        readers.server.connect(readers.login[group], autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="DROP OWNED: is allowed for administrators only"),
    ):
        connection.execute((become + "drop owned by {group}").format(group=group).encode())

    assert 2 == readers.orders()


# Statements that lock a relation exclusively before PostgreSQL checks the privilege.
LOCKING = {
    "create rule": "create rule r as on insert to {relation} do nothing",
    "partition of": "create temporary table mine partition of {relation} default",
    "depends on extension": "alter materialized view {relation} depends on extension plpgsql",
    "index depends on extension": "alter index {relation} depends on extension plpgsql",
    "create trigger": ("create trigger t before insert on {relation} for each row execute function suppress_redundant_updates_trigger()"),
}
INDEXES = {"finance.fct_orders": "finance.orders_by_shop", "pg_catalog.pg_class": "pg_catalog.pg_class_oid_index"}
# A reader locks a relation as a write does.
HOLD = "merge into {relation} as target using (select 1) as one on false when matched then do nothing"
# How a login gets there: as it is, after becoming another role, after allowing itself to wait.
BECOME = {"reader": "", "another role": "set role {team}", "patient": "set lock_timeout = '1h'"}


@pytest.mark.parametrize("relation", list(INDEXES))
@pytest.mark.parametrize("statement", list(LOCKING))
def test_no_request_for_an_exclusive_lock_keeps_others_waiting(readers: Readers, statement: str, relation: str) -> None:
    """The login gives up in a tenth of a second: a reader, also as another role, and a login without any role of dpe."""
    connect = partial(readers.server.connect, autocommit=True)
    wanted = LOCKING[statement].format(relation=relation, index=INDEXES[relation]).encode()
    with connect(readers.login["dpe_reader"]) as other, other.transaction():
        other.execute(HOLD.format(relation=relation).encode())
        other.execute(f"select count(*) from {relation}".encode())
        for login, become in [*((readers.login["dpe_reader"], one) for one in BECOME.values()), (readers.outsider, BECOME["patient"])]:
            with connect(login) as connection:
                connection.execute("set statement_timeout = '3s'")
                connection.execute(become.format(team=readers.team).encode())
                started = time.monotonic()
                with pytest.raises(psycopg.Error):
                    connection.execute(wanted)
                assert time.monotonic() - started < 0.6


# Statements that only warn if the role may not pass the privilege on, but write the row of the catalog that the pipeline's own GRANT writes.
GRANTS = {
    "on a relation": "grant select on finance.fct_orders to {login}",
    "on a column": "grant select (order_id) on finance.fct_orders to {login}",
    "on a schema": "grant usage on schema finance to {login}",
    "on a function": "grant execute on function dpe.visible_tenants() to {login}",
    "revoke": "revoke select on finance.fct_orders from {login}",
    "of its own": "create temporary table mine (n integer); grant select on mine to dpe_reader",
    "by default": "alter default privileges grant select on tables to public",
}


@pytest.mark.parametrize("statement", list(GRANTS))
def test_a_reader_neither_grants_nor_revokes(readers: Readers, statement: str) -> None:
    """The pipeline's own statement would wait for the reader's, and fail once that one commits. An administrator may, also as the reader."""
    login = readers.login["dpe_reader"]
    wanted = GRANTS[statement].format(login=login).encode()
    for become in BECOME.values():
        with (
            readers.server.connect(login, autocommit=True) as connection,
            pytest.raises(
                psycopg.errors.InsufficientPrivilege, match="(GRANT|REVOKE|ALTER DEFAULT PRIVILEGES): is allowed for administrators only"
            ),
        ):
            connection.execute(become.format(team=readers.team).encode() + b"; " + wanted)
    with readers.server.connect("admin") as connection:
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(login)))
        connection.execute(wanted)
        connection.rollback()


@pytest.mark.parametrize("name", ["UA desk {}", "Of_Desk_{}"])
def test_a_login_of_any_name_makes_tables(readers: Readers, name: str) -> None:
    """One that has to be quoted, or that differs only in case from a role that owns a partitioned table."""
    login = name.format(next(numbers))
    other, parts = login.lower().replace(" ", "_"), f"parts_{next(numbers)}"
    with readers.server.connect("admin", autocommit=True) as administrator:
        administrator.execute(f'create role "{login}" login in role dpe_reader; create role {other}'.encode())
        administrator.execute(f"create table public.{parts} (a text) partition by list (a)".encode())
        administrator.execute(f"alter table public.{parts} owner to {other}".encode())
        try:
            with readers.server.connect(login, autocommit=True) as connection:
                connection.execute("create temporary table mine (n integer)")
                connection.execute("alter table mine add m integer")
        finally:
            administrator.execute(f'drop owned by "{login}", {other}; drop role "{login}", {other}'.encode())


# A statement that a reader's function runs while PostgreSQL computes an index of the reader's table, as autovacuum does.
IN_AN_INDEX = """
    create function {schema}.asking() returns void language plpgsql as $$ begin execute '{statement}'; end $$;
    create function {schema}.computed(number integer) returns integer language plpgsql immutable as $$
    begin
        if current_setting('application_name') <> 'mine' then
            perform {schema}.asking();
        end if;
        return number;
    end $$;
    set application_name = 'mine';
    create table {schema}.mine as select 1 as number;
    create index on {schema}.mine (({schema}.computed(number)));
"""
# The second would be refused in the reader's own session, too.
IN_MAINTENANCE = {
    "create trigger": (LOCKING["create trigger"], psycopg.errors.LockNotAvailable),
    "create rule": (LOCKING["create rule"], psycopg.errors.InsufficientPrivilege),
    "partition of": ("create table {schema}.part partition of {relation} default", psycopg.errors.LockNotAvailable),
    "partitioned": ("create table {schema}.parts (a text) partition by list (a)", psycopg.errors.InsufficientPrivilege),
}


@pytest.mark.parametrize("statement", list(IN_MAINTENANCE))
def test_no_code_of_a_reader_keeps_others_waiting_while_an_administrator_runs_it(readers: Readers, statement: str) -> None:
    """The login of autovacuum is a superuser's, and so is that of an administrator who analyzes all tables."""
    wanted, refusal = IN_MAINTENANCE[statement]
    connect, schema = partial(readers.server.connect, autocommit=True), f"of_reader_{next(numbers)}"
    names = {"schema": schema, "relation": "finance.fct_orders"}
    with connect("admin") as administrator, connect(readers.login["dpe_reader"]) as reader:
        administrator.execute(f"create schema {schema} authorization {readers.login['dpe_reader']}".encode())
        reader.execute(IN_AN_INDEX.format(**names, statement=wanted.format(**names)).encode())
        with reader.transaction():
            reader.execute(HOLD.format(relation="finance.fct_orders").encode())
            reader.execute("select count(*) from finance.fct_orders")
            administrator.execute("set statement_timeout = '3s'")
            with pytest.raises(refusal):
                administrator.execute(f"analyze {schema}.mine".encode())


# A function of the login lets it wait for longer: PostgreSQL calls it before it locks the relation, and after the limit was set.
PATIENT = """
    create function pg_temp.patient() returns text language plpgsql as
    $$ begin perform set_config('lock_timeout', '0', true); return 'UA'; end $$
"""
PARTITIONED = {
    "attach partition": "alter table {parts} attach partition {relation} for values in (pg_temp.patient())",
    "attach index": "alter index {parts}_index attach partition {index}",
    "partition of": "create temporary table mine partition of {parts} for values in (pg_temp.patient())",
}


@pytest.mark.parametrize("relation", list(INDEXES))
@pytest.mark.parametrize("statement", list(PARTITIONED))
def test_no_partitioned_table_of_a_reader_keeps_others_waiting(readers: Readers, statement: str, relation: str) -> None:
    """One from before dpe, which is its own, is of no use to it."""
    parts = f"parts_{next(numbers)}"
    with readers.server.connect("admin") as connection:
        connection.execute(f"create table public.{parts} (like pg_catalog.pg_class) partition by list (relname)".encode())
        connection.execute(f"create index {parts}_index on public.{parts} (oid)".encode())
        connection.execute(sql.SQL("alter table {} owner to {}").format(sql.Identifier("public", parts), sql.Identifier(readers.outsider)))
    wanted = PARTITIONED[statement].format(parts=f"public.{parts}", relation=relation, index=INDEXES[relation])
    with readers.server.connect("admin", autocommit=True) as other, other.transaction():
        other.execute(f"select count(*) from {relation}".encode())
        with readers.server.connect(readers.outsider, autocommit=True) as connection:
            connection.execute("set statement_timeout = '3s'")
            connection.execute(PATIENT.encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"you own the partitioned relation (public.)?{parts}"):
                connection.execute(wanted.encode())
    with readers.server.connect(readers.outsider, autocommit=True) as connection:
        connection.execute(f"drop table public.{parts}".encode())
        connection.execute("create temporary table mine (a int)")


# A materialized view of a login, whose function runs a statement.
REFRESHED = """
    create function {schema}.made() returns text language plpgsql as $$
    begin
        if current_setting('test.go', true) = 'yes' then
            execute '{statement}';
        end if;
        return '';
    end $$;
    create materialized view {schema}.shown as select {schema}.made() as a;
    set test.go = 'yes';
    refresh materialized view {schema}.shown
"""


@pytest.mark.parametrize("place", ["statement", "refresh", "refresh as its group"])
def test_a_reader_makes_no_partitioned_table(readers: Readers, place: str) -> None:
    """Not even while PostgreSQL refreshes a materialized view, when it does not tell an event trigger what was made; an administrator may."""
    connect, schema = partial(readers.server.connect, autocommit=True), f"of_reader_{next(numbers)}"
    made = f"create table {schema}.parts (a text) partition by list (a)"
    with connect("admin") as administrator:
        administrator.execute(f"create schema {schema} authorization {readers.login['dpe_reader']}".encode())
        administrator.execute(f"grant usage, create on schema {schema} to dpe_reader".encode())
        administrator.execute(f"{made}; drop table {schema}.parts".encode())
    with connect(readers.login["dpe_reader"]) as connection:
        if place == "refresh as its group":
            connection.execute("set role dpe_reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="partitioned tables: are allowed for administrators only"):
            connection.execute((made if place == "statement" else REFRESHED.format(schema=schema, statement=made)).encode())


def test_no_partitioned_table_of_a_group_stops_its_members(readers: Readers) -> None:
    """One that an administrator left to a group, for example."""
    connect, parts = partial(readers.server.connect, autocommit=True), f"parts_{next(numbers)}"
    with connect("admin") as administrator, connect(readers.login["dpe_reader"]) as connection:
        administrator.execute(f"create table public.{parts} (a text) partition by list (a)".encode())
        administrator.execute(f"alter table public.{parts} owner to dpe_reader".encode())

        connection.execute("create temporary table mine (n integer); alter table mine add m integer")

        administrator.execute(f"drop table public.{parts}".encode())


# Statements that call functions of the login before or while they lock a relation of others, or without an event trigger noticing it.
CALLING = {
    "CREATE SCHEMA": "create schema of_mine create table mine (n integer)",
    "CREATE STATISTICS": "create statistics public.mine on order_id, shop from finance.fct_orders",
    "CREATE PUBLICATION": "create publication mine for table finance.fct_orders where (order_id > 1)",
}


@pytest.mark.parametrize("tag", list(CALLING))
def test_a_reader_runs_no_code_under_a_lock_on_a_relation_of_others(readers: Readers, tag: str) -> None:
    """Even if it may create in the database. An administrator may, also as another role."""
    server, outsider = readers.server, sql.Identifier(readers.outsider)
    with server.connect("admin", autocommit=True) as administrator:
        administrator.execute(sql.SQL("grant create on database {} to {}").format(sql.Identifier(server.database), outsider))
        with (
            server.connect(readers.outsider, autocommit=True) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"{tag}: is allowed for administrators only, because"),
        ):
            connection.execute(CALLING[tag].encode())
        administrator.execute(sql.SQL("set role {}; create schema of_outsider; drop schema of_outsider").format(outsider))


# What a login that may create in the database, and owns a schema and an extension, could do where it may not create anything.
EXTENDING = {
    "in dpe": "create extension citext schema dpe",
    "in dpe_locks": "create extension citext schema dpe_locks",
    "in a published schema": "create extension citext schema finance",
    "in PostgreSQL's own": "create extension intarray schema pg_catalog",
    "in its own": "create extension citext schema {schema}",
    "updated": "alter extension seg update",
    "added to": "alter extension seg add function {schema}.mine()",
    "removed from": "alter extension seg drop function {schema}.seg_in(cstring)",
    "a schema for a publication": "alter schema {schema} rename to finance__next",
    "a schema of others": "alter schema {schema} owner to dpe_reader",
}


@pytest.mark.parametrize("statement", list(EXTENDING.values()), ids=list(EXTENDING))
def test_a_login_that_may_create_in_the_database_adds_nothing_to_schemas_of_others(readers: Readers, statement: str) -> None:
    """The script of a trusted extension runs as a superuser, in any schema. What the login has from before, it may drop."""
    server, outsider, schema = readers.server, sql.Identifier(readers.outsider), f"of_outsider_{next(numbers)}"
    with server.connect("admin", autocommit=True) as administrator, server.connect(readers.outsider, autocommit=True) as connection:
        administrator.execute(sql.SQL("grant create on database {} to {}").format(sql.Identifier(server.database), outsider))
        administrator.execute(sql.SQL("create schema {} authorization {}").format(sql.Identifier(schema), outsider))
        administrator.execute(sql.SQL("set role {}; create extension seg schema {}").format(outsider, sql.Identifier(schema)))
        connection.execute(f"create function {schema}.mine() returns integer language sql as 'select 1'".encode())
        try:
            with pytest.raises(
                psycopg.errors.InsufficientPrivilege, match="(CREATE|ALTER) (EXTENSION|SCHEMA): is allowed for administrators only"
            ):
                connection.execute(statement.format(schema=schema).encode())
        finally:
            connection.execute(f"drop extension seg; drop schema {schema} cascade".encode())


def test_a_query_that_makes_a_table_waits_as_long_as_a_query(readers: Readers) -> None:
    """It locks nothing of others exclusively, and a publication may keep it waiting for longer than a tenth of a second."""
    connect = partial(readers.server.connect, autocommit=True)
    with connect("admin") as publishing, connect(readers.login["dpe_reader"]) as connection, ThreadPoolExecutor(1) as pool:
        with publishing.transaction():
            publishing.execute("lock table finance.fct_orders in access exclusive mode")
            made = pool.submit(connection.execute, "create temporary table mine as select * from finance.fct_orders")
            time.sleep(0.3)
        made.result()
        assert [(2,)] == connection.execute("select count(*) from mine").fetchall()


def test_an_administrator_may_run_these_statements(fresh_server: Server, reader: Callable[..., str]) -> None:
    """It drops what a departing reader owns."""
    name = reader(fresh_server)
    with fresh_server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create schema authorization {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))

        assert None is connection.execute("select to_regnamespace(%s)", [name]).fetchall()[0][0]
