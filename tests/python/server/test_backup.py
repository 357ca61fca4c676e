"""
The commands of docs/guides/backup.md, on a server whose other logins do what they can to harm a backup or its restore.

A small pipeline on a managed server, which a superuser has bootstrapped again, is backed up and restored in a new server, once per kind of
administrator and version of PostgreSQL. test_managed.py restores the demo, and upgrades it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from conftest import numbers
from support import dbt_projects, guides
from support.long_tests import each_version
from support.servers import start
from support.shop import SHOP, Shop

from dpe_cli.server.bootstrap import bootstrap_server
from dpe_cli.server.contexts import admin_context
from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.server.server import Server

# In checks, a generated column, a domain, a policy and an index: code that takes what it can from a role that is not rita, and leaves a line
# in the server's log.
OF_RITA = """
    create function desk.is_fine(i integer) returns boolean language plpgsql as $$
    begin
        if current_user <> 'rita' or session_user <> 'rita' then
            raise warning 'code of rita ran as %', current_user;
            perform set_config('dpe.tenant_id', 'UA', false);
            if current_setting('transaction_read_only') = 'off' then
                execute case when (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then 'alter role rita superuser'
                    else 'grant dpe_owner to rita' end;
            end if;
        end if;
        return true;
    end
    $$;
    create function desk.is_always_fine(i integer) returns boolean language plpgsql immutable as 'begin return desk.is_fine(i); end';
    create domain desk.fine as integer check (desk.is_fine(value));
    create table desk.notes (
        i integer check (desk.is_fine(i)), fine desk.fine, generated boolean generated always as (desk.is_always_fine(i)) stored
    );
    insert into desk.notes (i, fine) values (1, 1), (2, 2);
    create index on desk.notes (desk.is_always_fine(i));
    alter table desk.notes enable row level security;
    create policy dpe_backup on desk.notes using (desk.is_fine(i));
    create materialized view desk.orders as select order_id from finance.fct_orders;
    create view desk.amounts as select amount from finance.fct_orders;
    create table desk.mine (i integer);
    create sequence desk.numbers;
    alter default privileges in schema finance grant select on tables to public;
"""
OF_STRANGER = """
    select lo_from_bytea(0, 'x');
    alter default privileges in schema finance grant execute on functions to public;
    alter role stranger in database warehouse set work_mem = '8MB';
"""
# The guide's `dpe run` takes most of the time, and test_managed.py shows that it works in a restored database.
WITHOUT_RUN = 'dpe() { if [ "$*" != run ]; then command dpe "$@"; fi; }\n'


@dataclass(frozen=True)
class Old:
    """A managed server with the small pipeline, and the objects of others."""

    shop: Shop
    embedded: EmbeddedServer
    version: str

    @property
    def server(self) -> Server:
        """As its administrator reaches it, who is not a superuser."""
        return self.shop.server


def run_as(server: Server, role: str, statements: str) -> None:
    """Run statements as a login, each in a transaction of its own."""
    with psycopg.connect(host=server.host, port=server.port, user=role, dbname=server.database, autocommit=True) as connection:
        connection.execute(statements.encode())


@pytest.fixture(scope="module", params=each_version())
def old(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Old]:
    """Publish the small pipeline as an administrator who is not a superuser; let others make what may harm its backup."""
    directory = scratch / f"backup-{request.param}-{next(numbers)}"
    with start(directory, request.param) as embedded:
        server = Server(
            str(embedded.socket_dir), embedded.port, "warehouse", "manager", is_embedded=False, project=dbt_projects.NAME, target="dev"
        )
        run_as(replace(server, database="postgres"), "postgres", "create role manager login createrole createdb")
        run_as(replace(server, database="postgres"), "manager", "create database warehouse")
        run_as(
            server, "manager", "create role rita login; create role stranger login; create schema desk; grant all on schema desk to rita"
        )
        bootstrap_server(server)
        shop = Shop(dbt_projects.make(directory.with_name(f"{directory.name}-shop"), SHOP), server)
        shop.run()
        run_as(server, "manager", "grant dpe_reader to rita")
        with server.connect("admin") as connection, admin_context(connection, "test"):
            connection.execute("insert into dpe.tenant_access values ('rita', 'UA')")
        run_as(server, "rita", OF_RITA)
        run_as(server, "rita", "grant select on all tables in schema desk to public; grant usage on schema desk to public")
        run_as(server, "stranger", OF_STRANGER)
        bootstrap_server(replace(server, admin_user="postgres"))
        yield Old(shop, embedded, request.param)


@dataclass(frozen=True)
class Restored:
    """What the commands of the guide made, run by `user`: another server with the same database."""

    server: Server
    embedded: EmbeddedServer
    user: str


@pytest.fixture(scope="module", params=["As a superuser", "On a managed server"])
def restored(request: pytest.FixtureRequest, old: Old, scratch: Path) -> Iterator[Restored]:
    """Back up and restore by the commands of the guide, while a reader holds a table of its own."""
    user = {"As a superuser": "postgres", "On a managed server": "manager"}[request.param]
    name = f"restored-{old.version}-{next(numbers)}"
    with start(scratch / name, old.version) as embedded:
        server = replace(old.server, host=str(embedded.socket_dir), port=embedded.port, admin_user=user)
        if user == "manager":
            run_as(replace(server, database="postgres"), "postgres", "create role manager login createrole createdb")
        variables = {"OLD": old.server.host, "NEW": server.host, "PGPORT": str(server.port)}
        with psycopg.connect(host=old.server.host, port=old.server.port, user="rita", dbname="warehouse") as holder:
            # A backup that waits for it fails the test, rather than waiting for ever.
            holder.execute("set idle_in_transaction_session_timeout = '400s'; lock table desk.mine")
            commands = WITHOUT_RUN + guides.commands("backup.md", request.param)
            done = guides.run(commands, old.shop.directory, programs=old.embedded.bin_dir, variables=variables)
            holder.execute("select")
        assert 0 == done.returncode, done.stdout + done.stderr
        yield Restored(server, embedded, user)


def as_superuser(server: Server, query: str) -> list[tuple[object, ...]]:
    """Query a database with no policy in the way."""
    with psycopg.connect(host=server.host, port=server.port, user="postgres", dbname=server.database) as connection:
        return connection.execute(query.encode()).fetchall()


# The rows of each table of the pipeline that the guide's last commands do not write.
TABLES = """
    select oid::regclass::text
    from pg_class
    where
        relkind = 'r'
        and relowner in ('dpe_loader'::regrole, 'dpe_transformer'::regrole)
        and relnamespace::regnamespace::text in ('raw', 'finance')
    union all
    select 'dpe.tenant_access'
    order by 1
"""
POLICIES = """
    select polrelid::regclass::text, polname, polroles::regrole[]::text, pg_get_expr(polqual, polrelid), relrowsecurity and relforcerowsecurity
    from pg_policy inner join pg_class on polrelid = pg_class.oid
    where relnamespace::regnamespace::text in ('dpe', 'raw', 'finance')
    order by 1, 2
"""
RIGHTS = """
    select rolname, rolsuper, array(select roleid::regrole::text from pg_auth_members where member = pg_roles.oid order by 1)
    from pg_roles
    where rolname in ('rita', 'stranger')
    order by 1
"""


def test_the_backup_is_complete_and_the_restored_database_protected(old: Old, restored: Restored) -> None:
    """Rows, policies and event triggers are all there; the temporary policies of the backup are not."""
    tables = [str(table) for (table,) in as_superuser(old.server, TABLES)]
    assert any("__" in table for table in tables)
    for table in tables:
        rows = as_superuser(old.server, f"select one::text from {table} as one order by 1")
        assert rows
        assert rows == as_superuser(restored.server, f"select one::text from {table} as one order by 1"), table
    policies = as_superuser(old.server, POLICIES)
    assert policies == as_superuser(restored.server, POLICIES)
    assert "dpe_backup" not in {name for _, name, *_ in policies}
    triggers = 2 if restored.user == "postgres" else 0
    assert [(triggers,)] == as_superuser(restored.server, "select count(*) from pg_event_trigger")
    with replace(restored.server).connect("rita") as connection:
        assert [(1,), (2,)] == connection.execute("select order_id from finance.fct_orders order by 1").fetchall()


def test_no_code_of_others_runs_as_an_administrator(old: Old, restored: Restored) -> None:
    """Neither in the backup nor in the restore, and no login has got rights."""
    for log in (old.embedded.log, restored.embedded.log):
        assert "code of rita ran" not in log.read_text(encoding="utf-8")
    expected = [("rita", False, ["dpe_reader"]), ("stranger", False, [])]
    assert expected == as_superuser(old.server, RIGHTS) == as_superuser(restored.server, RIGHTS)


def test_the_owner_restores_what_belongs_to_it(old: Old, restored: Restored) -> None:
    """Logged in as itself, by the commands of the guide; so its code has no other rights than its own."""
    variables = {
        "OLD": old.server.host,
        "NEW": restored.server.host,
        "PGPORT": str(restored.server.port),
        "PGUSER": restored.user,
        "PGDATABASE": "warehouse",
    }
    done = guides.run(
        guides.commands("backup.md", "What belongs to others"), old.shop.directory, programs=old.embedded.bin_dir, variables=variables
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "code of rita ran" not in restored.embedded.log.read_text(encoding="utf-8")
    with restored.server.connect("rita") as connection:
        assert [(1, 1, True), (2, 2, True)] == connection.execute("select * from desk.notes order by 1").fetchall()
        assert [(1,), (2,)] == connection.execute("select * from desk.orders order by 1").fetchall()
        assert [(10,), (20,)] == connection.execute("select * from desk.amounts order by 1").fetchall()
    assert [("rita", False, ["dpe_reader"]), ("stranger", False, [])] == as_superuser(restored.server, RIGHTS)
