"""Tenants are compared with published relations, whatever their columns are called, on each version of PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from support import schemas

from dpe_cli.access import grants, tenants
from dpe_cli.cli import main
from dpe_cli.cli.app import App
from dpe_cli.cli.report import Lines, Report
from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server

# A relation protected as by macros/rls/protect_table.sql, with tenants in two columns with unusual names and types.
RELATION = """
    create table finance."fct, orders" (
        order_id integer,
        "the, 'sender'" varchar(8) not null,
        "100%" char(4)
    );
    insert into finance."fct, orders" values (1, 'Ua', 'HA'), (2, 'DL', null);
    create index on finance."fct, orders" ("the, 'sender'");
    alter table finance."fct, orders" owner to dpe_transformer;
    alter table finance."fct, orders" enable row level security, force row level security;
    create policy dpe_system on finance."fct, orders" for all to dpe_transformer
    using (
        (select dpe.every_tenant_is_open())
        or "the, 'sender'" = any ((select dpe.visible_tenants())::text[])
        or "100%" = any ((select dpe.visible_tenants())::text[])
    );
    create policy dpe_admin on finance."fct, orders" for select to dpe_owner
    using (
        (select dpe.every_tenant_is_open())
        or "the, 'sender'" = any ((select dpe.visible_tenants())::text[])
        or "100%" = any ((select dpe.visible_tenants())::text[])
    );
    comment on policy dpe_system on finance."fct, orders" is 'tenant_column the, sender, 100%, 0123456789abcdef0123456789abcdef';
    grant select on finance."fct, orders" to dpe_owner;
    grant select (order_id) on finance."fct, orders" to dpe_masked_reader;
"""


def _unknown(server: Server, *wanted: str) -> list[str]:
    with server.connect("admin") as connection, admin_context(connection, "test"):
        return tenants.unknown(connection, tenants.published(connection), wanted)


def _similar(server: Server, *wanted: str) -> list[str]:
    with server.connect("admin") as connection, admin_context(connection, "test"):
        return tenants.similar(connection, tenants.published(connection), wanted)


def test_before_anything_is_published_every_tenant_is_granted(fresh_server: Server, reader: Callable[..., str]) -> None:
    """And reported as not compared."""
    app, login = App(), reader(fresh_server)
    app.server = fresh_server
    report = cast("Report", main.cli.main(args=["access", "grant", login, "UA"], standalone_mode=False, obj=app))

    assert ["UA"] == [entry.tenant_id for entry in grants.entries(fresh_server, login, actor="test")]
    assert cast("Any", report.data)["compared"] is False
    lines = [line for section in report.sections if isinstance(section, Lines) for line in section.lines]
    assert "Nothing with tenants is published yet, so the names could not be checked; check their spelling yourself." in lines


def test_every_tenant_column_is_compared(fresh_server: Server) -> None:
    """Whatever its name and type, even if only masked readers read the others; compared as in policies."""
    schemas.create(fresh_server, "finance", opened=True)
    with fresh_server.connect("admin", autocommit=True) as connection:
        connection.execute(RELATION)

    assert ["UA", "Ha"] == _unknown(fresh_server, "Ua", "UA", "HA", "Ha", "DL")
    assert {"Ua"} <= set(_similar(fresh_server, "UA"))
    assert ["HA"] == _similar(fresh_server, "HAA")
