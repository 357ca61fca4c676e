from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import psycopg
import pytest
from support import schemas

from dpe_cli.errors import ContextError
from dpe_cli.server.contexts import admin_context, system_context, tenant_context
from dpe_cli.server.server import Server

Reader = Callable[..., str]

# A mart protected as by the macros of the dbt project: tenants UA and HA.
MART = """
create table finance.flights as
select *
from (values ('UA', 1), ('UA', 2), ('HA', 3)) as flights (carrier, flight);

alter table finance.flights enable row level security;
alter table finance.flights force row level security;

create policy dpe_system on finance.flights for all to dpe_transformer
using ((select dpe.every_tenant_is_open()) or carrier = any ((select dpe.visible_tenants())::text[]))
with check ((select dpe.every_tenant_is_open()) or carrier = any ((select dpe.visible_tenants())::text[]));

create policy dpe_admin on finance.flights for select to dpe_owner
using ((select dpe.every_tenant_is_open()) or carrier = any ((select dpe.visible_tenants())::text[]));

create policy dpe_reader on finance.flights for select to dpe_reader
using (carrier = any ((select dpe.visible_tenants())::text[]));

grant select on finance.flights to dpe_owner, dpe_reader;
"""


@pytest.fixture
def server(fresh_server: Server) -> Server:
    """Give a server with the mart, built by the transformer."""
    schemas.create(fresh_server, "finance", opened=True)
    with fresh_server.connect("transformer") as connection:
        connection.execute(MART.encode())
    return fresh_server


def _flights(connection: psycopg.Connection) -> list[int]:
    return [flight for (flight,) in connection.execute("select flight from finance.flights order by flight")]


def _acting_as(connection: psycopg.Connection) -> tuple[object, ...] | None:
    return connection.execute("select current_user::text, dpe.actor(), dpe.chosen_tenant()").fetchone()


def test_a_system_context_is_for_every_tenant(server: Server) -> None:
    """The transformer sees and writes all rows in it, but none outside, though it owns the table."""
    with server.connect("transformer", autocommit=True) as connection:
        assert [] == _flights(connection)
        with system_context(connection, actor="etl_pipeline"):
            connection.execute("insert into finance.flights values ('DL', 4)")
            assert ("dpe_transformer", "etl_pipeline", None) == _acting_as(connection)
            assert [1, 2, 3, 4] == _flights(connection)
        assert [] == _flights(connection)


def test_a_system_context_for_one_tenant_refuses_the_others(server: Server) -> None:
    """PostgreSQL refuses the row, not our code."""
    with server.connect("transformer") as connection:
        with system_context(connection, actor="etl_pipeline", tenant_id="UA"):
            assert [1, 2] == _flights(connection)
        with pytest.raises(psycopg.errors.InsufficientPrivilege), system_context(connection, actor="etl_pipeline", tenant_id="UA"):
            connection.execute("insert into finance.flights values ('HA', 4)")


@pytest.mark.parametrize(("login", "role"), [("admin", "dpe_transformer"), ("transformer", "dpe_transformer"), ("loader", "dpe_loader")])
def test_a_system_context_acts_as_a_pipeline_role(server: Server, login: str, role: str) -> None:
    """Never as an administrator, which policies would not bind."""
    with server.connect(login) as connection, system_context(connection, actor="x"):
        assert (role, "x", None) == _acting_as(connection)


def test_a_system_context_may_name_its_role(server: Server) -> None:
    """An administrator repairs staging as the loader."""
    with server.connect("admin") as connection, system_context(connection, actor="x", role="dpe_loader"):
        assert ("dpe_loader", "x", None) == _acting_as(connection)


@pytest.mark.parametrize("login", ["admin", "transformer"])
def test_a_tenant_context_shows_what_a_tenant_sees(server: Server, login: str) -> None:
    """A login that can become dpe_tenant does, and sees one tenant."""
    with server.connect(login) as connection:
        with tenant_context(connection, "HA"):
            assert ("dpe_tenant", None, "HA") == _acting_as(connection)
            assert [3] == _flights(connection)
        with tenant_context(connection, "nobody"):
            assert [] == _flights(connection)


def test_a_reader_sees_its_own_tenants_only(server: Server, reader: Reader) -> None:
    """The access list decides; choosing a tenant restricts it, and never extends it."""
    with server.connect(reader(server, "UA")) as connection:
        assert [1, 2] == _flights(connection)
        connection.rollback()
        with tenant_context(connection, "UA"):
            assert [1, 2] == _flights(connection)
        with tenant_context(connection, "HA"):
            assert [] == _flights(connection)


def test_an_application_sees_one_tenant_at_a_time(server: Server, reader: Reader) -> None:
    """A login with access to every tenant sees none until it chooses one."""
    with server.connect(reader(server, "*"), autocommit=True) as connection:
        assert [] == _flights(connection)
        with tenant_context(connection, "HA"):
            assert [3] == _flights(connection)
        assert [] == _flights(connection)


def test_a_reader_without_an_entry_sees_nothing(server: Server, reader: Reader) -> None:
    """A stranger may query, but gets no rows."""
    with server.connect(reader(server)) as connection:
        assert [] == _flights(connection)


