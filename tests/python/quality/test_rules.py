"""`dpe rules`: what rules require, whether they hold, and the document about them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import click
import pytest
from conftest import Cluster, numbers
from support import dbt_projects
from support.result_schemas import check_report, command_of

from dpe_cli.cli import main
from dpe_cli.cli.app import App
from dpe_cli.cli.commands.rules import plot
from dpe_cli.cli.report import Report, show
from dpe_cli.errors import UnknownNameError
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.quality import results, rules, rules_document
from dpe_cli.quality.results import Run
from dpe_cli.server.server import Server
from dpe_cli.specs.spec import read_all

PROJECT = {
    "models/finance/fct_orders.sql": """
        {{ config(materialized='table') }}
        select order_id, case when order_id > {{ var('named', 9) }} then null else 'A' end as customer
        from generate_series(1, 4) as orders (order_id)
        """,
    "models/finance/_finance__models.yml": """
        models:
          - name: fct_orders
            config: {meta: {rls: {private: true}}, contract: {enforced: false}}
            columns:
              - name: order_id
                data_tests:
                  - unique:
                      name: orders_are_unique
                      config: {meta: {rule: SHOP-1-01, dimension: uniqueness, owner: sales, because: an order is paid once}}
                  - dpe.accepted_range:
                      name: orders_are_numbered_from_one
                      arguments: {min_value: 1}
                      config:
                        error_if: '> 9'
                        meta: {rule: SHOP-1-01, dimension: uniqueness, owner: sales, because: an order is paid once}
              - name: customer
                data_tests:
                  - not_null:
                      name: orders_have_a_customer
                      config: {severity: warn, meta: {rule: SHOP-2-01, dimension: completeness, owner: sales, because: someone pays}}
        """,
    "tests/singular/orders_are_few.sql": """
        {{ config(meta={'rule': 'SHOP-1-02', 'dimension': 'validity', 'owner': 'sales', 'because': 'the shop is small'}) }}
        -- Fails where there are
        -- more than nine orders.
        select count(*) as order_count from {{ ref('fct_orders') }} having count(*) > 9
        """,
    "specs/SHOP-1-orders-spec.md": """
        ---
        ticket: SHOP-1
        title: Orders
        owner: sales
        sources: []
        models: [fct_orders]
        ---

        | figure | meaning |
        |---|---|
        | SHOP | not a rule |

        | rule | severity | definition |
        |---|---|---|
        | `SHOP-1-01` | error | An order is there once \\| only once. |
        | SHOP-1-02 | error | |
        """,
    "specs/SHOP-2-customers-spec.md": """
        ---
        ticket: SHOP-2
        title: Customers
        owner: sales
        sources: []
        models: [fct_orders]
        ---

        | rule | definition |
        |---|---|
        | SHOP-2-01 | Every order has a customer. |
        """,
}

DOCUMENT = """\
# Data quality rules

Written by `dpe rules --write` from the specs and the tests. `dpe rules` shows whether the rules hold.

## [SHOP-1](specs/SHOP-1-orders-spec.md): Orders

### Uniqueness

**SHOP-1-01.** An order is there once | only once.

- severity error: orders_are_numbered_from_one fails if the count is > 9, warns on any row; orders_are_unique fails on any row
- owner: sales
- because: an order is paid once
- implemented by `orders_are_numbered_from_one` in [models/finance/_finance__models.yml](models/finance/_finance__models.yml): \
`dpe.accepted_range on order_id of fct_orders, min_value 1`
- implemented by `orders_are_unique` in [models/finance/_finance__models.yml](models/finance/_finance__models.yml): \
`unique on order_id of fct_orders`

### Validity

**SHOP-1-02.** Fails where there are more than nine orders.

- severity error: fails on any row
- owner: sales
- because: the shop is small
- implemented by `orders_are_few` in [tests/singular/orders_are_few.sql](tests/singular/orders_are_few.sql): `a query of its own`

## [SHOP-2](specs/SHOP-2-customers-spec.md): Customers

