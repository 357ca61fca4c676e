"""A list kept by role name is migrated to one by role, whatever readers have built on it; and a dump restores it elsewhere."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Cluster, numbers
from psycopg import sql

from dpe_cli.access import checks, grants
from dpe_cli.server.bootstrap import bootstrap_server
from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server

VISIBLE = "select dpe.visible_tenants()"
# The list and its record as dpe created them when it kept names.
BY_NAME = """
    drop table dpe.tenant_access, dpe.access_changes;
    drop function dpe.record_access_change, dpe.recorded_name, dpe.access_obstacle;

    create table dpe.tenant_access (
        role_name name not null,
        tenant_id text not null check (tenant_id <> ''),
        primary key (role_name, tenant_id)
    );
    alter table dpe.tenant_access add column valid_until timestamptz;
    insert into dpe.tenant_access values ('dpe_tenant', '*');
    alter table dpe.tenant_access owner to dpe_owner;
    alter table dpe.tenant_access enable row level security, force row level security;
    create policy admin_in_context on dpe.tenant_access for all to dpe_owner
    using ((select dpe.context_is_open())) with check ((select dpe.context_is_open()));
    create policy auditor_reads on dpe.tenant_access for select to dpe_auditor using (true);
    grant select on dpe.tenant_access to dpe_auditor;
    create policy own_entries on dpe.tenant_access for select
    to dpe_reader, dpe_masked_reader, dpe_tenant, dpe_loader, dpe_transformer
    using (role_name = current_user);
    grant select on dpe.tenant_access to dpe_reader, dpe_masked_reader, dpe_tenant, dpe_loader, dpe_transformer;

    create table dpe.access_changes (
        change_id bigint generated always as identity primary key,
        changed_at timestamptz not null default clock_timestamp(),
        changed_by name not null default session_user,
        actor text not null,
        change text not null check (change in ('granted', 'changed', 'revoked')),
        role_name name not null,
        tenant_id text not null,
        valid_until timestamptz
    );
    create function dpe.record_access_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
    declare
        who text := coalesce(dpe.actor(), '');
    begin
        if tg_op in ('UPDATE', 'DELETE') then
            insert into dpe.access_changes (actor, change, role_name, tenant_id, valid_until)
            values (who, 'revoked', old.role_name, old.tenant_id, old.valid_until);
        end if;
        if tg_op in ('UPDATE', 'INSERT') then
            insert into dpe.access_changes (actor, change, role_name, tenant_id, valid_until)
            values (who, 'granted', new.role_name, new.tenant_id, new.valid_until);
        end if;
        return null;
    end
    $$;
    alter function dpe.record_access_change() owner to dpe_owner;
    create trigger record_access_change after insert or update or delete on dpe.tenant_access
    for each row execute function dpe.record_access_change();
    create trigger refuse_truncate before truncate on dpe.tenant_access for each statement execute function dpe.refuse_truncate();
    create trigger refuse_truncate before truncate on dpe.access_changes for each statement execute function dpe.refuse_truncate();
    alter table dpe.access_changes owner to dpe_owner;
    alter table dpe.access_changes enable row level security, force row level security;
    create policy admin_reads_in_context on dpe.access_changes for select to dpe_owner using ((select dpe.context_is_open()));
    create policy admin_adds_in_context on dpe.access_changes for insert to dpe_owner with check ((select dpe.context_is_open()));
"""
# Everything about a table except its oid.
DESCRIBED = """
    select 'table', array[
        pg_get_userbyid(relowner)::text, relrowsecurity::text, relforcerowsecurity::text, obj_description(oid, 'pg_class'),
        (select string_agg(one::text, ' ' order by one::text) from unnest(relacl) as one)
    ]
    from pg_class where oid = 'dpe.tenant_access'::regclass
    union all
    select attname::text, array[format_type(atttypid, atttypmod), attnotnull::text, col_description(attrelid, attnum)]
    from pg_attribute where attrelid = 'dpe.tenant_access'::regclass and attnum > 0
    union all
    select policyname::text, array[roles::text, cmd, qual, with_check] from pg_policies where schemaname = 'dpe' and tablename = 'tenant_access'
    union all
    select tgname::text, array[pg_get_triggerdef(oid)] from pg_trigger where tgrelid = 'dpe.tenant_access'::regclass
    union all
    select conname::text, array[pg_get_constraintdef(oid)] from pg_constraint where conrelid = 'dpe.tenant_access'::regclass
