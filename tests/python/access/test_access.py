"""Access to tenants is granted, expires, is revoked and recorded, with and without `dpe access`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import cast

import click
import psycopg
import pytest
from conftest import numbers
from psycopg import sql

from dpe_cli.access import earlier, grants
from dpe_cli.access.grants import AccessError
from dpe_cli.cli import main
from dpe_cli.cli.app import App
from dpe_cli.cli.report import Lines, Report, Table
from dpe_cli.server import sessions
from dpe_cli.server.contexts import admin_context
from dpe_cli.server.patience import Waiting
from dpe_cli.server.server import Server

Reader = Callable[..., str]
VISIBLE = "select dpe.visible_tenants()"


@pytest.fixture
def login(fresh_server: Server) -> Iterator[str]:
    """Create a login that is not a reader yet."""
    name = f"desk_{next(numbers)}"
    with fresh_server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("drop owned by {name}; drop role {name}").format(name=sql.Identifier(name)))


def _visible(server: Server, login: str) -> list[str]:
    with server.connect(login) as connection:
        row = connection.execute(VISIBLE).fetchone()
        return sorted(row[0]) if row else []


def _dpe(server: Server, *arguments: str) -> Report:
    app = App()
    app.server = server
    return cast("Report", main.cli.main(args=["access", *arguments], standalone_mode=False, obj=app))


def _changes(server: Server, login: str) -> list[tuple[str, str]]:
    return [(change.change, change.tenant_id) for change in grants.changes(server, login, limit=100, actor="test")]


def test_a_login_that_was_granted_tenants_sees_them(fresh_server: Server, login: str) -> None:
    """The grant makes it a reader if it was not one."""
    report = _dpe(fresh_server, "grant", login, "UA", "HA")

    assert f"{login} may see UA, HA" == report.headline
    assert ["HA", "UA"] == _visible(fresh_server, login)
    with fresh_server.connect("admin") as connection:
        assert (True,) == connection.execute("select pg_has_role(%s, 'dpe_reader', 'usage')", [login]).fetchone()


def test_an_application_is_granted_every_tenant_one_at_a_time(fresh_server: Server, login: str) -> None:
    """It sees none until it chooses one, and then only that one."""
    _dpe(fresh_server, "grant", login, "--all-tenants")

    assert [] == _visible(fresh_server, login)
    with fresh_server.connect(login) as connection:
        connection.execute("select set_config('dpe.tenant_id', 'HA', true)")
        assert (["HA"],) == connection.execute(VISIBLE).fetchone()


def test_access_is_revoked(fresh_server: Server, login: str) -> None:
    """For one tenant, or all; an open session loses it, too."""
    _dpe(fresh_server, "grant", login, "UA", "HA", "DL")

    with fresh_server.connect(login, autocommit=True) as open_session:
        _dpe(fresh_server, "revoke", login, "UA")
        assert (["DL", "HA"],) == open_session.execute(f"select array(select unnest(x) order by 1) from ({VISIBLE}) as t (x)").fetchone()
        _dpe(fresh_server, "revoke", login, "--all")
        assert ([],) == open_session.execute(VISIBLE).fetchone()


@pytest.fixture
def team(fresh_server: Server, login: str) -> Iterator[str]:
    """Create a role that reads HA, and that the login may become."""
    name = f"team_{next(numbers)}"
    with fresh_server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create role {0} in role dpe_reader; grant {0} to {1}").format(*map(sql.Identifier, (name, login))))
        _dpe(fresh_server, "grant", name, "HA")
        yield name
        connection.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(name)))


def test_what_is_revoked_from_a_role_ends_with_its_next_query(fresh_server: Server, login: str, team: str) -> None:
    """Its tenants and its memberships, also in a session that became the role, even if it may no longer do so."""
    _dpe(fresh_server, "grant", login, "UA")
    with (
        fresh_server.connect("admin", autocommit=True) as administrator,
        fresh_server.connect(login, autocommit=True) as itself,
        fresh_server.connect(login, autocommit=True) as as_team,
    ):
        as_team.execute(sql.SQL("set role {}").format(sql.Identifier(team)))
        assert [(["UA"],), (["HA"],)] == [session.execute(VISIBLE).fetchone() for session in (itself, as_team)]
        administrator.execute(sql.SQL("revoke dpe_reader, {} from {}").format(*map(sql.Identifier, (team, login))))

        _dpe(fresh_server, "revoke", team, "HA")
        assert ([],) == as_team.execute(VISIBLE).fetchone()
        administrator.execute(sql.SQL("revoke dpe_reader from {}").format(sql.Identifier(team)))
        for session in (itself, as_team):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(VISIBLE)


def test_a_session_that_became_a_role_keeps_it_until_it_is_ended(fresh_server: Server, login: str, team: str) -> None:
    """PostgreSQL looks at the membership when a session becomes the role. The security model says so, and how to end the login's sessions."""
    text = (Path(__file__).parents[3] / "docs" / "background" / "security-model.md").read_text()
    [ending] = re.findall(r"select pg_terminate_backend\(pid\) from pg_stat_activity where usename = 'rita'", text)
    become = sql.SQL("set role {}").format(sql.Identifier(team))
    with fresh_server.connect("admin", autocommit=True) as administrator, closing(fresh_server.connect(login, autocommit=True)) as session:
        session.execute(become)
        administrator.execute(sql.SQL("revoke {} from {}").format(*map(sql.Identifier, (team, login))))
        assert (["HA"],) == session.execute(VISIBLE).fetchone()
        with fresh_server.connect(login) as later, pytest.raises(psycopg.errors.InsufficientPrivilege):
            later.execute(become)

        administrator.execute(ending.replace("rita", login).encode())

        with pytest.raises(psycopg.OperationalError):
            session.execute(VISIBLE)


