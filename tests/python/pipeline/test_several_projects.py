"""
Two projects, or two targets of one, share a database without seeing each other's ledgers, locks and rules.

`both` are the shop, and a project with a source, a model and rules of the same names in schemas of its own. Each has run once.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from conftest import Cluster
from support import dbt_projects
from support.shop import SHOP, Shop

from dpe_cli.access import checks
from dpe_cli.errors import BuildError, PublishError, UnknownNameError, UsageError
from dpe_cli.ingest import loads, rejects
from dpe_cli.ingest.extract import extract
from dpe_cli.load import locks
from dpe_cli.pipeline import destinations, protection, publish
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.publishing import builds, publisher
from dpe_cli.quality import results
from dpe_cli.quality.rules import Rule, find_all
from dpe_cli.server.contexts import admin_context, system_context
from dpe_cli.server.server import Server

OTHER = "other"
# Of the same names as the shop's.
FILES = {
    **SHOP,
    "data/orders/monday.csv": "order_id,shop,amount\n7,UA,7\n8,UA,x\n",
    "data/orders/tuesday.csv": "order_id,shop,amount\n9,HA,30\n",
    "models/raw/_shop__sources.yml": SHOP["models/raw/_shop__sources.yml"]
    .replace("schema: raw", 'schema: "{{ target.name }}_raw"')
    .replace("disposition: append}", "disposition: append, rejects: {max_ratio: 1}}"),
}
SCHEMAS = {"+schema: raw": "+schema: lake", "+schema: core": "+schema: between", "+schema: finance": "+schema: sales"}


def make_other(shop: Shop, directory: Path) -> Shop:
    """Write a project of another name, with schemas of its own and two targets."""
    dbt_projects.make(directory, FILES)
    text = (directory / "dbt_project.yml").read_text()
    for before, after in SCHEMAS.items():
        text = text.replace(before, after)
    settings = yaml.safe_load(text) | {"name": OTHER}
    for kind in ("models", "seeds", "snapshots", "data_tests"):
        settings[kind][OTHER] = settings[kind].pop(shop.server.project)
    (directory / "dbt_project.yml").write_text(yaml.safe_dump(settings, width=math.inf))
    profiles = yaml.safe_load((directory / "profiles.yml").read_text())
    outputs = profiles["dpe"]["outputs"]
    (directory / "profiles.yml").write_text(yaml.safe_dump({"dpe": {"target": "dev", "outputs": {**outputs, "prod": outputs["dev"]}}}))
    return Shop(directory, replace(shop.server, project=OTHER, target="dev"))


@dataclass(frozen=True)
class Both:
    """Two projects in one database; `summary` is of the other's run."""

    shop: Shop
    other: Shop
    summary: RunSummary


