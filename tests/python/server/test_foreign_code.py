"""Between the check of a relation for code of others and the query that reads it, its owner cannot change what the query reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from conftest import Cluster
from psycopg import sql
from psycopg.types.json import Jsonb

from dpe_cli.server.connection import Connection
from dpe_cli.server.contexts import reading_context
from dpe_cli.server.relations import refuse_code_of_others
from dpe_cli.server.server import Server

# The login of a tool that loads sources, without any role of dpe.
TOOL = "airlift"
POLICY = "create policy spying on tool.shops using (tool.spy())"
EXCHANGE = "alter {kind} tool.shops rename to shops_; create view tool.shops as select shop, city from tool.shops_ where tool.spy()"
BILLS = "create table office.bills (shop text); alter table office.bills enable row level security; grant select on office.bills to {role};"
BY_POLICY = BILLS + "create policy open on office.bills to {whom} using (exists (select from tool.shops where shops.shop = bills.shop))"
NEW = f"""
    drop schema if exists tool, office cascade; drop foreign data wrapper if exists elsewhere cascade;
    create schema tool authorization {TOOL}; create schema office; grant usage on schema tool, office to dpe_transformer, dpe_tenant;
    set local role {TOOL};
    create table tool.shops (shop text, city text); insert into tool.shops values ('UA', 'x');
    create function tool.spy() returns boolean language sql return true;
    reset role
"""


WRITING = """
    create function tool.written() returns boolean language plpgsql immutable as $$
    begin
        if current_user = 'dpe_transformer' then
            begin
                perform set_config('transaction_read_only', 'off', true);
                insert into office.rows values (current_user);
            exception when others then
                null;
            end;
            perform setval('office.leak', 4711);
        end if;
        return true;
    exception when others then
        raise notice 'refused';
        return true;
    end $$
"""


@dataclass(frozen=True)
class Case:
    """What a tool and an administrator made of the source, which relation is read, and of what kind the tool's own one is."""

    of_tool: str = ""
    of_administrator: str = "grant select on tool.shops to {role}"
    read: tuple[str, str] = ("tool", "shops")
    kind: str = "table"
    more: tuple[str, ...] = ()

    @property
    def changes(self) -> list[str]:
        """What would have a query of the relation run the tool's code."""
        exchange = EXCHANGE.format(kind=self.kind)
        return [POLICY, exchange, *self.more] if self.kind == "table" else [exchange]


CASES = {
    "table": Case(),
    "column_grant": Case(of_administrator="grant select (shop, city) on tool.shops to {role}"),
    "table_with_children": Case(
        "create table tool.child () inherits (tool.shops)",
        more=("alter table tool.child add check (tool.spy())",),
    ),
    "materialized_view": Case(
        "drop table tool.shops; create materialized view tool.shops as select 'UA'::text as shop, 'x'::text as city",
        kind="materialized view",
    ),
    "foreign_table": Case(
        "drop table tool.shops",
        "create foreign data wrapper elsewhere; create server elsewhere foreign data wrapper elsewhere;"
        f" create foreign table tool.shops (shop text, city text) server elsewhere; alter table tool.shops owner to {TOOL};"
        " grant select on tool.shops to {role}",
        kind="foreign table",
    ),
    "table_read_by_a_policy": Case(of_administrator=BY_POLICY.replace("{whom}", "public"), read=("office", "bills")),
    "table_read_by_a_policy_for_one_role": Case(of_administrator=BY_POLICY.replace("{whom}", "{role}"), read=("office", "bills")),
    "table_read_by_a_view": Case(
        of_administrator="create table office.towns (city text); create view office.bills as select * from office.towns join tool.shops"
        " using (city); alter view office.bills owner to dpe_owner; grant usage on schema office, tool to dpe_owner;"
        " grant select (shop, city) on tool.shops to dpe_owner; grant select on office.towns to dpe_owner;"
        " grant select (shop) on office.bills to {role}",
        read=("office", "bills"),
    ),
    "table_read_by_a_view_with_the_rights_of_its_reader": Case(
        of_administrator="create view office.inner_bills with (security_invoker) as select shop from tool.shops;"
        " create view office.bills with (security_invoker) as select (select max(shop) from office.inner_bills) as shop;"
        " grant select on office.bills, office.inner_bills to {role}; grant select (shop) on tool.shops to {role}",
        read=("office", "bills"),
    ),
}