def test_a_reader_gains_nothing_by_claiming_to_be_a_pipeline(server: Server, reader: Reader) -> None:
    """Settings only restrict; the role is the boundary."""
    with server.connect(reader(server, "UA")) as connection:
        connection.execute("select set_config('dpe.actor', 'etl_pipeline', false), set_config('dpe.tenant_id', '', false)")
        assert [1, 2] == _flights(connection)
        for statement in ("set role dpe_transformer", "set role dpe_tenant"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement.encode())


def test_a_reader_finds_no_entry_of_others_in_the_access_list(server: Server, reader: Reader) -> None:
    """Readers must not learn who else has access."""
    reader(server, "HA")
    with server.connect(reader(server, "UA")) as connection:
        assert [("UA",)] == connection.execute("select tenant_id from dpe.tenant_access").fetchall()


def test_an_admin_context_names_the_person(server: Server) -> None:
    """A superuser acts as dpe_owner, which the policies bind."""
    with server.connect("admin") as connection, admin_context(connection, "j.doe"):
        assert ("dpe_owner", "j.doe", None) == _acting_as(connection)
        assert [1, 2, 3] == _flights(connection)


@pytest.mark.parametrize("login", ["loader", "transformer"])
def test_a_pipeline_opens_no_admin_context(server: Server, login: str) -> None:
    """Roles are the trust boundary."""
    with (
        server.connect(login) as connection,
        pytest.raises(ContextError, match="may not open this context"),
        admin_context(connection, "x"),
    ):
        pass


def test_a_reader_opens_no_system_context(server: Server, reader: Reader) -> None:
    """Not even as an application with all tenants."""
    with (
        server.connect(reader(server, "*")) as connection,
        pytest.raises(ContextError, match="may not open this context"),
        system_context(connection, actor="x"),
    ):
        pass


def test_the_loader_is_not_a_tenant(server: Server) -> None:
    """The message says how to make a login a reader."""
    with (
        server.connect("loader") as connection,
        pytest.raises(ContextError, match="dpe_loader: is not a reader; run `grant dpe_reader to dpe_loader`"),
        tenant_context(connection, "UA"),
    ):
        pass


Opener = Callable[[psycopg.Connection], AbstractContextManager[None]]

CONTEXTS: dict[str, Opener] = {
    "system": lambda connection: system_context(connection, actor="x"),
    "tenant": lambda connection: tenant_context(connection, "UA"),
    "admin": lambda connection: admin_context(connection, "x"),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_context_leaves_nothing_behind(server: Server, name: str) -> None:
    """Role and settings end with the transaction, whether it is committed or rolled back."""
    with server.connect("admin", autocommit=True) as connection:
        with CONTEXTS[name](connection):
            connection.execute("select 1")
        assert ("postgres", None, None) == _acting_as(connection)

        with pytest.raises(ZeroDivisionError), CONTEXTS[name](connection):
            raise ZeroDivisionError
        assert ("postgres", None, None) == _acting_as(connection)


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_context_is_not_nested_in_a_transaction(server: Server, name: str) -> None:
    """Role and settings would outlive the block."""
    with server.connect("admin") as connection:
        connection.execute("select 1")
        with pytest.raises(ContextError, match="already in a transaction"), CONTEXTS[name](connection):
            pass


def test_a_context_overrides_the_sessions_settings(server: Server) -> None:
    """A pooled session may have been left with another's actor and tenant."""
    with server.connect("admin", autocommit=True) as connection:
        connection.execute("select set_config('dpe.actor', 'somebody', false), set_config('dpe.tenant_id', 'HA', false)")

        with system_context(connection, actor="x"):
            assert ("dpe_transformer", "x", None) == _acting_as(connection)
        with admin_context(connection, "x"):
            assert ("dpe_owner", "x", None) == _acting_as(connection)
        with tenant_context(connection, "UA"):
            assert ("dpe_tenant", None, "UA") == _acting_as(connection)


def test_a_context_names_who_it_acts_for(server: Server) -> None:
    """An empty tenant would mean every tenant, an empty actor none."""
    with server.connect("transformer") as connection:
        for context in (
            system_context(connection, actor=""),
            system_context(connection, actor="x", tenant_id=""),
            tenant_context(connection, ""),
            admin_context(connection, ""),
        ):
            with pytest.raises(ContextError, match="is empty"), context:
                pass


def test_work_is_committed_at_the_end_and_rolled_back_on_an_error(server: Server) -> None:
    """A context is a transaction."""
    with server.connect("transformer") as connection:
        with system_context(connection, actor="x"):
            connection.execute("insert into finance.flights values ('DL', 4)")
        with pytest.raises(psycopg.errors.DivisionByZero), system_context(connection, actor="x"):
            connection.execute("with added as (insert into finance.flights values ('DL', 5)) select 1 / 0")
        with system_context(connection, actor="x"):
            assert [1, 2, 3, 4] == _flights(connection)


def test_a_server_without_the_roles_is_not_bootstrapped(server: Server) -> None:
    """The message names the command."""
    with (
        server.connect("admin") as connection,
        pytest.raises(ContextError, match=r"no context can be opened .*run `dpe bootstrap`"),
        system_context(connection, actor="x", role="dpe_nobody"),  # type: ignore[arg-type]
    ):
        pass