def test_access_expires(fresh_server: Server, login: str) -> None:
    """At its time, also within an open transaction."""
    _dpe(fresh_server, "grant", login, "UA")
    with fresh_server.connect("admin") as connection, admin_context(connection, "test"):
        end = "update dpe.tenant_access set valid_until = clock_timestamp() + interval '1 second' where role_name = %s::regrole"
        connection.execute(end, [login])

    with fresh_server.connect(login) as connection:
        assert (["UA"],) == connection.execute(VISIBLE).fetchone()
        connection.execute("select pg_sleep(1.1)")
        assert ([],) == connection.execute(VISIBLE).fetchone()
    assert [False] == [entry.is_valid for entry in grants.entries(fresh_server, login, actor="test")]


def test_access_expires_within_a_running_statement(server: Server, reader: Callable[..., str]) -> None:
    """A loop that began before stops seeing the tenant: policies use the current time."""
    login = reader(server)
    grants.grant(server, login, ["UA"], until=datetime.now(UTC) + timedelta(seconds=1), actor="test")

    with server.connect(login, autocommit=True) as connection:
        assert (["UA"],) == connection.execute("select dpe.visible_tenants()").fetchone()
        connection.execute(
            "do $$ begin perform pg_sleep(1.2); "
            "if dpe.visible_tenants() <> '{}' then raise exception 'sees a tenant after the end'; end if; end $$"
        )


def test_access_to_every_tenant_expires(fresh_server: Server, login: str) -> None:
    """An application's access, too."""
    _dpe(fresh_server, "grant", login, "--all-tenants")
    with fresh_server.connect("admin") as connection, admin_context(connection, "test"):
        connection.execute("update dpe.tenant_access set valid_until = now() - interval '1 second' where role_name = %s::regrole", [login])

    with fresh_server.connect(login) as connection:
        connection.execute("select set_config('dpe.tenant_id', 'HA', true)")
        assert ([],) == connection.execute(VISIBLE).fetchone()


def test_granting_again_changes_the_expiry(fresh_server: Server, login: str) -> None:
    """And nothing else; the same grant again is not a change."""
    day = f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%d}"
    _dpe(fresh_server, "grant", login, "UA", "--until", day)
    _dpe(fresh_server, "grant", login, "UA", "--until", day)
    [entry] = grants.entries(fresh_server, login, actor="test")
    assert datetime.fromisoformat(day).replace(tzinfo=UTC) == entry.valid_until

    _dpe(fresh_server, "grant", login, "UA")

    [entry] = grants.entries(fresh_server, login, actor="test")
    assert entry.valid_until is None
    assert [("changed", "UA"), ("granted", "UA")] == _changes(fresh_server, login)


def test_each_change_is_recorded(fresh_server: Server, login: str) -> None:
    """With the login that made it; also changes made by hand."""
    _dpe(fresh_server, "grant", login, "UA", "HA")
    with fresh_server.connect("admin") as connection, admin_context(connection, "j.doe"):
        connection.execute("update dpe.tenant_access set tenant_id = 'DL' where tenant_id = 'HA' and role_name = %s::regrole", [login])
    _dpe(fresh_server, "revoke", login, "DL")

    made = [("revoked", "DL"), ("granted", "DL"), ("revoked", "HA"), ("granted", "HA"), ("granted", "UA")]
    assert made == _changes(fresh_server, login)
    by_hand = grants.changes(fresh_server, login, limit=100, actor="test")[1]
    assert ("j.doe", fresh_server.admin_user) == (by_hand.actor, by_hand.changed_by)


