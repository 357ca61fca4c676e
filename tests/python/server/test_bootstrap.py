from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from conftest import VERSIONS, Cluster, numbers
from psycopg import sql
from support import guides
from support.former_ledger import WITHOUT_PROJECTS

from dpe_cli.access import checks
from dpe_cli.errors import ServerError
from dpe_cli.publishing import publisher
from dpe_cli.server import bootstrap as module
from dpe_cli.server.bootstrap import bootstrap, bootstrap_server, ensure_bootstrapped, has_ledger, is_bootstrapped
from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.server.server import Server


@pytest.fixture
def empty(any_cluster: Cluster) -> Iterator[Server]:
    """Give a database that was not bootstrapped, on a server that already has the roles."""
    server = replace(any_cluster.template, database=f"empty_{next(numbers)}")
    with any_cluster.template.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(server.database)))
        yield server
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(server.database)))


@pytest.fixture(params=list(VERSIONS))
def managed(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Server]:
    """Give a new server whose administrator is not a superuser, like a managed server's."""
    bin_dir = VERSIONS[request.param]
    if bin_dir is not None and not bin_dir.is_dir():
        pytest.skip(f"PostgreSQL {request.param} is not installed in {bin_dir}")
    embedded = EmbeddedServer(scratch / f"managed-{request.param}-{next(numbers)}", bin_dir)
    embedded.start()
    server = Server(str(embedded.socket_dir), embedded.port, "warehouse", "manager", is_embedded=False)
    try:
        with replace(server, database="dpe").connect("postgres", autocommit=True) as connection:
            connection.execute("create role manager login createrole")
            connection.execute("create database warehouse owner manager")
        yield server
    finally:
        embedded.stop()


def test_everything_is_created_once(empty: Server) -> None:
    """The first bootstrap creates what is missing, the second finds everything."""
    first = bootstrap_server(empty)
    second = bootstrap_server(empty)

    assert {"schema dpe_locks", "table dpe.extracts", "function dpe.visible_tenants()", "policy own_entries on dpe.tenant_access"} <= set(
        first.created
    )
    assert "role dpe_loader" in first.present
    assert [] == second.created
    assert sorted(first.created + first.present) == sorted(second.present)


def test_a_bootstrap_drops_no_function_that_it_creates(fresh_server: Server) -> None:
    """Policies call some of them: each keeps its number, and none is added."""
    functions = "select oid, proname from pg_proc where pronamespace = 'dpe'::regnamespace order by oid"
    with fresh_server.connect("admin", autocommit=True) as connection:
        before = connection.execute(functions).fetchall()
        bootstrap_server(fresh_server)

        assert before == connection.execute(functions).fetchall()


def test_bootstraps_at_the_same_time_take_turns(managed: Server) -> None:
    """Of a new server's database, of another one that shares its roles, and of both again."""
    one = replace(managed, admin_user="postgres")
    with ThreadPoolExecutor(6) as pool:
        for _ in range(2):
            reports = [pool.submit(bootstrap_server, server) for server in 3 * (one, replace(one, database="dpe"))]
            for report in reports:
                assert "table dpe.extracts" in {*report.result().created, *report.result().present}

    for database in ("warehouse", "dpe"):
        with replace(one, database=database).connect("admin") as connection:
            assert is_bootstrapped(connection)


# What a reader can hold: the access list, which its policies read, and a sequence, which PostgreSQL locks before it checks privileges.
HELD = {
    "tenant_access": "select dpe.visible_tenants()",
    "extract_id": """
        do $$
        begin
            perform nextval(oid) from pg_class where relname = 'extract_id';
        exception
            when insufficient_privilege then null;
        end $$
    """,
}


