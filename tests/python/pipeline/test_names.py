"""Models are built, protected and published whatever their relations and columns are called, at the first run and at the second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from conftest import Cluster
from psycopg import sql
from support import dbt_projects
from support.dbt_projects import Silence

from dpe_cli.access import grants
from dpe_cli.pipeline import protection, run
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.project.project import Project
from dpe_cli.server.relations import MASKED, QUARANTINE, companion_name
from dpe_cli.server.server import Server

# Tenant columns, by the name of their table.
COLUMNS = {
    "fct_tenant": "tenant",
    "fct_sampled": "sampled",
    "fct_protected": "protected",
    "fct_reserved": "select",
    "fct_comma": "sho,p",
    "fct_single": "sho'p",
    "fct_brackets": "shop (code)",
    "fct_braces": "a: {shop}",
    "fct_percent": "sho%p",
    "fct_dollars": "$$shop$$",
    "fct_double": 'sho"p',
    "fct_umlauts": "Geschäft",
}
LONG = {size: f"orders_{'x' * (size - 7)}" for size in (56, 63)} | {62: "o_" + "ä" * 30}
KINDS = {f"{kind}_{'y' * (62 - len(kind))}": kind for kind in ("table", "view", "incremental")}
SNAPSHOT, SEED = "snapshot_" + "z" * 54, "seed_" + "z" * 58
EVERY_NAME = [*COLUMNS, *LONG.values(), *KINDS, SNAPSHOT, SEED]
SELECT = "select order_id, {column}, amount from {{{{ ref('stg_orders') }}}}"


def _declared(name: str, column: str, *, schema: str = "marts", masks: str = "", tests: str = "") -> str:
    quoted = column.replace("'", "''")
    return f"""
          - name: {name}
            config: {{schema: {schema}, meta: {{rls: {{tenant_column: '{quoted}'}}{masks}}}}}
            {tests}
        """


def _files() -> dict[str, str]:
    files = {
        "models/staging/stg_orders.sql": "select * from (values (1, 'UA', 10), (2, 'UA', 20), (3, 'HA', 30)) as orders (order_id, shop, amount)",
    }
    for name, column in COLUMNS.items():
        quoted = '"' + column.replace('"', '""') + '"'
        files[f"models/marts/{name}.sql"] = "{{ config(materialized='table') }} " + SELECT.format(column=f"shop as {quoted}")
        files[f"models/marts/{name}.yml"] = f"models:{_declared(name, column)}"
    tests = "data_tests: [{dbt_utils_free: {}}]"
    del tests
    for name in LONG.values():
        rule = (
            "data_tests: [{expression_is_true: {arguments: {expression: amount < 30}, "
            "config: {meta: {rule: A-1-01, on_failure: quarantine, quarantine: {max_rows: 9}}}}}]"
        )
        files[f"models/marts/{name}.sql"] = "{{ config(materialized='table') }} " + SELECT.format(column="shop")
        files[f"models/marts/{name}.yml"] = f"models:{_declared(name, 'shop', masks=', masked: [amount]', tests=rule)}"
    for name, kind in KINDS.items():
        masks = "" if kind == "view" else ", masked: [amount]"
        source = "select order_id, shop, amount from {{ ref('fct_plain') }}" if kind == "view" else SELECT.format(column="shop")
        files[f"models/marts/{name}.sql"] = f"{{{{ config(materialized='{kind}') }}}} {source}"
        files[f"models/marts/{name}.yml"] = f"models:{_declared(name, 'shop', schema='finance', masks=masks)}"
    files["models/marts/fct_plain.sql"] = "{{ config(materialized='table') }} " + SELECT.format(column="shop")
    files["models/marts/fct_plain.yml"] = f"models:{_declared('fct_plain', 'shop')}"
    files[f"seeds/{SEED}.csv"] = "order_id,shop,amount\n1,UA,10\n2,UA,20\n3,HA,30\n"
    files["seeds/seeds.yml"] = f"seeds:{_declared(SEED, 'shop', masks=', masked: [amount]')}"
    files["snapshots/orders.yml"] = f"""
        snapshots:
          - name: {SNAPSHOT}
            relation: ref('stg_orders')
            config: {{schema: marts, unique_key: order_id, strategy: check, check_cols: all, meta: {{rls: {{tenant_column: shop}}, masked: [amount]}}}}
        """
    return files


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> tuple[Project, Server, list[RunSummary]]:
    """Return a project after two runs."""
    directory = dbt_projects.make(tmp_path_factory.mktemp("names"), {})
    for path, text in _files().items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    server = cluster.bootstrapped()
    project = Project(directory)
    done = [run.run(project, server, [], [], Silence(), RunOptions(documents=False)) for _ in range(2)]
    return project, server, done