@pytest.fixture(scope="module")
def both(cluster_18: Cluster, first_run: tuple[Shop, RunSummary], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Run the other project in a copy of the shop's database."""
    original, _ = first_run
    with replace(cluster_18, template=original.server).new_database() as server:
        shop = Shop(original.directory, server)
        other = make_other(shop, tmp_path_factory.mktemp("other"))
        yield Both(shop, other, other.run())


def _rules(shop: Shop) -> list[Rule]:
    return find_all(shop.project.manifest, [])


def test_each_project_runs(both: Both) -> None:
    """The other's is published, and the shop's tables stay as they are."""
    assert both.summary.build.not_published is None
    assert [7, 9] == both.other.orders("sales.fct_orders")
    assert [1, 2, 3] == both.shop.orders()


def test_each_project_lists_only_its_own(both: Both) -> None:
    """Extracts, loads, rejects, results of rules and failing rows; sources and rules have the same names."""
    of_shop, of_other = (loads.extracts(project.server, source="shop.orders", limit=9) for project in (both.shop, both.other))
    assert [("raw.orders", 3)] == [(extract.relation, extract.rows_loaded) for extract in of_shop]
    assert [("dev_raw.orders", 2)] == [(extract.relation, extract.rows_loaded) for extract in of_other]
    assert [0, 1] == [len(loads.rejects(project.server, source=None, load_id=None, limit=9)) for project in (both.shop, both.other)]
    with pytest.raises(UnknownNameError, match="is not in the ledger"):
        loads.extract(both.shop.server, of_other[0].extract_id)
    with pytest.raises(UnknownNameError, match="is not in the ledger"):
        loads.undo(both.shop.server, both.shop.project.sources, of_other[0].extract_id)
    load = loads.extract(both.other.server, of_other[0].extract_id)[1][0]
    with pytest.raises(UnknownNameError, match="is not in the ledger"):
        rejects.export(both.shop.project.sources, both.shop.server, str(load.load_id), project_dir=both.shop.directory)

    for project, order in ((both.shop, 1), (both.other, 7)):
        rules = _rules(project)
        assert {"SHOP-1-01": 1, "SHOP-1-02": 1} == {
            rule: len(runs) for rule, runs in results.histories(project.server, rules, runs=9).items()
        }
        assert ["pass", "warn"] == [state.status for _, state in sorted(results.states(project.server, rules).items())]
        cheap = next(rule for rule in rules if rule.rule_id == "SHOP-1-02")
        assert [order] == [row.row["order_id"] for row in results.failing_rows(project.server, cheap, limit=9)]


OWNED = {
    "extracts": ("loader", "transformer"),
    "loads": ("loader", "transformer"),
    "rejects": ("loader",),
    "notifications": ("loader",),
    "publications": ("transformer",),
    "rule_results": ("transformer",),
    "rule_failures": ("transformer",),
}
CASES = [(table, login) for table, logins in OWNED.items() for login in logins]
INSERTS = {
    "extracts": "insert into dpe.extracts (source, relation, disposition{}) values ('s', 's', 'append'{})",
    "loads": (
        "insert into dpe.loads (extract_id, source, relation, location, records_read, rows_loaded, rows_rejected{}) values (1, 's', 's', 'l', 0, 0, 0{})"
    ),
    "rejects": (
        "insert into dpe.rejects (load_id, source, relation, position, sqlstate, reason, raw{}) values (1, 's', 's', 1, '22000', 'r', 'raw'{})"
    ),
    "notifications": "insert into dpe.notifications (pipeline, has_failed{}) values ('p', false{})",
    "publications": "insert into dpe.publications (status, selection, relations{}) values ('refused', '', '[]'{})",
    "rule_results": (
        "insert into dpe.rule_results (invocation_id, ran_at, test_id, test, severity, status, warn_if, error_if, duration_seconds{})"
        " values ('i', now(), 't', 't', 'warn', 'pass', '', '', 0{})"
    ),
    "rule_failures": (
        "insert into dpe.rule_failures (test_id, row_hash, test, failing_row, first_invocation_id, first_seen_at, last_seen_at{})"
        " values ('t', 'h', 't', '{{}}', 'i', now(), now(){})"
    ),
}


def _query(server: Server, login: str, statement: str) -> list[tuple[Any, ...]]:
    with server.connect(login) as connection, system_context(connection, actor="test"), connection.transaction(force_rollback=True):
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize(("table", "login"), CASES)
def test_the_server_keeps_projects_apart(both: Both, table: str, login: str) -> None:
    """Whatever a query asks for, a session reads and writes rows of its own project only; one that names none gets an error."""
    own = _query(both.shop.server, login, f"select distinct project from dpe.{table}")
    assert own in ([(both.shop.server.project,)], [])
    if login != "loader" and table not in ("extracts", "loads"):
        _query(both.shop.server, login, INSERTS[table].format("", ""))
        for column in ("project", "target"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                _query(both.shop.server, login, INSERTS[table].format(f", {column}", f", '{OTHER}'"))
    elif login == "loader":
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            _query(both.shop.server, login, INSERTS[table].format(", project", f", '{OTHER}'"))
        if own:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                _query(both.shop.server, login, f"update dpe.{table} set project = '{OTHER}'")

    for anonymous in (replace(both.shop.server, project=None), replace(both.shop.server, project="", target="dev")):
        for statement in (f"select from dpe.{table}", INSERTS[table].format("", "")):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="dpe.project: is not set|permission denied"):
                _query(anonymous, login, statement)


def test_the_ledger_asks_for_a_project(both: Both) -> None:
    """Outside of one, an empty list would look as if nothing had ever been loaded."""
    with pytest.raises(UsageError, match="the ledger shows the loads of one project; change to the project's directory"):
        loads.extracts(replace(both.shop.server, project=None, target=None), source=None, limit=9)


def test_auditors_and_administrators_see_every_project(both: Both) -> None:
    """And the ledger's own policies are as bootstrap made them."""
    with both.shop.server.connect("admin") as connection, admin_context(connection, "test"):
        found = connection.execute("select distinct project from dpe.extracts order by 1").fetchall()
        assert {(OTHER,), (both.shop.server.project,)} == set(found)
        connection.execute("set local role dpe_auditor")
        assert found == connection.execute("select distinct project from dpe.publications order by 1").fetchall()
    with both.shop.server.connect("transformer") as connection:
        assert [] == [finding for finding in checks.check(connection, ["dpe"]) if finding.subject.startswith("dpe.")]


def test_projects_build_at_the_same_time_unless_they_share_a_schema(both: Both) -> None:
    """A lock is a published schema's, whichever project publishes there."""
    with publisher.building(both.shop.server, ["lake", "finance"]):
        with publisher.building(both.other.server, ["between", "sales"]):
            pass
        with (
            pytest.raises(PublishError, match="another `dpe run` is building in the schema finance; wait for it to end"),
            publisher.building(both.other.server, ["sales", "finance"]),
        ):
            pass
    with locks.source_lock(partial(both.shop.server.connect, "loader"), both.shop.project.sources["shop.orders"].table, actor="test"):
        again = extract(both.other.directory, both.other.server, [both.other.project.sources["shop.orders"]], dbt_projects.Silence())
    assert [] == again.refused


def test_no_hook_can_declare_a_schema_to_be_another_projects(both: Both) -> None:
    """Where it could leave copies for readers: only the loader records schemas, and only as its own project's."""
    for login in ("transformer", "loader"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            _query(both.shop.server, login, f"insert into dpe.project_schemas values ('copies', '{OTHER}', 'dev')")
    copied = "create table sales.copied as select * from finance.fct_orders; grant select on sales.copied to dpe_reader"
    with both.shop.server.connect("transformer") as connection, system_context(connection, actor="test"):
        connection.execute(copied.encode())
    with both.shop.server.connect("transformer") as connection, system_context(connection, actor="test"):
        found = protection.check_rls(both.shop.project, both.shop.server)
        connection.execute("drop table sales.copied")
    assert [("RLS045", "sales.copied")] == [(finding.check_id, finding.subject) for finding in found]


def test_dbt_refuses_a_session_of_another_project(both: Both) -> None:
    """As after `eval "$(dpe env)"` elsewhere: the results of its tests would become those of the other one."""
    with pytest.raises(
        BuildError, match=f"the target dev of the project {both.shop.server.project}, and dbt for the target dev of the project {OTHER}"
    ):
        run_dbt(both.other.project, both.shop.server, ["test"])


def test_a_model_does_not_take_the_place_of_another_projects(both: Both, tmp_path: Path) -> None:
    """In a target that a review may not look at; neither with dpe nor with plain dbt. A schema may be shared."""
    shutil.copytree(both.other.directory, tmp_path / OTHER, symlinks=True)
    settings = tmp_path / OTHER / "dbt_project.yml"
    settings.write_text(
        settings.read_text().replace("+schema: sales", "+schema: \"{{ 'finance' if target.name == 'prod' else 'sales' }}\"")
    )
    dbt_projects.write(
        tmp_path / OTHER,
        {"models/finance/fct_own.sql": "{{ config(contract={'enforced': false}, meta={'rls': {'private': true}}) }} select 1 as id"},
    )
    project, server = Project(tmp_path / OTHER, target="prod"), replace(both.other.server, target="prod")

    [shops, orders] = destinations.faults(project, server)
    belongs = f"belongs to the project {both.shop.server.project}, whose readers would see this"
    assert f"dim_shops (models/finance/dim_shops.sql): finance.dim_shops {belongs} model instead; set another schema" in shops
    assert f"fct_orders (models/finance/fct_orders.sql): finance.fct_orders {belongs} model instead; set another schema" in orders
    with pytest.raises(
        BuildError, match=f"finance.fct_orders: {belongs} project's model instead; set another schema or alias for target prod"
    ):
        run_dbt(project, server, ["run", "--select", "fct_orders"])
    assert ["success"] == [node.status for node in run_dbt(project, server, ["run", "--select", "fct_own"])]
    assert [1, 2, 3] == both.shop.orders()
    with server.connect("admin", autocommit=True) as connection:
        connection.execute("drop table finance.fct_own")
    assert [] == destinations.faults(both.shop.project, both.shop.server)


def test_two_projects_may_not_load_one_table(both: Both) -> None:
    """Each would take the rows of the other for some that are not in its ledger. One that the other left empty changes hands."""
    orders = both.other.project.sources["shop.orders"]
    theirs = replace(orders, table=replace(orders.table, schema="raw"))
    refused = extract(both.other.directory, both.other.server, [theirs], dbt_projects.Silence()).refused
    assert [f"the project {both.shop.server.project} loads raw.orders too; give the source another schema or identifier"] == [
        result.error and result.error.partition("): ")[2].partition(", or undo")[0] for result in refused
    ]
    assert [3] == [extract.rows_loaded for extract in loads.extracts(both.shop.server, source="shop.orders", limit=9)]

    empty = replace(orders, table=replace(orders.table, schema="raw", name="customers"))
    for server in (both.shop.server, both.other.server):
        assert [] == extract(both.other.directory, server, [empty], dbt_projects.Silence()).refused
        [newest] = loads.extracts(server, source="shop.orders", limit=1)
        loads.undo(server, {"shop.orders": empty}, newest.extract_id)


def test_targets_have_loads_of_their_own(both: Both) -> None:
    """If their sources have different schemas: the files are loaded again, and the lists show the own target's only."""
    project = Project(both.other.directory, target="prod")
    server = replace(both.other.server, target="prod")
    source = project.sources["shop.orders"]
    assert "prod_raw.orders" == source.table.relation
    [result] = extract(both.other.directory, server, [source], dbt_projects.Silence()).extracts
    assert 2 == result.rows_loaded

    for each, relation in ((project, "prod_raw.orders"), (both.other.project, "dev_raw.orders")):
        listed = loads.extracts(server, source="shop.orders", limit=9, declared=lambda each=each: each.sources)  # type: ignore[misc]
        assert [relation] == list({extract.relation for extract in listed})
        assert 1 == len(loads.rejects(server, source=None, load_id=None, limit=9, declared=lambda each=each: each.sources))  # type: ignore[misc]
    with pytest.raises(
        loads.LoadsError, match=r"was loaded into prod_raw.orders, but this target loads shop.orders into dev_raw.orders; give the target"
    ):
        loads.undo(both.other.server, both.other.project.sources, result.extract_id or 0)
    with publisher.connected(server) as connection:
        assert builds.newest(connection, "published") is None


def test_each_project_undoes_only_its_own_publication(both: Both) -> None:
    """Although the other's is newer."""
    publish.undo(both.other.project, both.other.server, ends_sessions=False, progress=dbt_projects.Silence())
    with publisher.connected(both.other.server) as connection, pytest.raises(PublishError, match="has already been undone"):
        builds.to_undo(connection)
    with publisher.connected(both.shop.server) as connection:
        assert "published" == builds.to_undo(connection).status
    assert [1, 2, 3] == both.shop.orders()