def lock_sources(connection: Connection, read: tuple[str, str]) -> None:
    """Lock a source as dbt does before it builds a model, and raise an error if it runs code of others."""
    schema, name = read
    rows = connection.execute("select code from dpe.lock_sources(array[%s]::name[], array[%s]::name[])", [schema, name]).fetchall()
    if rows:
        raise psycopg.errors.WrongObjectType(str(rows))


def refuse(connection: Connection, read: tuple[str, str]) -> None:
    """Refuse it as reconciliations and comparisons do."""
    refuse_code_of_others(connection, sql.Identifier(*read))


CHECKS = {"source": lock_sources, "relation": refuse}


@pytest.fixture(scope="module")
def one_database(any_cluster: Cluster) -> Iterator[Server]:
    """Give a database in which the tool has a login."""
    with any_cluster.new_database() as server:
        as_admin(server, f"create role {TOOL} login")
        try:
            yield server
        finally:
            as_admin(server, f"drop owned by {TOOL} cascade; drop role {TOOL}")


@pytest.fixture
def server(one_database: Server) -> Server:
    """Give it with a new table of the tool."""
    as_admin(one_database, NEW)
    return one_database


def as_admin(server: Server, statements: str) -> None:
    """Run statements as the administrator, in one transaction."""
    with server.connect("admin") as connection:
        connection.execute(statements.encode())


def tool(server: Server) -> psycopg.Connection[Any]:
    """Open a session of the tool."""
    return psycopg.connect(host=server.host, port=server.port, dbname=server.database, user=TOOL)


def make(server: Server, case: Case, role: str) -> None:
    """Make what the case needs, for a role that may read it."""
    with tool(server) as connection:
        connection.execute(case.of_tool.encode())
    as_admin(server, case.of_administrator.replace("{role}", role))


def refuse_changes(server: Server, case: Case) -> None:
    """Show that the tool can make none of the changes, but can load rows."""
    for change in case.changes:
        with tool(server) as connection, pytest.raises(psycopg.errors.LockNotAvailable):
            connection.execute(f"set local lock_timeout = '50ms'; {change}".encode())
    if case.kind == "table":
        with tool(server) as connection:
            connection.execute("set local lock_timeout = '50ms'; insert into tool.shops values ('HA', 'x')")


@pytest.mark.parametrize("name", CASES)
def test_a_source_cannot_be_changed_between_its_check_and_its_use(server: Server, name: str) -> None:
    """The transaction that reads it locks all that the query will read, as the query does, whatever it may read of it."""
    case = CASES[name]
    make(server, case, "dpe_transformer")

    with server.connect("transformer") as reading:
        for check in CHECKS.values():
            check(reading, case.read)
            refuse_changes(server, case)
            reading.rollback()


@pytest.mark.parametrize("name", CASES)
def test_a_policy_cannot_be_added_between_the_check_and_the_measurement(server: Server, name: str) -> None:
    """Even if the tool does not let the session's own role read the table, but another role."""
    case = CASES[name]
    make(server, case, "dpe_tenant")

    with server.connect("transformer") as reading:
        refuse_code_of_others(reading, sql.Identifier(*case.read), ["dpe_reader", "dpe_tenant"])
        assert reading.execute("select current_user = session_user").fetchone() == (True,)

        refuse_changes(server, case)


