"""Roles that the access list cannot restrict are refused, and an entry belongs to a role, not to its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import psycopg
import pytest
from conftest import Cluster, numbers
from psycopg import sql
from support import single_check

from dpe_cli.access import checks, grants
from dpe_cli.access.grants import AccessError
from dpe_cli.cli import main
from dpe_cli.cli.app import App
from dpe_cli.cli.report import Lines, Report
from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server

Create = Callable[..., str]
VISIBLE = "select dpe.visible_tenants()"
OWN = ("dpe_owner", "dpe_loader", "dpe_transformer", "dpe_auditor", "dpe_reader", "dpe_masked_reader", "dpe_tenant")
PREDEFINED = ("pg_read_all_data", "pg_monitor")
# What makes a role see more than the list says, and the message.
PRIVILEGES = {
    "alter role {role} superuser": "because it is a superuser",
    "alter role {role} bypassrls": "because it bypasses row-level security",
    "alter role {role} replication": "because it may replicate all rows",
    "alter role {role} createrole": r"because it may become (any role that is not a superuser|a role of any name that the rows of a model contain) \(CREATEROLE\)",
    "create role {other} createrole; grant {other} to {role}": "because it may become {other}, which may become a",
    "create role {other} superuser noinherit; grant {other} to {role}": "because it may become {other}, which is a superuser",
    "create role {other} bypassrls; grant {other} to {role}": "because it may become {other}, which bypasses row-level security",
    "create role {other} in role dpe_loader; grant {other} to {role}": "because it may become dpe_loader, which works for every tenant",
    "grant dpe_owner to {role}": "because it may become dpe_owner, which works for every tenant",
    "grant dpe_transformer to {role}": "because it may become dpe_transformer, which works for every tenant",
    "grant dpe_tenant to {role}": "because it may become dpe_tenant, which may choose any tenant",
    "grant pg_read_all_data to {role}": "because it may become pg_read_all_data, which reads every table",
    "grant pg_write_all_data to {role}": "because it may become pg_write_all_data, which writes every table",
    "grant pg_read_server_files to {role}": "because it may become pg_read_server_files, which reads the files of the server",
    "grant pg_write_server_files to {role}": "because it may become pg_write_server_files, which writes the files of the server",
    "grant pg_execute_server_program to {role}": "because it may become pg_execute_server_program, which runs programs on the server",
}
# Since PostgreSQL 16, a membership that gives neither privileges nor SET ROLE may still let the role grant itself both.
SINCE_16 = {
    "grant pg_read_all_data to {role} with inherit false, set true": "because it may become pg_read_all_data",
    "grant dpe_loader to {role} with inherit false, set false, admin true": "because it may become dpe_loader",
}
RIGHTS = """
    select
        array(select tenant_id from dpe.tenant_access where role_name = %(role)s::regrole and tenant_id <> '*'),
        exists (select from pg_auth_members where member = %(role)s::regrole and roleid in ('dpe_reader'::regrole, 'dpe_masked_reader'::regrole))
