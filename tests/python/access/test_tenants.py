"""A tenant without published rows is most likely misspelt: it is granted only with --future."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from conftest import numbers
from psycopg import sql
from support import dbt_projects
from support.protected_project import PROJECT, TENANT_TABLES

from dpe_cli.access import tenants
from dpe_cli.access.grants import AccessError
from dpe_cli.cli import main
from dpe_cli.cli.app import App
from dpe_cli.cli.report import Lines, Report
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server


@pytest.fixture
def login(module_server: Server) -> Iterator[str]:
    """Create a login that is not a reader yet."""
    name = f"desk_{next(numbers)}"
    with module_server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("drop owned by {name}; drop role {name}").format(name=sql.Identifier(name)))


@pytest.fixture(scope="module")
def built(module_server: Server, scratch: Path) -> Server:
    """Build a project of relations of every kind, with the tenants UA and HA."""
    run_dbt(Project(dbt_projects.make(scratch / "tenants", PROJECT)), module_server, ["build"])
    return module_server


def _dpe(server: Server, *arguments: str) -> Report:
    app = App()
    app.server = server
    return cast("Report", main.cli.main(args=["access", *arguments], standalone_mode=False, obj=app))


def _granted(server: Server, login: str) -> list[str]:
    with server.connect("admin") as connection:
        rows = connection.execute("select tenant_id from dpe.tenant_access where role_name = %s::regrole order by 1", [login])
        return [tenant for (tenant,) in rows]


def test_relations_with_tenants_are_compared(built: Server) -> None:
    """Tables that declare tenants: not views, nor private, internal or shared relations, nor other versions of published ones."""
    with built.connect("admin") as connection, admin_context(connection, "test"):
        found = tenants.published(connection)

    assert sorted(TENANT_TABLES) == sorted(f"{tenant.schema}.{tenant.name}" for tenant in found)
    assert {("shop",)} == {tenant.columns for tenant in found}


@pytest.mark.parametrize("schema", ["finance__next", "finance__previous", "finance__old_17"])
def test_other_versions_are_not_compared(built: Server, schema: str) -> None:
    """Even if a reader may enter their schemas."""
    with built.connect("admin") as connection:
        connection.execute(sql.SQL("create schema {0}; grant usage on schema {0} to dpe_reader").format(sql.Identifier(schema)))
        connection.execute(sql.SQL("alter table finance.orders set schema {}").format(sql.Identifier(schema)))
        assert "orders" not in {tenant.name for tenant in tenants.published(connection)}
        connection.rollback()


def test_a_tenant_that_has_no_rows_is_refused(built: Server, login: str) -> None:
    """With similar names; nothing is granted, and the role does not become a reader."""
    message = (
        "^ua, XX: no published relation has a row of these tenants \\(similar: UA, HA\\); correct the name, or grant it with --future$"
    )
    with pytest.raises(AccessError, match=message):
        _dpe(built, "grant", login, "UA", "ua", "XX")

    assert [] == _granted(built, login)
    with built.connect("admin") as connection:
        assert (False,) == connection.execute("select pg_has_role(%s, 'dpe_reader', 'member')", [login]).fetchone()


def test_a_tenant_that_has_rows_is_granted(built: Server, login: str) -> None:
    """Without any comment."""
    report = _dpe(built, "grant", login, "UA", "HA")

    assert ["HA", "UA"] == _granted(built, login)
    assert cast("Any", report.data)["compared"] is True
    assert [["It is now a reader (member of dpe_reader), and sees shared tables too."]] == [
        section.lines for section in report.sections if isinstance(section, Lines)
    ]


def test_a_tenant_that_will_have_rows_is_granted_with_future(built: Server, login: str) -> None:
    """Every tenant (`*`) is granted without it."""
    _dpe(built, "grant", login, "XX", "UA", "--future")
    _dpe(built, "grant", login, "--all-tenants")

    assert ["*", "UA", "XX"] == _granted(built, login)


def test_a_long_name_is_shortened_in_the_message(built: Server, login: str) -> None:
    """And the answer comes at once."""
    with pytest.raises(AccessError, match=f"^{'x' * 60}…: no published relation has a row of this tenant; correct the name"):
        _dpe(built, "grant", login, "x" * 5000)


def test_tenants_are_looked_up_through_the_index(built: Server) -> None:
    """However many rows there are, also with few tenants, for which PostgreSQL would scan the rows for the first match."""
    with built.connect("admin") as connection:
        connection.execute(
            """
            set local role dpe_transformer;
            set local dpe.actor = 'test';
            insert into finance.fct_orders select number, 'T' || number % 3, number from generate_series(1, 40000) as number;
            """
        )
        connection.execute("analyze finance.fct_orders")
        connection.execute("select set_config('role', 'dpe_owner', true)")
        [relation] = [tenant for tenant in tenants.published(connection) if tenant.name == "fct_orders"]
        read = "select seq_scan, idx_tup_fetch from pg_stat_xact_all_tables where relid = 'finance.fct_orders'::regclass"
        before = cast("tuple[int, int]", connection.execute(read).fetchone())

        assert ["XX"] == tenants.unknown(connection, [relation], ["UA", "T1", "XX"])
        assert "T1" in tenants.similar(connection, [relation], ["t1"])

        after = cast("tuple[int, int]", connection.execute(read).fetchone())
        assert before[0] == after[0]
        assert after[1] - before[1] < 1000
        connection.rollback()


def test_a_hint_that_takes_too_long_is_omitted(built: Server, login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal does not wait for it."""
    monkeypatch.setattr(tenants, "_COMPARING_SECONDS", 0.0)
    monkeypatch.setattr(tenants, "_TENANTS", "select pg_sleep(60)::text as tenant from {relation} order by {column} limit {limit}")

    with pytest.raises(
        AccessError, match="^XX: no published relation has a row of this tenant; correct the name, or grant it with --future"
    ):
        _dpe(built, "grant", login, "XX")


