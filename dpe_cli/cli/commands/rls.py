"""`dpe rls`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from dpe_cli.access import checks as rls_check
from dpe_cli.access import project_checks, visibility
from dpe_cli.access.matrix import Cell
from dpe_cli.cli.app import App
from dpe_cli.cli.options import Commands
from dpe_cli.cli.report import Lines, ProgressDisplay, Report, Table
from dpe_cli.outputs import sarif
from dpe_cli.pipeline import protection
from dpe_cli.words import plural


@click.group(cls=Commands)
def rls() -> None:
    """Prove that every relation is protected, and show which roles can see what."""


@rls.command()
@click.option(
    "--sarif",
    "sarif_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write SARIF, for a code host or a security dashboard.",
)
@click.pass_obj
def check(app: App, sarif_file: Path | None) -> Report:
    """Report protection that is weaker than declared; exit status 1 if there is an error."""
    found = protection.check_rls(app.project, app.server)
    checks = project_checks.all_checks()
    if sarif_file is not None:
        sarif.write(sarif_file, checks, found, app.project.files, otherwise="dbt_project.yml")
    errors = sum(finding.severity == "error" for finding in found)
    headline = (
        f"{len(checks)} checks: {plural(errors, 'error')}, {plural(len(found) - errors, 'warning')}"
        if found
        else f"{len(checks)} checks found nothing"
    )
    table = Table(
        ["check", "severity", "where", "what is wrong", "what to do"],
        [[finding.check_id, finding.severity, finding.subject, finding.detail, finding.fix] for finding in found],
    )
    return Report(
        data={"checks": [_described(check) for check in checks], "findings": [asdict(finding) for finding in found]},
        headline=headline,
        sections=[table] if found else [],
        exit_status=1 if errors else 0,
    )


@rls.command()
@click.argument("relations", metavar="[RELATION]...", nargs=-1)
@click.option("--login", "logins", multiple=True, metavar="NAME", help="Also measure what this login sees; may be given several times.")
@click.pass_obj
def matrix(app: App, relations: tuple[str, ...], logins: tuple[str, ...]) -> Report:
    """
    Show how many rows of each relation each role sees, measured by acting as that role.

    RELATION is schema.name, or a pattern such as `sales.*`; by default all are measured. Each role also tries to write a row that
    is not its own. All of it is rolled back. Exit status 1 if a role can see or write what is not declared.
    """
    with ProgressDisplay() as progress:
        cells = protection.measure_rls(app.project, app.server, relations, logins, progress)
    faults = [fault for cell in cells for fault in cell.faults]
    headings, lines = visibility.table(cells)
    return Report(
        data={"cells": [_measured(cell) for cell in cells], "faults": faults},
        headline=f"{plural(len(lines), 'relation')}, {len(cells):,} measurements: "
        + ("every role sees and writes exactly what is declared" if not faults else plural(len(faults), "fault")),
        sections=[Table(headings, lines, title="Rows seen"), *([Lines(["", "Faults", *faults])] if faults else [])],
        exit_status=1 if faults else 0,
    )


def _measured(cell: Cell) -> dict[str, object]:
    return {name: getattr(cell, name) for name in ("relation", "actor", "tenant", "rows", "writes", "faults")}


def _described(check: rls_check.RlsCheck) -> dict[str, str]:
    return {"check_id": check.check_id, "name": check.name, "severity": check.severity, "title": check.title, "why": check.why}