"""


@pytest.fixture(scope="module")
def either_server(any_cluster: Cluster) -> Iterator[Server]:
    """Give a bootstrapped database that the tests of this file share, on each version in turn."""
    with any_cluster.new_database() as server:
        yield server


@pytest.fixture
def create(either_server: Server) -> Iterator[Create]:
    """Create roles: `create()` returns the name of a login that is not a reader, `create(name)` uses that name."""
    made: list[str] = []

    def new(name: str = "") -> str:
        made.append(name or f"role_{next(numbers)}")
        _execute(either_server, "create role {} login", made[-1])
        return made[-1]

    yield new
    with either_server.connect("admin", autocommit=True) as connection:
        for name in dict.fromkeys(made):
            if connection.execute("select to_regrole(quote_ident(%s)) is not null", [name]).fetchone() == (True,):
                connection.execute(sql.SQL("drop owned by {name}; drop role {name}").format(name=sql.Identifier(name)))
    grants.entries(either_server, None, actor="test")


def _execute(server: Server, statement: str, *names: str) -> None:
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _dpe(server: Server, *arguments: str) -> Report:
    app = App()
    app.server = server
    return cast("Report", main.cli.main(args=["access", *arguments], standalone_mode=False, obj=app))


def _visible(server: Server, login: str) -> list[str]:
    with server.connect(login) as connection:
        [(tenants,)] = connection.execute(VISIBLE).fetchall()
        return sorted(tenants)


def _rights(server: Server, role: str) -> Any:
    with server.connect("admin") as connection:
        return connection.execute(RIGHTS, {"role": role}).fetchone()


def _found(server: Server) -> set[tuple[str, str]]:
    """Return what the checks of the access list find, as the pipeline."""
    with server.connect("transformer") as connection:
        return {
            (finding.check_id, finding.subject)
            for check_id in ("RLS060", "RLS061")
            for finding in single_check.findings(connection, check_id, ["dpe"])
        }


def _lines(report: Report) -> list[str]:
    return [line for section in report.sections if isinstance(section, Lines) for line in section.lines]


@pytest.mark.parametrize("role", [*OWN, *PREDEFINED])
def test_roles_of_dpe_and_of_postgresql_are_refused(either_server: Server, role: str) -> None:
    """Above all dpe_reader: each reader can act as it, and so has its access."""
    before = _rights(either_server, role)

    for options in (["UA"], ["--all-tenants"], ["UA", "--masked"], ["UA", "--future"]):
        with pytest.raises(AccessError, match=f"^{role}: is one of (dpe|PostgreSQL)'s .* roles; grant the access to another role"):
            _dpe(either_server, "grant", role, *options)

    assert before == _rights(either_server, role)
    assert ([], False) == before or role == "dpe_tenant"


@pytest.mark.parametrize("statement", [*PRIVILEGES, *SINCE_16])
def test_a_role_that_sees_more_than_the_list_says_is_refused(either_server: Server, create: Create, statement: str) -> None:
    """Directly or through any membership, without a trace of the grant. The same entry made by hand is found."""
    role, other = create(), f"other_{next(numbers)}"
    obstacle = {**PRIVILEGES, **SINCE_16}[statement].format(other=other)
    with either_server.connect("admin", autocommit=True) as connection:
        if statement in SINCE_16 and connection.info.server_version < 160000:
            pytest.skip("memberships have no options before PostgreSQL 16")
        connection.execute(statement.format(role=role, other=other).encode())
    try:
        with pytest.raises(
            AccessError, match=f"^{role}: sees more than the access list says, {obstacle}.*; grant the access to another role"
        ):
            _dpe(either_server, "grant", role, "UA")
        assert ([], False) == _rights(either_server, role)
        assert set() == _found(either_server)

        _execute(either_server, "insert into dpe.tenant_access select rolname::regrole, 'UA' from pg_roles where rolname = '" + role + "'")
        assert {("RLS061", role)} == _found(either_server)
        _dpe(either_server, "revoke", role, "UA")
        assert set() == _found(either_server)
    finally:
        _execute(either_server, "drop role if exists {}", other)


def test_a_role_with_other_privileges_is_not_refused(either_server: Server, create: Create) -> None:
    """Statistics and signals show no rows of tables."""
    role = create()
    _execute(either_server, "grant pg_monitor, pg_signal_backend, dpe_auditor to {}", role)
    _execute(either_server, "alter role {} createdb", role)

    _dpe(either_server, "grant", role, "UA")

    assert ["UA"] == _visible(either_server, role)


def test_a_role_that_inherits_nothing_can_read_anyway(either_server: Server, create: Create) -> None:
    """Or is refused, before PostgreSQL 16: policies for readers would not apply to it."""
    role = create()
    _execute(either_server, "alter role {} noinherit", role)
    with either_server.connect("admin") as connection:
        is_by_grant = connection.info.server_version >= 160_000

    if is_by_grant:
        _dpe(either_server, "grant", role, "UA")
        with either_server.connect("admin") as connection:
            assert (True,) == connection.execute("select pg_has_role(%s, 'dpe_reader', 'usage')", [role]).fetchone()
    else:
        with pytest.raises(AccessError, match=f"{role}: was created with NOINHERIT.*run `alter role {role} inherit`"):
            _dpe(either_server, "grant", role, "UA")
        assert ([], False) == _rights(either_server, role)


@pytest.mark.parametrize("role", OWN)
def test_a_role_of_dpe_that_was_listed_by_hand_is_found(either_server: Server, role: str) -> None:
    """Except dpe_tenant's own entry, with which a run shows what a tenant sees."""
    assert set() == _found(either_server)
    with either_server.connect("admin") as connection:
        connection.execute("insert into dpe.tenant_access values (%s, 'UA')", [role])

    assert {("RLS061", role)} == _found(either_server)
    _dpe(either_server, "revoke", role, "UA")