@pytest.mark.parametrize("check", CHECKS)
def test_what_replaces_a_relation_while_its_lock_is_awaited_is_what_is_examined(server: Server, check: str) -> None:
    """The tool renames its table in an open transaction: once that ends, the name means the view in its place."""
    as_admin(server, f"alter default privileges for role {TOOL} in schema tool grant select on tables to dpe_transformer")
    make(server, CASES["table"], "dpe_transformer")
    outcomes: list[str] = []

    def examine(reading: Connection) -> None:
        try:
            CHECKS[check](reading, ("tool", "shops"))
            outcomes.append("read")
        except psycopg.errors.WrongObjectType as error:
            outcomes.append(str(error))

    with server.connect("transformer") as reading, tool(server) as changing, server.connect("admin", autocommit=True) as watching:
        changing.execute(EXCHANGE.format(kind="table").encode())
        thread = threading.Thread(target=examine, args=[reading])
        thread.start()
        pid = [reading.info.backend_pid]
        while thread.is_alive() and not watching.execute("select from pg_locks where pid = %s and not granted", pid).fetchall():
            pass
        changing.commit()
        thread.join()

    [outcome] = outcomes
    assert f"the view tool.shops, of {TOOL}" in outcome


def test_a_relation_that_its_reader_cannot_reach_is_not_taken_for_examined(server: Server) -> None:
    """Its owner could let the reader in after the check, with other content; so could one who creates it then."""
    as_admin(server, "revoke usage on schema tool from dpe_transformer")

    for check in CHECKS.values():
        with server.connect("transformer") as reading, pytest.raises(psycopg.errors.InsufficientPrivilege):
            check(reading, ("tool", "shops"))
    with server.connect("transformer") as reading, pytest.raises(psycopg.errors.UndefinedTable):
        refuse(reading, ("office", "missing"))


def test_what_runs_nonetheless_changes_nothing_while_dpe_only_reads(server: Server) -> None:
    """No lock of a reader keeps the owner from an index, whose function runs when the query is planned."""
    make(server, CASES["table"], "dpe_transformer")
    as_admin(
        server,
        "create sequence office.leak; grant all on office.leak to public; create table office.rows (run_as text);"
        " grant all on office.rows to public; grant usage on schema office to public",
    )
    with tool(server) as connection:
        connection.execute(WRITING.encode())

    with server.connect("transformer") as reading, reading_context(reading, actor="test"):
        refuse(reading, ("tool", "shops"))
        with tool(server) as connection:
            connection.execute("create index on tool.shops ((tool.written()))")
        said: list[str] = []
        reading.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))
        reading.execute("select count(*) from tool.shops")

    with server.connect("admin") as connection:
        harm = connection.execute("select run_as from office.rows union all select 'leak' from office.leak where is_called").fetchall()
    assert ["refused"] == sorted(set(said))
    assert [] == harm


def test_a_query_of_a_test_does_not_run_again_if_it_would_run_code_of_others(server: Server) -> None:
    """Neither to count its rows nor to keep them: the owner may have added the code since dbt ran the test."""
    make(server, CASES["table"], "dpe_transformer")
    as_admin(server, "create sequence office.leak; grant all on office.leak to public; grant usage on schema office to public")
    with tool(server) as connection:
        connection.execute(WRITING.encode())
        connection.execute("alter table tool.shops enable row level security; create policy spying on tool.shops using (tool.written())")
    query = "select shop from shops -- all of them"
    result = Jsonb({"query": query, "keep_rows": 1, "test_id": "test.shop.some", "test": "some", "rule": "R-1"})

    with server.connect("transformer") as running:
        counted = running.execute("select dpe.count_failures(%s, 'count(*)', 'tool')", [query]).fetchone()
        [(problem,)] = running.execute("select dpe.remember_failures(%s, '1', now(), 'tool')", [result]).fetchall()

    with server.connect("admin") as connection:
        leaked = connection.execute("select is_called from office.leak").fetchone()
    assert counted == (None,)
    assert f"it would run code of others: tool.shops (the policy spying on tool.shops, of {TOOL})" in str(problem)
    assert leaked == (False,)


def test_a_check_that_was_cancelled_stops_no_later_one(server: Server) -> None:
    """A pooled session may still have the statement that locks."""
    make(server, CASES["table"], "dpe_transformer")

    with server.connect("transformer") as reading:
        reading.execute("prepare dpe_lock as select")
        for check in CHECKS.values():
            check(reading, ("tool", "shops"))
        left = reading.execute("select from pg_prepared_statements where name = 'dpe_lock'").fetchall()

    assert [] == left
