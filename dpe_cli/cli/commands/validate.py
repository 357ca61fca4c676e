"""`dpe validate`."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from pathlib import Path

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.report import ProgressDisplay, Report, Table
from dpe_cli.outputs import junit
from dpe_cli.pipeline import failures
from dpe_cli.pipeline import validate as pipeline
from dpe_cli.pipeline.validate import Validation
from dpe_cli.project.dbt_runner import HELD, SKIPPED, NodeResult
from dpe_cli.quality.reconciliation import Balance

SUCCESS = "DPE SUCCESS"
FAILED = "DPE FAILED"
_TESTS = ("test", "unit_test")


@click.command()
@click.argument("spec", required=False)
@click.option(
    "--junit",
    "junit_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write JUnit XML, for a CI system.",
)
@click.pass_obj
def validate(app: App, spec: str | None, junit_file: Path | None) -> Report:
    """
    Check counts, rules, row-level security and freshness of the existing tables.

    SPEC is a ticket or a spec's path; by default everything is checked. Runs the tests on the tables as they are, and loads
    and builds nothing. Ends with DPE SUCCESS and exit status 0, or with DPE FAILED and 1; then each line
    below says what failed, and what to do.
    """
    app.verdict_without_result = FAILED
    with ProgressDisplay() as progress:
        validation = pipeline.validate(app.project, app.server, spec, progress)
    if junit_file is not None:
        junit.write(validation, junit_file)
    verdict = SUCCESS if validation.holds else FAILED
    problems = failures.of_validation(validation)
    held = sum(result.status in HELD for result in validation.results)
    return Report(
        data={"verdict": verdict, "errors": problems, **as_data(validation)},
        headline=f"{held:,} of {len(validation.results):,} tests passed",
        sections=[
            *errors_table(validation),
            *rules_table(validation),
            *reconciliation_table(validation),
            checks_table(validation),
            *sights_table(validation),
        ],
        verdict=verdict,
        reasons=problems,
        exit_status=0 if validation.holds else 1,
    )


def as_data(validation: Validation) -> dict[str, object]:
    """Return the JSON form of a validation."""
    return {
        "checks": [{**asdict(check), "holds": check.holds} for check in validation.checks],
        "results": [asdict(result) for result in validation.results],
        "sights": [asdict(visible) for visible in validation.visibility],
        "reconciliation": [
            {"hop": balance.name, "quantity": balance.quantity, **_numbers(balance), "rules": balance.rules, "holds": balance.holds}
            for balance in validation.reconciliation.balances
        ],
        "freshness": [asdict(freshness) for freshness in validation.freshness],
    }


def errors_table(validation: Validation) -> list[Table]:
    """Return the table of models and other nodes that could not be built, in the words of dbt and PostgreSQL."""
    failed = [result for result in validation.results if result.has_failed and result.resource_type not in _TESTS]
    if not failed:
        return []
    return [
        Table(["what", "error"], [[result.resource_type, failures.explanation(result)] for result in failed], title="Could not be built")
    ]


def rules_table(validation: Validation) -> list[Table]:
    """Return the table of rules, and of tests without a rule, that warned or failed."""
    broken = [result for result in validation.results if result.status not in (*HELD, *SKIPPED) and result.resource_type in _TESTS]
    if not broken:
        return []
    return [
        Table(
            ["rule", "severity", "count", "dimension", "details"],
            [
                [
                    result.rule or "-",
                    "warn" if result.status == "warn" else "error",
                    result.failures,
                    result.dimension or "-",
                    _found(result),
                ]
                for result in sorted(broken, key=lambda result: (result.status == "warn", result.rule or "", result.name))
            ],
            title="Rules that did not hold",
        )
    ]


def reconciliation_table(validation: Validation) -> list[Table]:
    """Return the table of what each place delivers and the next one holds; no table if nothing was counted."""
    balances = validation.reconciliation.balances
    if not balances:
        return []
    return [
        Table(
            ["hop", "what", "delivered", "rejected", "deduplicated", "filtered", "expected", "found", "unexplained"],
            [[balance.name, balance.quantity, *_numbers(balance).values()] for balance in balances],
            title="Reconciled",
        )
    ]


def checks_table(validation: Validation) -> Table:
    """Return the table of checks, one line per fault or warning."""
    rows: list[list[object]] = []
    for check in validation.checks:
        findings = [*check.faults, *check.warnings] or [check.detail]
        rows.append([check.name, "FAILED" if not check.holds else "warns" if check.warnings else "holds", findings[0]])
        rows += [["", "", more] for more in findings[1:]]
    return Table(["check", "", ""], rows, title="Checked")


def sights_table(validation: Validation) -> list[Table]:
    """Return the table of how many rows each role sees; no table if nothing that has tenants is published."""
    if not validation.visibility:
        return []
    return [
        Table(
            ["relation", "role", "rows seen"],
            [[visible.relation, visible.who, visible.rows] for visible in validation.visibility],
            title="Rows seen per role",
        )
    ]


def _numbers(balance: Balance) -> dict[str, int | float]:
    amounts = {
        "delivered": balance.delivered,
        "rejected": balance.rejected,
        "deduplicated": balance.deduplicated,
        "filtered": balance.filtered,
        "expected": balance.expected,
        "found": balance.found,
        "unexplained": balance.unexplained,
    }
    return {name: _number(amount) for name, amount in amounts.items()}


def _number(amount: Decimal) -> int | float:
    return int(amount) if amount == int(amount) else float(amount)


def _found(result: NodeResult) -> str:
    if result.resource_type == "test" and result.status in {"warn", "fail"}:
        return result.name.replace("_", " ")
    return failures.explanation(result)
