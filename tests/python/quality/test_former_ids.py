"""The history of rules continues after the project and its generic tests were renamed, which changes the ids of tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.dbt_projects import write

from dpe_cli.project import dbt
from dpe_cli.quality import former_ids
from dpe_cli.quality.former_ids import former, rename
from dpe_cli.server.contexts import system_context
from dpe_cli.server.server import Server

PROJECT = "name: {}\nprofile: shop\n"
IN_RANGE = "{% test in_range(model, column_name, low, high=none, only=[]) %} select * from {{ model }} {% endtest %}"
PROFILES = """
    shop: {outputs: {default: {type: postgres, host: localhost, port: 1, user: me, password: "", dbname: shop, schema: finance, threads: 1}}}
"""
# Named, unnamed and long tests, of columns, models, versions and sources, with each kind of argument; and a singular one.
MODELS = """
    sources:
      - name: shop
        tables:
          - name: orders
            columns: [{{name: order_id, data_tests: [unique, {0}in_range: {{arguments: {{low: 1}}}}]}}]
    models:
      - name: orders
        data_tests: [{0}in_range: {{arguments: {{column_name: amount, low: -1.5, high: "{{{{ 2 * 3 }}}}", only: [UA, 1, true]}}}}]
        columns:
          - name: order_id
            data_tests: [not_null, unique: {{name: orders_are_unique}}, {0}in_range: {{name: dpe_in_range_of_orders, arguments: {{low: 2024-01-01}}}}]
          - {{name: an_amount_with_a_name_that_is_too_long_for_an_identifier, data_tests: [not_null: {{config: {{severity: warn}}}}]}}
      - name: shops
        latest_version: 2
        versions: [{{v: 1}}, {{v: 2}}]
        columns: [{{name: shop, data_tests: [{0}in_range: {{arguments: {{low: 0, high: 10}}}}]}}]
"""


def _parsed(directory: Path) -> Mapping[str, Any]:
    """Return dbt's manifest of a project."""
    options = [
        "--no-write-json",
        "--project-dir",
        str(directory),
        "--profiles-dir",
        str(directory),
        "--target-path",
        str(directory / "target"),
    ]
    return json.loads(dbt.as_json(dbt.invoke(["parse"], options).result))  # type: ignore[no-any-return]


def _files(name: str, namespace: str) -> dict[str, str]:
    return {
        "dbt_project.yml": PROJECT.format(name),
        "profiles.yml": PROFILES,
        "models/orders.sql": "select 1 as order_id, 2 as amount",
        "models/shops_v1.sql": "select 1 as shop",
        "models/shops_v2.sql": "select 1 as shop",
        "models/models.yml": MODELS.format(namespace),
        "tests/orders_are_paid.sql": "select * from {{ ref('orders') }}",
    }


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Parse one project twice: called `dpe` with a generic test of its own, and by another name with that of a package."""
    before = write(tmp_path_factory.mktemp("before"), {**_files("dpe", ""), "tests/generic/in_range.sql": IN_RANGE})
    now = write(
        tmp_path_factory.mktemp("now"),
        {
            **_files("shops", "dpe."),
            "packages.yml": "packages: [{local: dpe}]\n",
            "dbt_packages/dpe/dbt_project.yml": "name: dpe\n",
            "dbt_packages/dpe/tests/generic/in_range.sql": IN_RANGE,
        },
    )
    return _parsed(before), _parsed(now)


def test_the_former_ids_are_those_that_dbt_made(manifests: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
    """For each kind of test."""
    before, now = ({node for node in manifest["nodes"] if node.startswith("test.")} for manifest in manifests)
    renamed = [found for node in manifests[1]["nodes"].values() if (found := former(node))]

    assert 10 == len(before)
    assert [] == sorted(before ^ {test.former_id for test in renamed})
    assert now == {test.present_id for test in renamed}


REMEMBERED = """
    insert into dpe.rule_results (invocation_id, ran_at, test_id, test, severity, status, warn_if, error_if, duration_seconds)
    values (%(run)s, %(at)s, %(id)s, 'orders', 'warn', 'warn', '', '', 0);
"""
FAILED = """
    insert into dpe.rule_failures (test_id, row_hash, test, failing_row, first_invocation_id, first_seen_at, last_seen_at)
    values (%(id)s, %(hash)s, 'orders', '{}', %(run)s, %(at)s, %(at)s)
"""


def test_history_goes_on_under_the_present_ids(server: Server, manifests: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
    """A row that has failed before keeps the date, also if it failed again since. Other projects' tests are left alone."""
    shops = replace(server, project="shops")
    present = next(node for node in manifests[1]["nodes"].values() if node["name"].startswith("dpe_in_range_orders"))
    was = former(present)
    assert was is not None
    for each, run, at, hashes, test_id in (
        (shops, "first", "2024-01-01", ["a", "b"], was.former_id),
        (shops, "second", "2024-02-01", ["a"], was.present_id),
        (replace(server, project="others"), "third", "2024-01-01", ["a"], was.former_id),
    ):
        with each.connect("transformer") as connection, system_context(connection, actor="test"):
            connection.execute(REMEMBERED, {"run": run, "at": at, "id": test_id})
            for row_hash in hashes:
                connection.execute(FAILED, {"run": run, "at": at, "id": test_id, "hash": row_hash})

    assert 1 == rename(shops, lambda: manifests[1])
    assert 0 == rename(shops, lambda: pytest.fail("nothing is to be renamed, so the manifest need not be read"))

    with shops.connect("transformer") as connection, system_context(connection, actor="test"):
        results = connection.execute("select test_id, test, invocation_id from dpe.rule_results order by ran_at").fetchall()
        assert [(was.present_id, present["name"], "first"), (was.present_id, "orders", "second")] == results
        failing = connection.execute(
            "select test_id, row_hash, first_invocation_id, first_seen_at::date::text, last_seen_at::date::text from dpe.rule_failures order by 2"
        ).fetchall()
    assert [
        (was.present_id, "a", "first", "2024-01-01", "2024-02-01"),
        (was.present_id, "b", "first", "2024-01-01", "2024-01-01"),
    ] == failing
    with replace(server, project="others").connect("transformer") as connection, system_context(connection, actor="test"):
        assert [(was.former_id,)] == connection.execute("select test_id from dpe.rule_failures").fetchall()
    assert 0 == rename(replace(server, project=former_ids.FORMER_PROJECT), lambda: pytest.fail("that project kept its name"))