def test_a_login_that_may_not_make_readers_grants_nothing(either_server: Server, create: Create) -> None:
    """Not even an entry that would count once the role is a reader."""
    role, manager = create(), create()
    _execute(either_server, "grant dpe_owner, dpe_loader, dpe_transformer, dpe_tenant to {}", manager)

    with pytest.raises(
        AccessError, match=f"^{role}: is not a reader, and {manager} is not allowed to make it one; run `grant dpe_reader to {role}`"
    ):
        _dpe(replace(either_server, admin_user=manager), "grant", role, "UA")

    assert ([], False) == _rights(either_server, role)


def test_a_tenant_that_is_too_long_is_reported(either_server: Server, create: Create) -> None:
    """In a readable line, and without making the role a reader."""
    role = create()
    with either_server.connect("admin") as connection:
        # Text that does not compress.
        [(tenant,)] = connection.execute("select string_agg(md5(number::text), '') from generate_series(1, 160) as number").fetchall()

    with pytest.raises(
        AccessError, match=f"^{tenant[:60]}…: is longer than PostgreSQL can index \\(5,120 bytes, about 2,700 at most\\); give"
    ):
        _dpe(either_server, "grant", role, "UA", tenant)

    assert ([], False) == _rights(either_server, role)


def test_a_role_that_was_created_again_sees_nothing(either_server: Server, create: Create) -> None:
    """Until access is granted to it; not in a session of the first role, either."""
    role = create()
    _dpe(either_server, "grant", role, "UA")
    with either_server.connect(role, autocommit=True) as of_first:
        assert (["UA"],) == of_first.execute(VISIBLE).fetchone()
        _execute(either_server, "drop role {}", role)
        create(role)
        _execute(either_server, "grant dpe_reader to {}", role)

        assert [] == _visible(either_server, role)
        with either_server.connect(role) as connection:
            assert [] == connection.execute("select * from dpe.tenant_access").fetchall()
            connection.execute("select set_config('dpe.tenant_id', 'UA', true)")
            assert ([],) == connection.execute(VISIBLE).fetchone()
        _dpe(either_server, "grant", role, "HA")
        # It acts as a role that no longer exists.
        with pytest.raises(psycopg.Error, match="role with OID|permission denied|invalid role OID"):
            of_first.execute(VISIBLE)

    assert ["HA"] == _visible(either_server, role)
    with either_server.connect(role, autocommit=True) as of_second:
        assert (["HA"],) == of_second.execute(VISIBLE).fetchone()


def test_a_role_that_is_renamed_keeps_its_tenants(either_server: Server, create: Create) -> None:
    """And a role that gets its old name has none; its record is found by both names."""
    role = create()
    _dpe(either_server, "grant", role, "UA")
    renamed = f"{role}_renamed"
    _execute(either_server, "alter role {} rename to {}", role, renamed)
    create(role)
    _execute(either_server, "grant dpe_reader to {}", role)
    try:
        assert (["UA"], []) == (_visible(either_server, renamed), _visible(either_server, role))
        assert [renamed] == [entry.role_name for entry in grants.entries(either_server, renamed, actor="test")]
        for name in (role, renamed):
            assert [role] == [change.role_name for change in grants.changes(either_server, name, limit=10, actor="test")]
    finally:
        _execute(either_server, "drop owned by {}; drop role {}", renamed, renamed)