"""


@pytest.fixture
def logins(fresh_server: Server) -> Iterator[tuple[str, str]]:
    """Create two readers; the name of the second has to be quoted."""
    names = f"desk_{next(numbers)}", f'Desk "{next(numbers)}"'
    with fresh_server.connect("admin", autocommit=True) as connection:
        for name in names:
            connection.execute(sql.SQL("create role {} login in role dpe_reader").format(sql.Identifier(name)))
        yield names
        for name in names:
            connection.execute(sql.SQL("drop owned by {name} cascade; drop role {name}").format(name=sql.Identifier(name)))


@pytest.fixture
def by_name(fresh_server: Server, logins: tuple[str, str]) -> Server:
    """Give a database with a list by name, with tenants of each reader and of dropped roles."""
    with fresh_server.connect("admin", autocommit=True) as connection:
        connection.execute(BY_NAME)
        rows = [
            (logins[0], "UA", None),
            (logins[0], "HA", "2099-01-01"),
            (logins[1], "DL", None),
            ("gone", "UA", None),
            ("gone", "HA", None),
        ]
        with connection.cursor() as cursor:
            cursor.executemany("insert into dpe.tenant_access values (%s, %s, %s)", rows)
    return fresh_server


def _described(server: Server) -> set[tuple[str, str]]:
    with server.connect("admin") as connection:
        return {(name, str(what)) for name, what in connection.execute(DESCRIBED)}


def _visible(server: Server, login: str) -> list[str]:
    with server.connect(login) as connection:
        [(tenants,)] = connection.execute(VISIBLE).fetchall()
        return sorted(tenants)


def _rows(server: Server, query: str) -> list[Any]:
    with server.connect("admin") as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.mark.parametrize("administrator", ["a superuser", "a manager"])
def test_a_list_by_name_is_migrated(any_cluster: Cluster, by_name: Server, logins: tuple[str, str], administrator: str) -> None:
    """Once, to a table that is like a new one. The record says so, and that the entries of dropped roles were revoked."""
    server, manager = by_name, sql.Identifier(f"manager_{next(numbers)}")
    with by_name.connect("admin", autocommit=True) as connection:
        if administrator == "a manager":
            connection.execute(sql.SQL("create role {} login").format(manager))
            connection.execute(sql.SQL("grant dpe_owner, dpe_loader, dpe_transformer, dpe_tenant to {}").format(manager))
            connection.execute(sql.SQL("alter database {} owner to {}").format(sql.Identifier(by_name.database), manager))
            server = replace(by_name, admin_user=manager._obj[0])
        before = connection.execute("select count(*) from dpe.access_changes").fetchone()
    try:
        bootstrap_server(server)
        bootstrap_server(server)
    finally:
        with by_name.connect("admin", autocommit=True) as connection:
            if administrator == "a manager":
                connection.execute(sql.SQL("alter database {} owner to postgres").format(sql.Identifier(by_name.database)))
                connection.execute(sql.SQL("drop owned by {}; drop role {}").format(manager, manager))

    assert ["HA", "UA"] == _visible(by_name, logins[0])
    assert ["DL"] == _visible(by_name, logins[1])
    assert [("2099",)] == _rows(by_name, "select to_char(valid_until, 'YYYY') from dpe.tenant_access where valid_until is not null")
    assert [(None,)] == _rows(by_name, "select to_regclass('dpe.tenant_access_by_name')")
    added = _rows(
        by_name,
        f"select change, role_name::text, tenant_id, actor from dpe.access_changes order by change_id offset {before[0] if before else 0}",
    )
    changed = {
        ("changed", name, tenant, "bootstrap") for name, tenants in zip(logins, (("UA", "HA"), ("DL",)), strict=True) for tenant in tenants
    }
    changed |= {("changed", "dpe_tenant", "*", "bootstrap")}
    assert {("revoked", "gone", "UA", "bootstrap"), ("revoked", "gone", "HA", "bootstrap"), *changed} == set(added)
    assert len(added) == len(set(added))
    assert _described(any_cluster.template) == _described(by_name)
    with by_name.connect("admin") as connection, admin_context(connection, "test"):
        connection.execute("delete from dpe.tenant_access where tenant_id = 'DL'")
        newest = connection.execute("select role_name::text, role_id is null from dpe.access_changes order by change_id desc limit 1")
        assert (logins[1], False) == newest.fetchone()


def test_a_view_of_a_reader_does_not_stop_it(by_name: Server, logins: tuple[str, str]) -> None:
    """The view is empty from then on, and the old table is dropped once the view is gone."""
    with by_name.connect("admin", autocommit=True) as connection:
        connection.execute("create schema of_readers; grant all on schema of_readers to public")
    with by_name.connect(logins[0], autocommit=True) as connection, by_name.connect(logins[1], autocommit=True) as other:
        connection.execute("create view of_readers.mine as select role_name, tenant_id from dpe.tenant_access")
        with by_name.connect("admin") as administrator:
            administrator.execute("grant select on of_readers.mine to public")
        other.execute("create temporary view mine as select * from dpe.tenant_access")
        assert [("DL",)] == other.execute("select tenant_id from mine").fetchall()

        bootstrap_server(by_name)
        bootstrap_server(by_name)

        assert ["HA", "UA"] == _visible(by_name, logins[0])
        for session, view in ((connection, "of_readers.mine"), (other, "mine"), (other, "of_readers.mine")):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(f"select * from {view}".encode())
        assert [(0,)] == _rows(by_name, "select count(*) from dpe.tenant_access_by_name")
        with by_name.connect("transformer") as pipeline:
            about = {finding.check_id for finding in checks.check(pipeline, ["dpe"]) if "dpe." in finding.subject}
        assert set() == about
        connection.execute("drop view of_readers.mine")

    bootstrap_server(by_name)
    assert [(None,)] == _rows(by_name, "select to_regclass('dpe.tenant_access_by_name')")
    assert [(2,)] == _rows(by_name, "select count(*) from dpe.access_changes where change = 'revoked' and role_name = 'gone'")


@pytest.fixture
def restored(any_cluster: Cluster, fresh_server: Server, logins: tuple[str, str]) -> Iterator[Server]:
    """Dump a database in which two readers, and a dropped one, have tenants, and restore it as another database of the server."""
    programs, other = any_cluster.embedded.bin_dir, replace(fresh_server, database=f"restored_{next(numbers)}")
    for name, tenant in zip(logins, ("UA", "HA"), strict=True):
        grants.grant(fresh_server, name, [tenant], until=None, actor="test")
    environment = {**os.environ, "PGHOST": fresh_server.host, "PGPORT": str(fresh_server.port), "PGUSER": "postgres"}
    with fresh_server.connect("admin", autocommit=True) as connection:
        connection.execute("create role dropped_since")
        connection.execute("insert into dpe.tenant_access values ('dropped_since', 'UA')")
        connection.execute("drop role dropped_since")
        connection.execute(sql.SQL("create database {} template template0").format(sql.Identifier(other.database)))
    try:
        dump = subprocess.run([programs / "pg_dump", fresh_server.database], env=environment, check=True, capture_output=True).stdout
        restore: list[str | Path] = [programs / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", other.database]
        subprocess.run(restore, env=environment, check=True, input=dump, capture_output=True)
        yield other
    finally:
        with fresh_server.connect("admin", autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(other.database)))


def test_a_restored_dump_works(restored: Server, logins: tuple[str, str]) -> None:
    """Readers see their tenants there, and entries of a dropped role are found and removed."""
    assert (["UA"], ["HA"]) == (_visible(restored, logins[0]), _visible(restored, logins[1]))
    assert {"RLS060"} == _checks(restored)

    removed = [entry for entry in grants.entries(restored, None, actor="test") if not entry.is_role]

    assert [("dropped_since", "UA")] == [(entry.role_name, entry.tenant_id) for entry in removed]
    assert set() == _checks(restored)
    bootstrap_server(restored)
    assert (["UA"], ["HA"]) == (_visible(restored, logins[0]), _visible(restored, logins[1]))


def _checks(server: Server) -> set[str]:
    with server.connect("admin") as connection:
        return {finding.check_id for finding in checks.check(connection, ["dpe"])}