@pytest.mark.parametrize(
    "statement",
    ["update dpe.access_changes set role_name = 'x'", "delete from dpe.access_changes"],
)
def test_the_record_cannot_be_changed(fresh_server: Server, login: str, statement: str) -> None:
    """Not even by its owner."""
    _dpe(fresh_server, "grant", login, "UA")
    with fresh_server.connect("admin") as connection, admin_context(connection, "test"):
        assert 0 == connection.execute(statement.encode()).rowcount

    assert [("granted", "UA")] == _changes(fresh_server, login)


@pytest.mark.parametrize("table", ["tenant_access", "access_changes"])
def test_the_list_cannot_be_truncated(fresh_server: Server, table: str) -> None:
    """Otherwise there would be no record of what was revoked."""
    with (
        fresh_server.connect("admin") as connection,
        admin_context(connection, "test"),
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="cannot be truncated, because each change is recorded"),
    ):
        connection.execute(sql.SQL("truncate {}").format(sql.Identifier("dpe", table)))


def test_a_reader_reads_its_own_entries_only_and_changes_none(fresh_server: Server, reader: Reader) -> None:
    """Whatever it sets in its session."""
    ours, theirs = reader(fresh_server, "UA"), reader(fresh_server, "HA")
    with fresh_server.connect(ours, autocommit=True) as connection:
        connection.execute("set dpe.actor = 'me'")
        connection.execute("set dpe.tenant_id = 'HA'")
        assert ([],) == connection.execute(VISIBLE).fetchone()
        assert [(ours,)] == connection.execute("select role_name::text from dpe.tenant_access").fetchall()
        for statement in (
            "insert into dpe.tenant_access values (current_user::regrole, 'HA')",
            "update dpe.tenant_access set tenant_id = 'HA'",
            "delete from dpe.tenant_access",
            "select * from dpe.access_changes",
            f"set role {theirs}",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_an_unknown_role_is_reported(fresh_server: Server) -> None:
    """With the statement that creates it."""
    with pytest.raises(
        AccessError, match="nobody_at_all: the role does not exist; create it first, for example with `create role nobody_at_all login`"
    ):
        _dpe(fresh_server, "grant", "nobody_at_all", "UA")


def test_access_that_was_not_granted_cannot_be_revoked(fresh_server: Server, login: str) -> None:
    """And the other tenants of the same command are not revoked, either."""
    _dpe(fresh_server, "grant", login, "UA")

    with pytest.raises(AccessError, match=f"{login}: has no access to HA; `dpe access list` shows all access"):
        _dpe(fresh_server, "revoke", login, "UA", "HA")

    assert ["UA"] == _visible(fresh_server, login)
    with pytest.raises(AccessError, match="nobody: has no access to any tenant"):
        _dpe(fresh_server, "revoke", "nobody", "--all")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("grant", "x"), "name the tenants, or use --all-tenants"),
        (("grant", "x", "UA", "--all-tenants"), "name the tenants, or use --all-tenants"),
        (("grant", "x", "*"), r"'\*' is not a tenant"),
        (("grant", "x", ""), "'' is not a tenant"),
        (("grant", "x", "UA", "--until", "2020-01-01"), "--until 2020-01-01 00:00:00 is in the past"),
        (("revoke", "x"), "name the tenants to revoke, or use --all"),
        (("revoke", "x", "UA", "--all"), "name the tenants to revoke, or use --all"),
    ],
)
def test_unclear_arguments_are_refused(server: Server, arguments: tuple[str, ...], message: str) -> None:
    """Before anything is changed."""
    with pytest.raises(click.UsageError, match=message):
        _dpe(server, *arguments)


def test_the_list_shows_expired_entries(fresh_server: Server, login: str) -> None:
    """And dpe's own entries."""
    _dpe(fresh_server, "grant", login, "UA")
    with fresh_server.connect("admin") as connection, admin_context(connection, "test"):
        connection.execute("update dpe.tenant_access set valid_until = now() - interval '1 day' where role_name = %s::regrole", [login])

    table = _dpe(fresh_server, "list").sections[0]

    states = {row[0]: row[3] for row in cast("Table", table).rows}
    assert ("over", "valid") == (states[login], states["dpe_tenant"])
    assert ["granted"] == [
        change["change"] for change in cast("list[dict[str, str]]", _dpe(fresh_server, "list", login, "--changes").data)
    ][-1:]