def test_what_the_administrator_may_not_read_is_omitted(built: Server) -> None:
    """Instead of failing for all."""
    with built.connect("admin") as connection, connection.transaction(force_rollback=True):
        connection.execute("revoke select on finance.orders from dpe_owner")
        connection.execute("set local role dpe_owner")
        assert "orders" not in {tenant.name for tenant in tenants.published(connection)}


# Code that runs with rights that `dpe access grant` has, but its author does not, leaves a trace.
SPY = """
    create schema {schema} authorization {author};
    set role {author};
    create table {schema}.loot (what text);
    grant usage on schema {schema} to public;
    grant insert, select on {schema}.loot to public;
    create function {schema}.spy(text) returns text language plpgsql as $$
    begin
        if current_user = '{author}' then
            return $1;
        end if;
        begin
            perform set_config('role', 'none', true);
        exception
            when others then null;
        end;
        if (select rolsuper from pg_roles where rolname = current_user) then
            raise exception 'code of somebody else runs as a superuser';
        end if;
        insert into {schema}.loot values (current_user);
        perform nextval('{schema}.called');
        return $1;
    end $$;
    grant execute on function {schema}.spy(text) to public;
    create sequence {schema}.called;
    grant usage on sequence {schema}.called to public;
    create type {schema}.code as (shop text);
    create function {schema}.cast_of(text) returns {schema}.code language sql as $$ select row({schema}.spy($1))::{schema}.code $$;
    create function {schema}.cast_to({schema}.code) returns text language sql as $$ select {schema}.spy($1.shop) $$;
    grant execute on function {schema}.cast_of(text), {schema}.cast_to({schema}.code) to public;
    create cast ({schema}.code as text) with function {schema}.cast_to as implicit;
"""
BAIT = """
    create table {where}.bait (shop {type} not null);
    insert into {where}.bait values ({value});
    alter table {where}.bait enable row level security;
    create policy dpe_system on {where}.bait using (shop is not null and {schema}.spy('UA') = 'UA');
    comment on policy dpe_system on {where}.bait is 'tenant_column shop';
    grant select on {where}.bait to public;
"""


@pytest.fixture
def spying(built: Server, login: str) -> Iterator[Callable[..., tuple[int, int]]]:
    """
    Let a role create a relation that looks published, with its own code, and let an administrator grant access.

    `spying(author, type, value, where)` returns how often the code was called, and how many traces it left.
    """
    schema = f"desk_of_{login}"

    def spy(author: str, where: str | None = None, type_: str = "text", value: str = "'HA'") -> tuple[int, int]:
        with built.connect("admin", autocommit=True) as connection:
            connection.execute(SPY.format(schema=schema, author=author).encode())
            bait = BAIT.format(where=where or schema, type=type_.format(schema), value=value.format(schema), schema=schema)
            connection.execute(bait.encode())
        with pytest.raises(AccessError, match="^XX: no published relation has a row of this tenant"):
            _dpe(built, "grant", login, "XX")
        with built.connect("admin", autocommit=True) as connection:
            connection.execute(f"set role {author}".encode())
            [(words,)] = connection.execute(f"select count(*) from {schema}.loot".encode()).fetchall()
            [(calls,)] = connection.execute(f"select last_value - (not is_called)::int from {schema}.called".encode()).fetchall()
        return int(calls), int(words)

    yield spy
    with built.connect("admin", autocommit=True) as connection:
        connection.execute(f"drop table if exists finance.bait; drop schema {schema} cascade".encode())


def test_another_roles_table_is_not_queried(spying: Callable[..., tuple[int, int]], login: str) -> None:
    """Whatever its policy is called: only the pipeline's own code runs when access is granted."""
    assert (0, 0) == spying(login)


def test_a_column_of_another_roles_type_is_not_queried(spying: Callable[..., tuple[int, int]]) -> None:
    """A hook may leave a cast of the tenant column, which PostgreSQL would call in comparisons."""
    assert (0, 0) == spying("dpe_transformer", "finance", "{}.code", "row('HA')::{}.code")


def test_code_of_a_model_does_not_leave_the_querying_role(spying: Callable[..., tuple[int, int]]) -> None:
    """A hook may leave a policy that calls its function: it runs only with the rights of dpe_owner, and its writes are rolled back."""
    calls, words = spying("dpe_transformer", "finance")

    assert (True, 0) == (calls > 0, words)
