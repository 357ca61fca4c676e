"""Programs that dbt's users have next to dbt, each in an environment of its own, in a project from `dpe init`."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from support import tools
from support.long_tests import LONG
from support.recipes import Deployment

pytestmark = [pytest.mark.timeout(900), LONG]

MARTS = "models/marts/_marts__models.yml"
SOURCES = "models/staging/shop/_shop__sources.yml"


@pytest.fixture
def built(deployment: Deployment) -> Deployment:
    """Publish the project, so that its relations exist."""
    tools.dpe(deployment, "run")
    return deployment


SQLFLUFF = """\
[sqlfluff]
dialect = postgres
templater = {templater}

[sqlfluff:templater:dbt]
project_dir = .
profiles_dir = .
"""
# Two findings of sqlfluff: spaces before a comma, and a keyword that is not in capitals, as the first one is.
UNTIDY = """\
{{ config(meta={'rls': {'tenant_column': 'branch'}}) }}
SELECT
    branch   ,
    order_id
from {{ ref('fct_orders') }}
"""


def findings(deployment: Deployment, templater: str) -> set[tuple[str, int, str]]:
    """Return what sqlfluff finds with a templater: file, line and rule."""
    tools.write(deployment, {".sqlfluff": SQLFLUFF.format(templater=templater)})
    # Without --nofail, its exit status says whether it found anything.
    ran = tools.run(deployment, "sqlfluff", "sqlfluff lint models --nofail --format json --disable-progress-bar")
    files = json.loads(ran[ran.index('[{"filepath"') :].splitlines()[0])
    return {(file["filepath"], found["start_line_no"], found["code"]) for file in files for found in file["violations"]}


@tools.needs_programs("sqlfluff")
def test_sqlfluff_finds_the_same_with_either_templater(built: Deployment) -> None:
    """That of dbt compiles the models, in the session of `dpe env`; that of Jinja reads only the file."""
    assert set() == findings(built, "dbt")
    untidy = "models/marts/untidy.sql"
    tools.write(built, {untidy: UNTIDY})

    found = findings(built, "dbt")

    assert {(untidy, 3, "LT01"), (untidy, 5, "CP01")} <= found
    assert found == findings(built, "jinja")


@tools.needs_programs("sqlfluff")
def test_sqlfluff_compiles_what_was_never_built(deployment: Deployment) -> None:
    """No hook runs; but without the server, its templater for dbt fails, as with dbt alone."""
    tools.dpe(deployment, "dbt deps")
    assert set() == findings(deployment, "dbt")

    gone = tools.run(deployment, "sqlfluff", "PGPORT=1 sqlfluff lint models --disable-progress-bar", status=1)

    assert "dbt tried to connect to the database and failed" in re.sub(r"\s+\|?\s*", " ", gone)


def columns(deployment: Deployment, path: str) -> dict[str, dict[str, Any]]:
    """Return the columns that a YAML file of the project declares, by name."""
    declared = yaml.safe_load((deployment.directory / path).read_text(encoding="utf-8"))
    [relation] = declared["models"] if "models" in declared else declared["sources"][0]["tables"]
    return {column["name"]: column for column in relation["columns"]}


@pytest.fixture
def undescribed(built: Deployment) -> Deployment:
    """Remove a description and a whole column from a mart, and say where dbt-osmosis keeps the YAML of models."""
    tools.change(built, MARTS, "{name: branch, data_type: text, description: Branch that sold it.}", "{name: branch, data_type: text}")
    tools.change(built, MARTS, "      - {name: quantity, data_type: integer, description: Number of units.}\n", "")
    tools.change(built, "dbt_project.yml", "  shop:\n    staging:", '  shop:\n    +dbt-osmosis: "_{parent}__models.yml"\n    staging:')
    return built


REFACTOR = "dbt-osmosis yaml refactor --auto-apply"


@tools.needs_programs("dbt-osmosis")
def test_dbt_osmosis_completes_models(undescribed: Deployment) -> None:
    """A dry run changes nothing; then rules, policies and the contracts of sources and models are as before, and the project runs."""
    before = {path: (undescribed.directory / path).read_text(encoding="utf-8") for path in (MARTS, SOURCES)}
    declared, source = columns(undescribed, MARTS), columns(undescribed, SOURCES)
    tools.run(undescribed, "dbt-osmosis", f"{REFACTOR} {tools.KEEP_CONTRACTS} --dry-run")
    assert before == {path: (undescribed.directory / path).read_text(encoding="utf-8") for path in before}

    tools.run(undescribed, "dbt-osmosis", f"{REFACTOR} {tools.KEEP_CONTRACTS}")

    completed = columns(undescribed, MARTS)
    assert {"name": "branch", "data_type": "text", "description": "Branch that sold it."} == completed.pop("branch")
    assert {"name": "quantity", "data_type": "integer", "description": "Number of units."} == completed.pop("quantity")
    assert {name: column for name, column in declared.items() if name != "branch"} == completed
    after = columns(undescribed, SOURCES)
    assert ("numeric(10, 2)", "numeric(10,2)") == (source["unit_price"].pop("data_type"), after["unit_price"].pop("data_type"))
    assert source == after
    assert "tenant_column: branch" in (undescribed.directory / SOURCES).read_text(encoding="utf-8")
    assert tools.dpe(undescribed, "run").endswith("DPE SUCCESS\n")
    assert [1, 2, 3, 4, 5, 6] == undescribed.orders()


@tools.needs_programs("dbt-osmosis")
def test_dbt_osmosis_changes_contracts_of_sources(undescribed: Deployment) -> None:
    """Unless two options keep it from that: it adds the columns of dpe to them, which dpe refuses, and drops the scale of numbers."""
    tools.run(undescribed, "dbt-osmosis", REFACTOR)

    source = columns(undescribed, SOURCES)
    assert ({"_load_id", "_slice_id"}, "numeric") == (source.keys() & {"_load_id", "_slice_id"}, source["unit_price"]["data_type"])
    assert "column _load_id is reserved for dpe; rename it" in tools.dpe(undescribed, "run --no-docs", status=1)


UNION = """
{{ config(materialized='table', meta={'rls': {'tenant_column': 'branch'}}) }}
select branch, order_id from {{ ref('fct_orders') }}
union all
select branch, order_id from {{ ref('int_orders') }}
"""


@tools.needs_programs("dbt-colibri")
def test_colibri_shows_the_lineage_of_columns(deployment: Deployment) -> None:
    """From what `dpe run` leaves in target; of a UNION, it knows the models only, with or without dpe."""
    tools.write(deployment, {"models/tools/orders_twice.sql": UNION})
    tools.dpe(deployment, "run")

    tools.run(deployment, "dbt-colibri", "colibri generate --disable-telemetry --output-dir colibri")

    assert (deployment.directory / "colibri/index.html").exists()
    edges = json.loads((deployment.directory / "colibri/colibri-manifest.json").read_text(encoding="utf-8"))["lineage"]["edges"]
    lineage = {
        (f"{edge['source'].split('.', 2)[2]}.{edge['sourceColumn']}", f"{edge['target'].split('.', 2)[2]}.{edge['targetColumn']}")
        for edge in edges
    }
    assert {
        ("shop.orders.branch", "stg_shop__orders.branch"),
        ("stg_shop__orders.branch", "int_orders.branch"),
        ("int_orders.branch", "fct_orders.branch"),
        ("stg_shop__orders.quantity", "int_orders.amount"),
        ("stg_shop__orders.unit_price", "int_orders.amount"),
    } <= lineage
    assert {("fct_orders.", "orders_twice."), ("int_orders.", "orders_twice.")} == {
        edge for edge in lineage if edge[1].startswith("orders_twice.")
    }


def events(deployment: Deployment) -> list[dict[str, Any]]:
    """Return the events that dbt-ol wrote since the last call."""
    path = deployment.home / "events.json"
    written = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    path.unlink(missing_ok=True)
    return written


@tools.needs_programs("dbt-ol")
def test_dbt_ol_reports_a_build(deployment: Deployment) -> None:
    """Each model and each test, without rows; its exit status is dbt's; without the session of `dpe env`, dbt builds nothing."""
    tools.dpe(deployment, "extract")
    transport = f"transport: {{type: file, log_file_path: {deployment.home / 'events.json'}, append: true}}\n"
    (deployment.home / "openlineage.yml").write_text(transport, encoding="utf-8")
    build = f"OPENLINEAGE_CONFIG={deployment.home / 'openlineage.yml'} dbt-ol build"

    tools.run(deployment, "dbt-ol", build)

    written = events(deployment)
    database = deployment.server.database
    completed = {event["job"]["name"]: event for event in written if event["eventType"] == "COMPLETE"}
    of_mart = completed[f"{database}.shop_marts.shop.fct_orders.build.run"]
    assert [f"{database}.shop_intermediate.int_orders"] == [dataset["name"] for dataset in of_mart["inputs"]]
    assert [f"{database}.shop_marts.fct_orders"] == [dataset["name"] for dataset in of_mart["outputs"]]
    assert {f"{database}.shop_marts.shop.fct_orders.build.test", "dbt-run-shop"} <= completed.keys()
    assert [1, 2, 3, 4, 5, 6] == deployment.orders()

    deployment.deliver()
    tools.dpe(deployment, "extract")
    tools.run(deployment, "dbt-ol", build, status=1)
    failed = {event["job"]["name"] for event in events(deployment) if event["eventType"] == "FAIL"}
    assert f"{database}.shop_marts.shop.fct_orders.build.test" in failed

    tools.run(deployment, "dbt-ol", f"unset PGOPTIONS; {build}", status=2)
    assert [] == events(deployment)