@pytest.mark.parametrize("command", ["list", "grant", "revoke", "revoke it"])
def test_entries_of_dropped_roles_are_found_and_removed(either_server: Server, create: Create, command: str) -> None:
    """By the next command on the list, which reports it; the record has the role's former name."""
    gone, other = create(), create()
    _dpe(either_server, "grant", gone, "UA", "HA")
    _dpe(either_server, "grant", other, "DL")
    _execute(either_server, "drop role {}", gone)
    assert {("RLS060", "dpe.tenant_access")} == _found(either_server)

    arguments = {
        "list": ["list"],
        "grant": ["grant", other, "UA"],
        "revoke": ["revoke", other, "DL"],
        "revoke it": ["revoke", gone, "--all"],
    }
    report = _dpe(either_server, *arguments[command])

    assert set() == _found(either_server)
    removed = cast("Any", report.data) if command == "list" else cast("Any", report.data)["removed"]
    assert [(gone, "HA"), (gone, "UA")] == [(entry["role_name"], entry["tenant_id"]) for entry in removed if not entry["is_role"]]
    if command == "list":
        assert [gone, gone] == [row[0] for row in cast("Any", report.sections[0]).rows if row[3] == "removed: the role was dropped"]
    else:
        assert _lines(report)[-1] == f"Removed the access of the dropped role {gone}: HA, UA."
    changes = [(change.change, change.tenant_id) for change in grants.changes(either_server, gone, limit=10, actor="test")]
    assert [("granted", "HA"), ("granted", "UA"), ("revoked", "HA"), ("revoked", "UA")] == sorted(changes)


def test_the_record_distinguishes_roles_with_the_same_name(either_server: Server, create: Create) -> None:
    """By their oids."""
    role = create()
    _dpe(either_server, "grant", role, "UA")
    _execute(either_server, "drop role {}", role)
    create(role)
    _dpe(either_server, "grant", role, "UA")

    made = grants.changes(either_server, role, limit=10, actor="test")

    assert ["granted", "revoked", "granted"] == [change.change for change in made]
    assert made[0].role_id not in {None, made[1].role_id}
    assert made[1].role_id == made[2].role_id


def test_a_refused_command_removes_nothing(either_server: Server, create: Create) -> None:
    """It is one transaction."""
    gone = create()
    _dpe(either_server, "grant", gone, "UA")
    _execute(either_server, "drop role {}", gone)

    with pytest.raises(AccessError):
        _dpe(either_server, "grant", "dpe_reader", "UA")

    assert {("RLS060", "dpe.tenant_access")} == _found(either_server)


def test_the_pipeline_reads_no_entry_but_those_that_are_wrong(either_server: Server, create: Create) -> None:
    """Authors of models must not see who has access."""
    _dpe(either_server, "grant", create(), "UA")
    with either_server.connect("transformer") as connection:
        connection.execute("select set_config('dpe.actor', 'test', true)")
        assert [("dpe_tenant", "*")] == connection.execute("select role_name::text, tenant_id from dpe.tenant_access").fetchall()


def test_an_administrator_who_is_not_a_superuser_finds_them_too(either_server: Server, create: Create) -> None:
    """With the login that `dpe access` uses."""
    gone, manager = create(), create()
    _execute(either_server, "grant dpe_owner, dpe_loader, dpe_transformer, dpe_tenant to {}", manager)
    with either_server.connect("admin") as connection, admin_context(connection, "test"):
        connection.execute("insert into dpe.tenant_access values (%s, 'UA')", [gone])
    _execute(either_server, "drop role {}", gone)

    with either_server.connect(manager) as connection:
        assert {"RLS060"} == {finding.check_id for finding in checks.check(connection, ["dpe"]) if finding.check_id >= "RLS060"}
    removed = grants.entries(replace(either_server, admin_user=manager), None, actor="test")
    assert [gone] == [entry.role_name for entry in removed if not entry.is_role]