### Completeness

**SHOP-2-01.** Every order has a customer.

- severity warn: warns on any row
- owner: sales
- because: someone pays
- implemented by `orders_have_a_customer` in [models/finance/_finance__models.yml](models/finance/_finance__models.yml): \
`not_null on customer of fct_orders`
"""


def _make(directory: Path) -> Path:
    return dbt_projects.make(directory, PROJECT)


@pytest.fixture(scope="module")
def written(scratch: Path) -> Path:
    """Write the project, parse it, and write its document."""
    directory = _make(scratch / f"rules_{next(numbers)}")
    assert 0 == main.run(["rules", "--write", "--project-dir", str(directory)])
    return directory


@pytest.fixture
def project(written: Path, tmp_path: Path) -> Path:
    """Give a copy of it."""
    directory = tmp_path / "rules"
    shutil.copytree(written, directory, symlinks=True)
    return directory


def _check(directory: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    status = main.run(["rules", "--check", "--project-dir", str(directory)])
    return status, capsys.readouterr().out


def test_the_document_describes_each_rule(written: Path) -> None:
    """By pipeline and dimension, in the words of the spec, or else of the test."""
    assert DOCUMENT == (written / "DATA_QUALITY_RULES.md").read_text(encoding="utf-8")


def test_the_document_does_not_depend_on_the_order_of_tests(written: Path) -> None:
    """It is the same for a manifest in another order."""
    project, specs = Project(written), read_all(written / "specs")
    nodes = dict(reversed(project.manifest["nodes"].items()))
    turned = {**project.manifest, "nodes": nodes}

    assert DOCUMENT == rules_document.document(rules.find_all(turned, specs), specs)


def test_a_current_document_passes(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The check says so, and no server is needed for it."""
    assert (0, "DATA_QUALITY_RULES.md is up to date, and specs and tests have the same rules\n") == _check(written, capsys)


