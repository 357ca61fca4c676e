"""dpe keeps its promises with dbt 1.12, which has an environment of its own: `make test` installs it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Cluster
from psycopg import sql
from support import dbt_projects, demo_project
from support.dbt_projects import REPOSITORY
from support.protected_project import PRIVATE_TABLES, PROJECT, SHARED_TABLES, TENANT_TABLES, VIEWS

from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server

PYTHON = REPOSITORY / ".dpe" / "dbt-1.12" / "bin" / "python"
# Models of each materialization; an ephemeral one is part of others only.
FILES = PROJECT | {
    "models/core/int_orders_of_shops.sql": "{{ config(materialized='ephemeral') }} select * from {{ ref('fct_orders') }}",
    "models/core/shops_with_orders.sql": "select distinct shop from {{ ref('int_orders_of_shops') }}",
    "tests/singular/every_order_has_a_shop.sql": "select * from {{ ref('fct_orders') }} where shop is null",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the project."""
    return tmp_path_factory.mktemp("dbt-1.12") / "project"


@pytest.fixture(scope="module")
def published(cluster_18: Cluster, directory: Path) -> Iterator[Server]:
    """Run a project twice, so that incremental models and snapshots are also added to."""
    if not PYTHON.exists():
        pytest.skip("dbt 1.12 is not installed; make test installs it, where there is a network")
    dbt_projects.configure(directory)
    dbt_projects.write(directory, FILES)
    with cluster_18.new_database() as server:
        assert dpe(directory, server, "run").endswith("DPE SUCCESS\n")
        assert (directory / "target" / "catalog.json").exists()
        assert dpe(directory, server, "run", "--no-docs").endswith("DPE SUCCESS\n")
        yield server


def dpe(directory: Path, server: Server, *arguments: str) -> str:
    """Run dpe with dbt 1.12, and return its output."""
    ran = process(directory, server, *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def process(directory: Path, server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run dpe with dbt 1.12, whether it succeeds or not."""
    variables = demo_project.variables_of(server, PYTHONPATH=str(REPOSITORY), DBT_WRITE_JSON="true")
    return subprocess.run([PYTHON, "-m", "dpe_cli", *arguments], cwd=directory, env=variables, capture_output=True, text=True, check=False)


def test_dbt_1_12_protects_every_relation(published: Server) -> None:
    """Of each materialization, and of the failures that tests store."""
    with published.connect("admin") as connection:
        forced = connection.execute(
            "select format('%s.%s', relnamespace::regnamespace, relname) from pg_class where relkind = 'r' and relforcerowsecurity"
        ).fetchall()
        invokers = connection.execute(
            "select format('%s.%s', relnamespace::regnamespace, relname) from pg_class "
            "where relkind = 'v' and 'security_invoker=true' = any (reloptions)"
        ).fetchall()

    assert {*TENANT_TABLES, *SHARED_TABLES, *PRIVATE_TABLES} <= {name for (name,) in forced}
    assert {*VIEWS, "core.shops_with_orders"} <= {name for (name,) in invokers}


def test_dbt_1_12_shows_a_tenant_its_own_rows(published: Server, reader: Callable[..., str]) -> None:
    """Those of the other shop do not exist for it; private relations cannot be read at all."""
    with published.connect(reader(published, "UA"), autocommit=True) as desk:
        for relation in (*TENANT_TABLES, "finance.orders_seen"):
            query = sql.SQL("select distinct shop from {}").format(sql.Identifier(*relation.split(".")))
            assert [("UA",)] == desk.execute(query).fetchall(), relation
        # By oid: its schema may not even be used.
        with published.connect("admin", autocommit=True) as connection:
            private = [row[0] for row in connection.execute("select unnest(%s::text[])::regclass::oid", [list(PRIVATE_TABLES)])]
        readable = "select relation from unnest(%s::oid[]) as relation where has_table_privilege(relation, 'select')"
        assert [] == desk.execute(readable, [private]).fetchall()


def test_dbt_1_12_remembers_rules_and_publications(published: Server) -> None:
    """The ledger has two publications, and the results of the tests of each run."""
    with published.connect("admin") as connection, admin_context(connection, "test"):
        assert (2,) == connection.execute("select count(*) from dpe.publications where published_at is not null").fetchone()
        statuses = connection.execute("select test, status, count(*) from dpe.rule_results group by test, status order by test").fetchall()

    assert [("every_order_has_a_shop", "pass", 2), ("large_orders", "warn", 2), ("small_orders", "warn", 2)] == statuses


def test_dbt_1_12_makes_no_view_of_a_latest_version(published: Server, directory: Path) -> None:
    """Of its own accord, if the project's flags say so: it would replace any relation of its name."""
    private = "{{ config(meta={'rls': {'private': true}}, contract={'enforced': false}) }}"
    dbt_projects.write(
        directory,
        {
            "models/finance/pointed_v1.sql": f"{private} select 1 as one",
            "models/finance/_pointed.yml": "models: [{name: pointed, config: {latest_version_pointer: {alias: fct_orders}}, versions: [{v: 1}]}]",
        },
    )
    settings = directory / "dbt_project.yml"
    settings.write_text(settings.read_text().replace("flags:\n", "flags:\n  latest_version_pointer_enabled_by_default: true\n"))
    refusal = "pointed.v1 (models/finance/pointed_v1.sql): latest_version_pointer has dbt create a view that no model declares"
    kind = "select relkind::text from pg_class where oid = 'finance.fct_orders'::regclass"

    for command in (["dbt", "run", "--select", "fct_orders", "pointed"], ["run"]):
        ran = process(directory, published, *command)
        assert ran.returncode != 0
        assert refusal in " ".join((ran.stdout + ran.stderr).split()), command
        with published.connect("admin") as connection:
            assert ("r",) == connection.execute(kind).fetchone()