@pytest.mark.parametrize("held", list(HELD))
def test_a_reader_that_blocks_a_bootstrap_is_named(
    fresh_server: Server, reader: Callable[..., str], monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    """Its open transaction holds a lock; other readers are not blocked while the bootstrap waits."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 1)
    login = reader(fresh_server, "UA")
    with fresh_server.connect(login) as holding, fresh_server.connect(login, autocommit=True) as another:
        holding.execute(HELD[held].encode())
        message = (
            rf"database {fresh_server.database}: {login} \(process {holding.info.backend_pid}, since .*, 'dpe'\) holds dpe.{held}; "
            "nothing is changed. End that session, then run `dpe bootstrap`"
        )
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(bootstrap_server, fresh_server)
            another.execute("set statement_timeout = '1s'")
            while not waiting.done():
                assert [(["UA"],)] == another.execute("select dpe.visible_tenants()").fetchall()
        with pytest.raises(ServerError, match=message):
            waiting.result()
        holding.rollback()
    bootstrap_server(fresh_server)


def test_a_grant_of_a_login_on_the_database_stops_no_bootstrap(
    fresh_server: Server, reader: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It changes nothing, but holds the database's row, and no event trigger sees it: a bootstrap writes the row only if it has to."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 1)
    bootstrap_server(fresh_server)
    login = reader(fresh_server)
    with fresh_server.connect(login) as holding:
        database, role = sql.Identifier(fresh_server.database), sql.Identifier(login)
        holding.execute(sql.SQL("grant connect on database {} to {}").format(database, role))

        bootstrap_server(fresh_server)


def test_other_databases_that_are_open_to_every_login_are_named(fresh_server: Server) -> None:
    """From there, a login could block this one, because all databases share some catalogs."""
    with replace(fresh_server, database="postgres").connect("admin", autocommit=True) as connection:
        assert {"postgres", "template1"} <= set(bootstrap_server(fresh_server).open_databases)
        connection.execute("revoke connect on database postgres from public")
        try:
            assert not {"postgres", fresh_server.database} & set(bootstrap_server(fresh_server).open_databases)
        finally:
            connection.execute("grant connect on database postgres to public")


def test_a_run_that_blocks_a_bootstrap_is_named(fresh_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has locked does not change during the run."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.5)
    with (
        publisher.building(fresh_server, ["finance"]),
        pytest.raises(
            ServerError,
            match=r"dpe_transformer \(process \d+, since .*, 'dpe lock: build finance'\) holds dpe_locks.locks; nothing is changed",
        ),
    ):
        bootstrap_server(fresh_server)


def test_a_database_knows_whether_it_is_bootstrapped(empty: Server) -> None:
    """By exactly the statements of this version of dpe, so that an older database is updated."""
    with empty.connect("admin") as connection:
        assert not is_bootstrapped(connection)
        connection.rollback()
        bootstrap(connection)
        assert is_bootstrapped(connection)
        connection.execute("comment on schema dpe is 'Bootstrapped by an older dpe.'")
        assert not is_bootstrapped(connection)


def test_our_own_server_is_bootstrapped_automatically(empty: Server) -> None:
    """The embedded server needs no administrator for it."""
    ensure_bootstrapped(empty)

    with empty.connect("loader") as connection:
        assert is_bootstrapped(connection)


def test_a_ledger_is_found_and_none_is_created(empty: Server) -> None:
    """One of another version is not upgraded either, on our own server or another one."""
    assert not has_ledger(empty)
    with pytest.raises(ServerError, match="is not bootstrapped for this version"):
        has_ledger(replace(empty, is_embedded=False))
    assert not has_ledger(empty)
    bootstrap_server(empty)
    assert has_ledger(empty)
    assert has_ledger(replace(empty, is_embedded=False))
    with empty.connect("admin") as connection:
        connection.execute("comment on schema dpe is 'Bootstrapped by an older dpe.'")
    for _ in range(2):
        with pytest.raises(ServerError, match="is not bootstrapped for this version of dpe; run `dpe bootstrap`"):
            has_ledger(empty)


def test_another_server_asks_for_bootstrap(empty: Server) -> None:
    """A database does not get schemas that its owner did not ask for."""
    with pytest.raises(ServerError, match=r"database empty_.* is not bootstrapped for this version of dpe; run `dpe bootstrap`"):
        ensure_bootstrapped(replace(empty, is_embedded=False))

    with empty.connect("admin") as connection:
        assert (None,) == connection.execute("select to_regnamespace('dpe')").fetchone()


def test_a_second_administrator_only_needs_membership(empty: Server) -> None:
    """Roles that another role created are used as they are."""
    manager = sql.Identifier(f"manager_{next(numbers)}")
    database = sql.Identifier(empty.database)
    with empty.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(manager))
        connection.execute(sql.SQL("grant dpe_owner, dpe_loader, dpe_transformer, dpe_tenant to {}").format(manager))
        connection.execute(sql.SQL("alter database {} owner to {}").format(database, manager))
    try:
        report = bootstrap_server(replace(empty, admin_user=manager._obj[0]))
        assert "table dpe.extracts" in report.created
    finally:
        with empty.connect("admin", autocommit=True) as connection:
            connection.execute(sql.SQL("alter database {} owner to postgres").format(database))
            connection.execute(sql.SQL("drop owned by {}").format(manager))
            connection.execute(sql.SQL("drop role {}").format(manager))


def test_a_login_without_the_rights_is_told_who_may(empty: Server) -> None:
    """A refused bootstrap leaves nothing."""
    with pytest.raises(ServerError, match=r"dpe_loader: may not bootstrap empty_.*; be a superuser"):
        bootstrap_server(replace(empty, admin_user="dpe_loader"))

    with empty.connect("admin") as connection:
        assert (None,) == connection.execute("select to_regnamespace('dpe')").fetchone()


@pytest.fixture
def open_to_all(empty: Server) -> Server:
    """Give a database in which every role may create in the schema public, as before PostgreSQL 15."""
    with empty.connect("admin", autocommit=True) as connection:
        connection.execute("grant create on schema public to public")
    return empty


def test_a_schema_in_which_every_role_may_create_is_closed(open_to_all: Server) -> None:
    """In the embedded server, which is dpe's own."""
    bootstrap_server(open_to_all)

    with open_to_all.connect("admin") as connection:
        assert (False,) == connection.execute("select has_schema_privilege('dpe_reader', 'public', 'create')").fetchone()


def test_elsewhere_it_has_to_be_closed_first(open_to_all: Server) -> None:
    """Other applications may rely on it, so nothing is changed; the message contains the statement to run."""
    server = replace(open_to_all, is_embedded=False)
    with pytest.raises(ServerError, match=r"run `revoke create on schema public from public`, then `dpe bootstrap`"):
        bootstrap_server(server)

    with server.connect("admin", autocommit=True) as connection:
        assert (None,) == connection.execute("select to_regnamespace('dpe')").fetchone()
        connection.execute("revoke create on schema public from public")
    bootstrap_server(server)


def test_others_create_no_temporary_objects_in_a_database_of_dpe(empty: Server) -> None:
    """If dpe_owner owns it; the pipeline does, for incremental models, snapshots and unit tests."""
    rights = "select array(select rolname::text from pg_roles where rolname ~ '^dpe_' and has_database_privilege(oid, current_database(), 'temporary'))"
    with empty.connect("admin", autocommit=True) as connection:
        bootstrap(connection)
        [(before,)] = connection.execute(rights).fetchall()
        connection.execute(sql.SQL("alter database {} owner to dpe_owner").format(sql.Identifier(empty.database)))
        bootstrap(connection)
        [(after,)] = connection.execute(rights).fetchall()

    assert "dpe_reader" in before
    assert ["dpe_loader", "dpe_owner", "dpe_transformer"] == sorted(after)


@pytest.mark.parametrize("loosened", ["alter role dpe_reader bypassrls", "alter role dpe_loader superuser", "grant boss to dpe_loader"])
def test_a_role_that_may_bypass_row_level_security_is_refused(fresh_server: Server, loosened: str) -> None:
    """Directly or through a membership: policies would not bind it."""
    with fresh_server.connect("admin") as connection:
        connection.execute("create role boss superuser")
        connection.execute(loosened.encode())

        with pytest.raises(ServerError, match=r"may become a role that does\); Remove that attribute or membership"):
            bootstrap(connection)
        connection.rollback()


def test_a_role_that_was_loosened_is_tightened(fresh_server: Server) -> None:
    """The readers' group never logs in."""
    with fresh_server.connect("admin") as connection:
        connection.execute("alter role dpe_reader login")
        bootstrap(connection)
        assert (False,) == connection.execute("select rolcanlogin from pg_roles where rolname = 'dpe_reader'").fetchone()
        connection.rollback()


def test_an_old_server_is_refused(fresh_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL 14 has no security_invoker views."""
    monkeypatch.setattr(module, "OLDEST", 99)

    with fresh_server.connect("admin") as connection, pytest.raises(ServerError, match=r"is PostgreSQL 1[5-8]; dpe needs 99 or later"):
        bootstrap(connection)


# What earlier versions had: functions with other arguments, and a ledger without some columns.
EARLIER = f"""{WITHOUT_PROJECTS}
    drop function dpe.open_schema(name, oid), dpe.readers_outside(name, oid);
    create function dpe.count_failures(text, text) returns bigint language sql as 'select 1::bigint';
    create function dpe.readers_outside(name) returns setof name language sql as 'select $1';
    create function dpe.open_schema(name) returns void language sql as 'select null';
    create function dpe.forgotten() returns text language sql as 'select null';
    alter function dpe.count_failures(text, text) owner to dpe_owner;
    alter function dpe.readers_outside(name) owner to dpe_owner;
    alter function dpe.open_schema(name) owner to dpe_owner;
    alter function dpe.forgotten() owner to dpe_owner;
    alter table dpe.extracts drop column cursor_value;
    alter table dpe.loads drop column records_repeated, drop column version;
    alter table dpe.rejects drop column replayed_load_id, drop column refused_extract_id, drop column refused_location;
    alter table dpe.publications drop column replaced;
    alter table dpe.access_changes drop column role_id;
    insert into dpe.extracts (source, disposition, actor) values ('shop.orders', 'append', 'test');
    insert into dpe.loads (extract_id, source, location, records_read, rows_loaded, rows_rejected)
    select extract_id, source, 'monday.csv', 1, 1, 0 from dpe.extracts
"""
# What a reader's views call of these.
USED = {
    "counted": "dpe.count_failures('a', 'b')",
    "outside": "dpe.readers_outside('finance')",
    "opened": "dpe.open_schema('finance') is null",
    "forgotten": "dpe.forgotten()",
}
CALLED_BY_A_POLICY = """
    create function dpe.of_administrators() returns integer language sql as 'select 7';
    create function dpe.is_seen() returns boolean language sql as 'select true';
    alter function dpe.is_seen() owner to dpe_owner;
    revoke all on function dpe.is_seen() from public;
    grant execute on function dpe.is_seen() to dpe_reader;
    create table public.older as select 1 as one;
    grant select on public.older to dpe_reader;
    create policy seen on public.older to dpe_reader using (dpe.is_seen());
    alter table public.older enable row level security, owner to dpe_transformer;
"""
TABLES = "select oid::regclass::text from pg_class where relnamespace = 'dpe'::regnamespace and relkind = 'r'"
FORMER = "select oid::regprocedure::text from pg_proc where pronamespace = 'dpe'::regnamespace and proname ~ '^former_' order by 1"


def test_what_readers_made_from_an_earlier_version_stops_no_bootstrap(fresh_server: Server, reader: Callable[..., str]) -> None:
    """A function that one of their objects uses is kept, closed and named, until that object is gone. Other roles cannot use row types."""
    login = reader(fresh_server)
    with fresh_server.connect("admin", autocommit=True) as connection, fresh_server.connect(login, autocommit=True) as reading:
        connection.execute(EARLIER.encode())
        tables = [str(name) for (name,) in connection.execute(TABLES)]
        for number, table in enumerate(tables):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for type"):
                reading.execute(f"create temporary table own_{number} (one {table})".encode())
            connection.execute(f"grant usage on type {table} to public".encode())
            reading.execute(f"create temporary table own_{number} (one {table}, many {table}[])".encode())
        for view, call in USED.items():
            reading.execute(f"create temporary view {view} as select {call}".encode())
        reading.execute("create temporary view listed as select * from dpe.tenant_access")

        for _ in range(2):
            kept = bootstrap_server(fresh_server).kept
            functions = [re.escape(str(name)) for (name,) in connection.execute(FORMER)]
            assert len(USED) == len(functions) == len(kept)
            for view in USED:
                assert any(re.fullmatch(rf"({'|'.join(functions)}): view pg_temp_\d+\.{view} of {login} uses it", line) for line in kept)
        assert [] == checks.check(connection, ["dpe"])
        assert [(0,)] == connection.execute("select records_repeated from dpe.loads").fetchall()
        assert [] == reading.execute("select * from listed").fetchall()
        for view in USED:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reading.execute(f"select * from {view}".encode())
            reading.execute(f"drop view {view}".encode())
        assert [] == bootstrap_server(fresh_server).kept
        assert [] == connection.execute(FORMER).fetchall()


def test_policies_call_a_function_of_an_earlier_version_until_they_are_built_again(
    fresh_server: Server, reader: Callable[..., str]
) -> None:
    """Its table stays readable, and what an administrator created in dpe's schema stays as it is."""
    login = reader(fresh_server)
    with fresh_server.connect("admin", autocommit=True) as connection, fresh_server.connect(login, autocommit=True) as reading:
        connection.execute(CALLED_BY_A_POLICY.encode())
        bootstrap_server(fresh_server)

        assert [(1,)] == reading.execute("select * from public.older").fetchall()
        assert 1 == len(connection.execute(FORMER).fetchall())
        connection.execute("drop table public.older")
        bootstrap_server(fresh_server)
        assert [] == connection.execute(FORMER).fetchall()
        assert [(7,)] == connection.execute("select dpe.of_administrators()").fetchall()


def test_privileges_that_others_passed_on_stop_no_bootstrap(fresh_server: Server, reader: Callable[..., str]) -> None:
    """They are revoked, like all those that dpe does not grant."""
    login = reader(fresh_server)
    with fresh_server.connect("admin", autocommit=True) as connection:
        connection.execute("grant select on dpe.rejects to dpe_auditor with grant option")
        connection.execute(sql.SQL("set role dpe_auditor; grant select on dpe.rejects to {}; reset role").format(sql.Identifier(login)))

        bootstrap_server(fresh_server)

        assert [(False,)] == connection.execute("select has_table_privilege(%s, 'dpe.rejects', 'select')", [login]).fetchall()


@pytest.mark.parametrize(
    ("statement", "made"),
    [
        ("drop function dpe.recorded_name(oid);", "create temporary view used as select dpe.recorded_name(1)"),
        (
            "alter table dpe.tenant_access alter column tenant_id type varchar;",
            "create temporary view used as select * from dpe.tenant_access",
        ),
    ],
)
def test_what_stops_a_bootstrap_is_named(
    fresh_server: Server, reader: Callable[..., str], monkeypatch: pytest.MonkeyPatch, statement: str, made: str
) -> None:
    """If a later version drops or changes something that another role's object uses, after all: the object, its owner, and what to do."""
    text = module._text
    monkeypatch.setattr(module, "_text", lambda name: text(name) + (statement if name == module.FILES[-1] else ""))
    login = reader(fresh_server)
    with fresh_server.connect(login, autocommit=True) as reading:
        reading.execute(made.encode())
        message = rf"cannot .*; nothing is changed\. .*: view pg_temp_\d+\.used of {login} uses dpe\..*\. Drop those .* run `dpe bootstrap`"
        with pytest.raises(ServerError, match=message):
            bootstrap_server(fresh_server)


def test_passwords_reach_neither_the_server_nor_its_log(
    any_cluster: Cluster, fresh_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are hashed by dpe, so that a server that logs every statement logs no password."""
    monkeypatch.setenv("DPE_LOADER_PASSWORD", "hush'hush")
    with fresh_server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("alter database {} set log_statement = 'all'").format(sql.Identifier(fresh_server.database)))

    report = bootstrap_server(fresh_server)

    with fresh_server.connect("admin", autocommit=True) as connection:
        stored = connection.execute(
            "select rolpassword like 'SCRAM-SHA-256$%%' from pg_authid where rolname = %s", ["dpe_loader"]
        ).fetchone()
        connection.execute("alter role dpe_loader password null")
    log = any_cluster.embedded.log.read_text()
    assert ["dpe_loader"] == report.passwords
    assert (True,) == stored
    assert 'alter role "dpe_loader" password' in log
    assert "hush" not in log


def test_nothing_is_open_to_every_role(fresh_server: Server) -> None:
    """PUBLIC has no right on dpe's schemas, tables, functions, or on functions that its roles will create."""
    with fresh_server.connect("admin") as connection:
        for statement in (
            "create role stranger",
            "set local role dpe_transformer",
            "create schema finance",
            "create function finance.one() returns int language sql as 'select 1'",
            "reset role",
        ):
            connection.execute(statement.encode())
        found = connection.execute(
            """
            select nspname::text from pg_namespace
            where nspname in ('dpe', 'dpe_locks', 'finance')
                and has_schema_privilege('stranger', oid, 'usage, create')
            union all
            select oid::regclass::text from pg_class
            where relnamespace = 'dpe'::regnamespace and relkind = 'r'
                and has_table_privilege('stranger', oid, 'select, insert, update, delete')
            union all
            select oid::regprocedure::text from pg_proc
            where pronamespace in ('dpe'::regnamespace, 'finance'::regnamespace) and has_function_privilege('stranger', oid, 'execute')
            """
        ).fetchall()
        connection.rollback()

    assert [] == found


def test_the_ledger_is_protected_from_its_owner_too(fresh_server: Server) -> None:
    """Every table of the ledger has row-level security, enabled and forced."""
    with fresh_server.connect("admin") as connection:
        found = connection.execute(
            """
            select relname::text from pg_class
            where relnamespace = 'dpe'::regnamespace and relkind = 'r' and not (relrowsecurity and relforcerowsecurity)
            """
        ).fetchall()

    assert [] == found


def test_an_older_ledger_gets_the_columns_that_loads_need(empty: Server) -> None:
    """Without a default, which would make PostgreSQL check or rewrite each row; what was loaded before has none."""
    with empty.connect("admin") as connection:
        bootstrap(connection)
        connection.execute("alter table dpe.loads drop column columns_missing")
        connection.execute(
            "insert into dpe.extracts (source, relation, disposition, actor) values ('shop.orders', 'raw.orders', 'append', 'test')"
        )
        connection.execute(
            """
            insert into dpe.loads (extract_id, source, relation, location, records_read, rows_loaded, rows_rejected)
            select extract_id, source, relation, 'a.csv', 0, 0, 0 from dpe.extracts
            """
        )
        (before,) = connection.execute("select pg_relation_filenode('dpe.loads')").fetchall()
        bootstrap(connection)

        assert [(None, before[0])] == connection.execute(
            "select columns_missing, pg_relation_filenode('dpe.loads') from dpe.loads"
        ).fetchall()


# What two sources of a former ledger loaded: one into a table of another schema and name.
FORMER_ROWS = """
    create schema lake;
    grant create, usage on schema lake to dpe_loader;
    set local role dpe_loader;
    create table lake.orders_in (id integer, _slice_id bigint) partition by list (_slice_id);
    create table lake.orders_in__1_1 partition of lake.orders_in for values in (1);
    reset role;
    insert into dpe.extracts (extract_id, source, disposition, actor, status)
    values (1, 'shop.orders', 'append', 'test', 'succeeded'), (2, 'shop.customers', 'append', 'test', 'failed');
    insert into dpe.loads (load_id, extract_id, source, location, records_read, rows_loaded, rows_rejected)
    values (1, 1, 'shop.orders', 'monday.csv', 1, 0, 1);
    insert into dpe.rejects (load_id, refused_extract_id, source, position, sqlstate, reason, raw)
    values (1, null, 'shop.orders', 1, '22000', 'r', 'raw'), (null, 2, 'shop.customers', 1, '22000', 'r', 'raw');
    insert into dpe.publications (status, selection, relations, actor) values ('built', '', '[{"schema": "finance", "name": "a", "oid": 1}]', 'test');
    insert into dpe.rule_failures (test_id, row_hash, test, failing_row, first_invocation_id, first_seen_at, last_seen_at)
    values ('test.shop.a', 'h', 'a', '{}', 'i', now(), now());
"""


def test_a_former_ledger_becomes_that_of_the_project_that_bootstraps(fresh_server: Server) -> None:
    """Its sources are recognised by their staging tables. Outside of a project, it is refused, and nothing changes."""
    with fresh_server.connect("admin") as connection:
        connection.execute(f"{WITHOUT_PROJECTS}{FORMER_ROWS}".encode())
    with pytest.raises(ServerError, match="did not record the dbt project; run `dpe bootstrap` in that project's directory"):
        bootstrap_server(replace(fresh_server, project=None, target=None))

    bootstrap_server(replace(fresh_server, project="shop", target="prod"))
    with fresh_server.connect("admin", autocommit=True) as connection:
        # A renamed project takes its ledger along by the statements of the manual.
        connection.execute(guides.commands("../start/your-own-server.md", "Several projects in one database", "sql").encode())

    with replace(fresh_server, project="shops", target="prod").connect("admin", autocommit=True) as connection:
        for table in ("extracts", "loads", "rejects", "publications", "rule_failures"):
            assert [("shops",)] == connection.execute(f"select distinct project from dpe.{table}".encode()).fetchall()
        for table in ("publications", "rule_failures"):
            assert [("prod",)] == connection.execute(f"select target from dpe.{table}".encode()).fetchall()
        placed = [("lake.orders_in",), ("staging.customers",)]
        assert placed == connection.execute("select relation from dpe.extracts order by extract_id").fetchall()
        assert placed[:1] == connection.execute("select relation from dpe.loads").fetchall()
        assert placed == connection.execute("select relation from dpe.rejects order by reject_id").fetchall()
        assert placed == connection.execute("select relation from dpe.staged_relations where project = 'shops' order by 1").fetchall()
        assert [] == connection.execute("select from dpe.project_schemas").fetchall()
        assert [] == [finding for finding in checks.check(connection, ["dpe"]) if finding.subject.startswith("dpe.")]