def test_a_missing_document_is_found(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The check fails, and says what to do."""
    (project / "DATA_QUALITY_RULES.md").unlink()

    assert (1, "1 fault\nDATA_QUALITY_RULES.md: is missing; run `dpe rules --write`\n") == _check(project, capsys)


def test_a_stale_document_is_found(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A definition was changed, but not the document."""
    spec = project / "specs" / "SHOP-2-customers-spec.md"
    spec.write_text(spec.read_text().replace("Every order", "Each order"))

    assert (1, "1 fault\nDATA_QUALITY_RULES.md: is not up to date; run `dpe rules --write`\n") == _check(project, capsys)


def test_a_rule_without_a_test_is_found(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The document is current, because it contains the rules that have tests."""
    spec = project / "specs" / "SHOP-2-customers-spec.md"
    spec.write_text(spec.read_text() + "| SHOP-2-02 | Every customer is known. |\n")

    assert (1, f"1 fault\n{spec.name}: rule SHOP-2-02 has no test; give a test this id in its meta\n") == _check(project, capsys)


def test_a_test_whose_rule_is_in_no_spec_is_found(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also if the document has it, under no pipeline."""
    (project / "specs" / "SHOP-2-customers-spec.md").unlink()
    main.run(["rules", "--write", "--project-dir", str(project)])
    status, output = _check(project, capsys)

    assert (1, 2) == (status, len(output.splitlines()))
    assert (
        "models/finance/_finance__models.yml: orders_have_a_customer has rule SHOP-2-01, which is not in a spec; describe it in its ticket's spec"
        in output
    )
    assert "## In no spec\n\n### Completeness\n\n**SHOP-2-01.** Every row of fct_orders has a customer.\n" in (
        project / "DATA_QUALITY_RULES.md"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("node", "definition"),
    [
        ({"description": "It is\n so."}, "It is so."),
        ({"raw_code": "{{ config(\n  a=1) }}\nselect 1"}, "Orders are few."),
        ({"test_metadata": {"name": "not_null"}, "column_name": "shop"}, "Every row of fct_orders has a shop."),
        ({"test_metadata": {"name": "unique"}, "column_name": "shop"}, "No two rows of fct_orders have the same shop."),
        (
            {"test_metadata": {"name": "accepted_values", "kwargs": {"values": ["UA", "HA"]}}, "column_name": "shop"},
            "Every shop of fct_orders is one of UA, HA.",
        ),
        (
            {"test_metadata": {"name": "relationships", "kwargs": {"to": "ref('dim_shops')", "field": "id"}}, "column_name": "shop"},
            "Every shop of fct_orders is among the id of ref('dim_shops').",
        ),
        (
            {"test_metadata": {"name": "in_range", "kwargs": {"model": "x", "least": 1}}, "config": {"where": "a > 1"}},
            "Orders are few: in_range on fct_orders, least 1, where a > 1.",
        ),
    ],
    ids=["description", "name", "not_null", "unique", "accepted_values", "relationships", "another kind"],
)
def test_a_test_defines_a_rule_if_no_spec_does(node: dict[str, Any], definition: str) -> None:
    """In the words of its description, or in those of its kind and arguments."""
    whole = {
        "unique_id": "test.shop.orders_are_few",
        "name": "orders_are_few",
        "package_name": "shop",
        "original_file_path": "tests/a.sql",
        "depends_on": {"macros": [], "nodes": ["model.shop.fct_orders"]},
        "config": {},
        **node,
    }
    assert definition == rules._test({"macros": {}}, whole).definition


@pytest.mark.parametrize(
    ("config", "thresholds"),
    [
        ({}, ["fails on any row"]),
        ({"severity": "warn"}, ["warns on any row"]),
        ({"warn_if": "> 5"}, ["fails on any row", "warns if the count is > 5"]),
        (
            {"meta": {"warn_share": 0.01, "error_share": 0.1}},
            ["fails if more than 10 % of the rows do", "warns if more than 1 % of the rows do"],
        ),
        ({"meta": {"on_failure": "quarantine"}}, ["quarantines the rows that break it", "fails on any row"]),
    ],
)
def test_a_rule_describes_its_thresholds(config: dict[str, Any], thresholds: list[str]) -> None:
    """As numbers or shares, and whether rows are quarantined."""
    node = {
        "unique_id": "test.shop.orders_are_few",
        "name": "orders_are_few",
        "package_name": "shop",
        "original_file_path": "tests/a.sql",
        "depends_on": {"macros": [], "nodes": ["model.shop.fct_orders"]},
        "config": config,
    }
    assert thresholds == rules._thresholds(rules._test({"macros": {}}, node))


@pytest.fixture(scope="module")
def app(written: Path, cluster_18: Cluster) -> Iterator[App]:
    """Run the project three times: one rule holds, then fails for two orders, and then for one."""
    with cluster_18.new_database() as server:
        app = App(given_project_dir=written)
        app.server = server
        for named in (9, 2, 3):
            run_dbt(Project(written), server, ["build"], variables={"named": named})
        yield app


def _dpe(app: App, *arguments: str) -> Report:
    report = cast("Report", main.cli.main(args=["rules", *arguments], standalone_mode=False, obj=app))
    check_report(command_of(["rules", *arguments]), report)
    return report


def _timeless(report: Report, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the output for people, without times, and with single spaces."""
    show(report, "text")
    words = [line.split() for line in capsys.readouterr().out.splitlines()]
    return [" ".join("…" if part[:3] == f"{datetime.now(UTC):%Y}"[:3] or part[2:3] == ":" else part for part in line) for line in words]


def test_each_rule_is_listed_with_its_state(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether it holds, since when not, and when it last ran."""
    assert [
        "3 rules, 1 failing",
        "rule dimension severity owner status failures failing since last run",
        "SHOP-1-01 uniqueness error sales pass 0 - … …",
        "SHOP-1-02 validity error sales pass 0 - … …",
        "SHOP-2-01 completeness warn sales warn 1 … … … …",
    ] == [line for line in _timeless(_dpe(app), capsys) if not line.startswith("─")]


def test_a_rule_stops_holding_after_its_last_pass(app: App) -> None:
    """Not at the last run, and not at the first."""
    found = rules.find_all(app.project.manifest, read_all(app.project_dir / "specs"))
    runs = results.histories(app.server, found, runs=30)["SHOP-2-01"]
    state = results.states(app.server, found)["SHOP-2-01"]

    assert [("pass", 0), ("warn", 2), ("warn", 1)] == [(run.status, run.failures) for run in runs]
    assert (runs[1].ran_at, runs[2].ran_at) == (state.since, state.last_run_at)


def test_a_rule_is_shown_with_its_history_and_its_rows(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    """What it requires and why, its last runs, and the rows that break or broke it."""
    lines = _timeless(_dpe(app, "show", "shop-2-01"), capsys)

    assert "SHOP-2-01: Every order has a customer." == lines[0]
    assert {"because someone pays", "severity warn: warns on any row", "spec SHOP-2-customers-spec.md", "status warn"} <= set(lines)
    assert "orders_have_a_customer not_null on customer of fct_orders models/finance/_finance__models.yml" in lines
    assert ["2 ┤ █", "┤ █", "┤ ██", "0 ┤ ██", "·ww"] == lines[lines.index("History") + 1 :][:5]
    assert ["… … … … - order_id 4, customer null", "… … … … … … order_id 3, customer null"] == lines[-2:]


def test_programs_get_the_same(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    """Rules with states, runs and rows, in JSON."""
    assert 0 == show(_dpe(app), "json")
    assert '"rule_id": "SHOP-1-01"' in capsys.readouterr().out
    data = _dpe(app, "show", "SHOP-2-01", "--limit", "1").data
    assert isinstance(data, dict)
    assert ("warn", 1, ["pass", "warn", "warn"]) == (data["status"], data["failures"], [run["status"] for run in data["runs"]])
    assert [{"order_id": 4, "customer": None}] == [row["row"] for row in data["rows"]]


def test_a_rule_that_never_ran_has_no_state(app: App, server: Server) -> None:
    """On a database that no test has seen."""
    found = rules.find_all(app.project.manifest, [])
    new = results.states(server, found)

    assert {("not run", None, None, None)} == {(one.status, one.failures, one.since, one.last_run_at) for one in new.values()}
    assert {} == results.histories(server, found, runs=30)


def test_an_unknown_rule_is_reported(app: App) -> None:
    """With the command that lists the rules."""
    with pytest.raises(UnknownNameError, match=r"SHOP-1-09: no test has a rule with this id; did you mean SHOP-1-0"):
        _dpe(app, "show", "SHOP-1-09")


@pytest.mark.parametrize("arguments", [["--write", "--check"], ["--write", "show", "SHOP-1-01"]])
def test_options_that_exclude_each_other_are_refused(app: App, arguments: list[str]) -> None:
    """Instead of silently ignoring one of them."""
    with pytest.raises(click.UsageError):
        _dpe(app, *arguments)


def _runs(*found: tuple[str, int | None]) -> list[Run]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [Run(start + timedelta(days=day), status, failures) for day, (status, failures) in enumerate(found)]


def test_a_plot_is_as_high_as_its_highest_run() -> None:
    """A run with few failures is visible, too; one with none or without a count is not."""
    assert [
        "1,000 ┤   █",
        "      ┤   █",
        "      ┤  ██",
        "    0 ┤ ▁██",
        "       ·wwFE",
        "       5 runs from 2026-01-01 00:00 to 2026-01-05 00:00; · passed, w warned, F failed, E error",
    ] == plot(_runs(("pass", 0), ("warn", 1), ("warn", 500), ("fail", 1000), ("error", None)))


def test_a_plot_of_a_rule_that_always_held_is_empty() -> None:
    """Nothing is divided by zero failures."""
    assert ["  ┤", "  ┤", "  ┤", "0 ┤", "   ··"] == plot(_runs(("pass", 0), ("pass", 0)))[:-1]