def test_a_session_that_holds_the_list_is_named_and_ended(fresh_server: Server, login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader cannot keep its access by keeping a revocation waiting. The list is shown meanwhile."""
    monkeypatch.setattr(sessions, "END_AFTER_SECONDS", 0.3)
    _dpe(fresh_server, "grant", login, "UA")
    with fresh_server.connect("admin", autocommit=True, application_name="desk") as holding:
        holding.execute("create role gone; insert into dpe.tenant_access values ('gone', 'UA'); drop role gone")
        holding.execute("begin; lock table dpe.tenant_access in share row exclusive mode")

        states = {entry.role_name: (entry.is_role, entry.is_removed) for entry in grants.entries(fresh_server, None, actor="test")}
        assert ((True, False), (False, False)) == (states[login], states["gone"])
        for change in (
            partial(grants.revoke, fresh_server, login, None, actor="test"),
            partial(grants.grant, fresh_server, login, ["HA"], until=None, actor="test", future=True),
        ):
            message = (
                rf"postgres \(process {holding.info.backend_pid}, since [0-9 :-]+, 'desk'\) holds dpe.tenant_access still; nothing was"
            )
            with pytest.raises(AccessError, match=message):
                change(waiting=Waiting(seconds=0.5))
        assert ["UA"] == _visible(fresh_server, login)

        _dpe(fresh_server, "revoke", login, "UA", "--end-sessions")

        assert [] == _visible(fresh_server, login)
        with pytest.raises(psycopg.OperationalError):
            holding.execute("select 1")


def _statement_for_a_revocation_by_hand() -> bytes:
    """Return the statement of the security model, without ending the sessions."""
    text = (Path(__file__).parents[3] / "docs" / "background" / "security-model.md").read_text()
    [statement] = re.findall(r"select pg_terminate_backend\(pid\) from pg_stat_activity\n.*?(?=\n *```)", text, re.DOTALL)
    return str(statement).replace("pg_terminate_backend(pid)", "pid").encode()


@pytest.mark.parametrize("ends", [False, True])
def test_sessions_that_still_show_what_was_revoked_are_named_and_ended(
    fresh_server: Server, login: str, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    """A login without any privilege can export a snapshot, which a new session of the revoked role imports. Other transactions stay."""
    monkeypatch.setattr(sessions, "END_AFTER_SECONDS", 0.3)
    _dpe(fresh_server, "grant", login, "UA", "HA")
    other = f"other_{next(numbers)}"
    with fresh_server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(other)))
        try:
            with closing(fresh_server.connect(other)) as exporting, fresh_server.connect(other) as harmless:
                [(snapshot,)] = exporting.execute("select pg_export_snapshot()").fetchall()
                harmless.execute("select 1")

                report = _dpe(fresh_server, "revoke", login, "UA", *(["--end-sessions"] if ends else []))

                data = cast("dict[str, list[dict[str, object]]]", report.data)
                named = {key: [session["pid"] for session in data[key]] for key in ("earlier_sessions", "ended_sessions")}
                pid = exporting.info.backend_pid
                with fresh_server.connect(login) as importing:
                    importing.execute("begin isolation level repeatable read")
                    if ends:
                        assert {"earlier_sessions": [], "ended_sessions": [pid]} == named
                        assert f"{login} no longer sees UA" == report.headline
                        with pytest.raises(psycopg.Error, match="snapshot"):
                            importing.execute(sql.SQL("set transaction snapshot {}").format(snapshot))
                    else:
                        assert {"earlier_sessions": [pid], "ended_sessions": []} == named
                        assert f"{login} no longer sees UA; 1 session may still show it what it saw" == report.headline
                        [warning, *_] = [line for section in report.sections if isinstance(section, Lines) for line in section.lines]
                        assert re.search(rf": {other} \(process {pid}, 'dpe'\) since [0-9 :-]+\.$", warning)
                        # Some administrators may not see the snapshots of others.
                        seen = earlier.of(replace(fresh_server, admin_user=login), "3", Waiting())
                        assert (pid, None) in {(session.pid, session.since) for session in seen}
                        importing.execute(sql.SQL("set transaction snapshot {}").format(snapshot))
                        assert (["HA", "UA"],) == importing.execute(
                            f"select array(select unnest(x) order by 1) from ({VISIBLE}) as t (x)"
                        ).fetchone()
                        by_hand = {ended for (ended,) in connection.execute(_statement_for_a_revocation_by_hand())}
                        assert {pid, importing.info.backend_pid} == by_hand
                harmless.execute("select 1")
        finally:
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", [other])
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(other)))


@pytest.mark.parametrize("ends", [False, True])
def test_sessions_that_still_show_a_later_end_are_named_and_ended(
    fresh_server: Server, login: str, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    """A snapshot from before `dpe access grant --until` shows the access for longer; a grant that gives more time names no session."""
    monkeypatch.setattr(sessions, "END_AFTER_SECONDS", 0.3)
    soon, later = (f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}" for days in (9, 99))
    _dpe(fresh_server, "grant", login, "UA", "HA")
    with closing(fresh_server.connect(login)) as exporting:
        [(snapshot,)] = exporting.execute("select pg_export_snapshot()").fetchall()
        pid = exporting.info.backend_pid

        report = _dpe(fresh_server, "grant", login, "UA", "--until", soon, *(["--end-sessions"] if ends else []))
        longer = _dpe(fresh_server, "grant", login, "UA", "--until", later)

        data = cast("dict[str, list[dict[str, object]]]", report.data)
        assert cast("list[str]", data["shortened"]) == ["UA"]
        named = {key: [session["pid"] for session in data[key]] for key in ("earlier_sessions", "ended_sessions")}
        if ends:
            assert {"earlier_sessions": [], "ended_sessions": [pid]} == named
        else:
            assert {"earlier_sessions": [pid], "ended_sessions": []} == named
            assert f"{login} may see UA until {soon} 00:00 UTC; 1 session may show it longer" == report.headline
            lines = [line for section in report.sections if isinstance(section, Lines) for line in section.lines]
            assert f"Until it ends, {login} can import its snapshot, in which the access list still grants UA without the new end." in lines
            with fresh_server.connect(login) as importing:
                importing.execute("begin isolation level repeatable read")
                importing.execute(sql.SQL("set transaction snapshot {}").format(snapshot))
                ending = importing.execute("select valid_until from dpe.tenant_access where tenant_id = 'UA'").fetchall()
            assert [(None,)] == ending
        assert f"{login} may see UA until {later} 00:00 UTC" == longer.headline


@pytest.mark.parametrize("name", ['Ua "desk"', "123", "-", "none of it", "UA_DESK", "select"])
def test_any_role_name_works(fresh_server: Server, name: str) -> None:
    """Also one that has to be quoted in SQL, and one that looks like another role's oid."""
    quoted = sql.Identifier(name)
    with fresh_server.connect("admin", autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(quoted))
    try:
        _dpe(fresh_server, "grant", name, "UA", "HA")
        _dpe(fresh_server, "revoke", name, "HA")

        assert ["UA"] == _visible(fresh_server, name)
        assert [name] == [entry.role_name for entry in grants.entries(fresh_server, name, actor="test")]
        assert [("revoked", "HA"), ("granted", "HA"), ("granted", "UA")] == _changes(fresh_server, name)
    finally:
        with fresh_server.connect("admin", autocommit=True) as connection:
            connection.execute(sql.SQL("drop owned by {name}; drop role {name}").format(name=quoted))


def test_an_auditor_who_is_a_reader_sees_only_its_own_tenants(fresh_server: Server, login: str, reader: Reader) -> None:
    """Though it may read the whole list."""
    reader(fresh_server, "HA")
    _dpe(fresh_server, "grant", login, "UA")
    with fresh_server.connect("admin") as connection:
        connection.execute(sql.SQL("grant dpe_auditor to {}").format(sql.Identifier(login)))

    with fresh_server.connect(login) as connection:
        assert (3,) == connection.execute("select count(*) from dpe.tenant_access").fetchone()
        assert (["UA"],) == connection.execute(VISIBLE).fetchone()
        connection.execute("select set_config('dpe.tenant_id', 'HA', true)")
        assert ([],) == connection.execute(VISIBLE).fetchone()


def test_the_list_is_searched_by_its_key(fresh_server: Server, reader: Reader) -> None:
    """However many entries of other roles there are."""
    name = reader(fresh_server, "UA")
    with fresh_server.connect("admin") as connection:
        connection.execute("insert into dpe.tenant_access select 'dpe_tenant', 'T' || number from generate_series(1, 5000) as number")

    with fresh_server.connect(name) as connection:
        for chosen, seen in (("", ["UA"]), ("UA", ["UA"])):
            connection.execute("select set_config('dpe.tenant_id', %s, true)", [chosen])
            assert (seen,) == connection.execute(VISIBLE).fetchone()
        read = "select seq_scan, idx_tup_fetch from pg_stat_xact_all_tables where relid = 'dpe.tenant_access'::regclass"
        assert (0, 2) == connection.execute(read).fetchone()
