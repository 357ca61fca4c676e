"""A project's schemas may have any names: what holds for the repository's own holds for those of another project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from conftest import Cluster
from psycopg import sql
from support import dbt_projects
from support.dbt_projects import Silence
from support.renamed_shop import BROKEN, CORE, FINANCE, LANDING, PROJECT, RAW
from support.shop import Shop

from dpe_cli.access import checks
from dpe_cli.pipeline import protection
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.server.contexts import admin_context

ORDERS = f'"{FINANCE}".fct_orders'


@pytest.fixture(scope="module")
def run_once(cluster_18: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, RunSummary]]:
    """Run the project once, in a database in which only dpe's own schemas exist."""
    with cluster_18.new_database() as server:
        shop = Shop(dbt_projects.make(tmp_path_factory.mktemp("renamed"), PROJECT), server)
        yield shop, shop.run()


@pytest.fixture(scope="module")
def shop(run_once: tuple[Shop, RunSummary]) -> Shop:
    """Give the project and its database after the run."""
    return run_once[0]


def test_the_first_run_creates_what_is_missing(run_once: tuple[Shop, RunSummary]) -> None:
    """Each schema belongs to the role that fills it; readers may use one only if they may read something in it."""
    shop, summary = run_once
    assert summary.holds, summary.validation
    with shop.server.connect("admin") as connection:
        found = connection.execute(
            """
            select
                nspname,
                pg_get_userbyid(nspowner),
                array(
                    select role_name
                    from unnest(array['dpe_owner', 'dpe_reader', 'dpe_tenant', 'dpe_masked_reader', 'public']) as roles (role_name)
                    where has_schema_privilege(role_name, pg_namespace.oid, 'usage')
                )
            from pg_namespace
            where nspname !~ '^pg_|__|^dpe|^information_schema$|^public$'
            """
        ).fetchall()

        [(relations,)] = connection.execute(
            """
            select count(*)
            from pg_class
            inner join pg_namespace on relnamespace = pg_namespace.oid
            where relkind in ('r', 'p', 'v') and (nspname = 'dpe' or nspname = any(%s) or nspname ~ '__(next|previous)$')
            """,
            [[RAW, LANDING, CORE, FINANCE, BROKEN]],
        ).fetchall()

    assert summary.validation is not None
    assert f"{relations} relations are protected" in " ".join(check.detail for check in summary.validation.checks)
    readers = ["dpe_owner", "dpe_reader", "dpe_tenant", "dpe_masked_reader"]
    assert {
        RAW: ("dpe_loader", ["dpe_owner"]),
        LANDING: ("dpe_loader", ["dpe_owner"]),
        CORE: ("dpe_transformer", ["dpe_owner"]),
        FINANCE: ("dpe_transformer", readers),
        BROKEN: ("dpe_transformer", ["dpe_owner"]),
    } == {schema: (owner, users) for schema, owner, users in found}


def test_everything_is_protected(shop: Shop, reader: Callable[..., str]) -> None:
    """The checks of the catalog and of the project find nothing, and each role sees what is declared, also of staging tables."""
    assert [] == protection.check_rls(shop.project, shop.server)
    cells = protection.measure_rls(shop.project, shop.server, (), (), Silence())
    assert [] == [fault for cell in cells for fault in cell.faults]
    staged = {cell.actor: cell.rows for cell in cells if cell.relation == f"{LANDING}.people"}
    assert (2, 2, 2, None) == tuple(staged[name] for name in ("the loader", "the transformer", "an administrator", "a stranger"))
    with shop.server.connect(reader(shop.server, "HA")) as connection:
        assert [(3,)] == connection.execute(f"select order_id from {ORDERS}".encode()).fetchall()
    with shop.server.connect("admin") as connection, admin_context(connection, "test"):
        for relation, rows in {f"{RAW}.orders": 3, f"{CORE}.int_people": 2, f"{BROKEN}.people_are_not_ada": 1, ORDERS: 3}.items():
            assert [(rows,)] == connection.execute(f"select count(*) from {relation}".encode()).fetchall()


# What a hook of a model, or an administrator, can do; and the check that finds it.
LEAKS = {
    f"grant select on {RAW}.orders to dpe_reader": "RLS016",
    f"grant select on {LANDING}.stg_hr__people to dpe_reader": "RLS016",
    f"grant select on {BROKEN}.orders_are_not_cheap to dpe_reader": "RLS016",
    f"grant select on {BROKEN}.people_are_not_ada to dpe_reader": "RLS016",
    f"grant create on schema {LANDING} to dpe_reader": "RLS015",
    f"alter table {LANDING}.people no force row level security": "RLS002",
    f"alter policy dpe_system on {LANDING}.people to dpe_loader, dpe_reader": "RLS010",
    # Named like a slice, and in the place of a staging table, but not of the loader.
    f"set local role dpe_transformer; create table {LANDING}.people__9_9 (shop text); alter table {LANDING}.people__9_9 enable row level"
    f" security, force row level security; create policy dpe_system on {LANDING}.people__9_9 using ((select dpe.context_is_open()))": "RLS011",
    f"set local role dpe_transformer; create table {LANDING}.people__9_9 (shop text); alter table {LANDING}.people__9_9 enable row level"
    " security, force row level security": "RLS004",
    f"set local role dpe_transformer; create table {RAW}.staff (shop text); alter table {RAW}.staff enable row level security, force row level"
    f" security; create policy dpe_system on {RAW}.staff to dpe_loader, dpe_transformer using ((select dpe.context_is_open()));"
    f" comment on policy dpe_system on {RAW}.staff is 'no tenant column'": "RLS010",
}


@pytest.mark.parametrize("statement", LEAKS)
def test_what_weakens_it_is_found(shop: Shop, statement: str) -> None:
    """In the schemas of sources and of stored failures as anywhere; what the loader did not create is not a staging table."""
    with shop.server.connect("admin") as connection, connection.transaction(force_rollback=True):
        connection.execute(statement.encode())
        connection.execute("reset role")
        schemas = protection.protected_schemas(connection, shop.project)
        found = checks.check(connection, schemas, unreadable=protection.unreadable_schemas(shop.project))

    assert LEAKS[statement] in {finding.check_id for finding in found}, found


def test_what_is_left_of_a_source_stays_protected(shop: Shop, cluster_18: Cluster) -> None:
    """Its table is still the loader's: no check takes it for a model without policies."""
    with replace(cluster_18, template=shop.server).new_database() as server, server.connect("admin") as connection:
        schemas = [*protection.protected_schemas(connection, shop.project)]
        assert [] == checks.check(connection, schemas, unreadable=[])
        connection.execute(sql.SQL("grant select on {}.people to dpe_reader").format(sql.Identifier(LANDING)))
        assert [f"{LANDING}.people"] == [found.subject for found in checks.check(connection, schemas) if found.check_id == "RLS016"]


def test_stored_failures_keep_no_version(shop: Shop, cluster_18: Cluster) -> None:
    """A view with the failures of a test in a build that was not published goes with that build, wherever the view is."""
    with replace(cluster_18, template=shop.server).new_database() as server:
        again = Shop(shop.directory, server)
        again.run("fct_orders", publishes=False)
        assert again.run("dim_shops").holds

        assert [1, 2, 3] == again.orders(ORDERS)
        with server.connect("admin") as connection:
            assert [(None,)] == connection.execute("select to_regclass(%s)", [f"{BROKEN}.orders_are_not_cheap"]).fetchall()
            assert [] == connection.execute("select nspname from pg_namespace where nspname ~ '__old_'").fetchall()
