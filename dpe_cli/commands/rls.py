"""`dpe rls`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from dpe_cli import pipeline, rls_check, sarif
from dpe_cli.app import App
from dpe_cli.report import Report, Table, plural


@click.group()
def rls() -> None:
    """Prove that every relation is protected, and show who can see what."""


@rls.command()
@click.option(
    "--sarif",
    "sarif_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write SARIF as well, for a code host or a security dashboard.",
)
@click.pass_obj
def check(app: App, sarif_file: Path | None) -> Report:
    """Look for what makes protection weaker than what was declared; exit status 1 where there is an error."""
    found = pipeline.check_rls(app.project, app.server)
    checks = rls_check.checks()
    if sarif_file is not None:
        sarif.write(sarif_file, checks, found, app.project.files, otherwise="dbt_project.yml")
    errors = sum(one.severity == "error" for one in found)
    headline = (
        f"{len(checks)} checks: {plural(errors, 'error')}, {plural(len(found) - errors, 'warning')}"
        if found
        else f"{len(checks)} checks found nothing"
    )
    table = Table(
        ["check", "severity", "where", "what is wrong", "what to do"],
        [[one.check_id, one.severity, one.subject, one.detail, one.fix] for one in found],
    )
    return Report(
        data={"checks": [_described(one) for one in checks], "findings": [asdict(one) for one in found]},
        headline=headline,
        sections=[table] if found else [],
        exit_status=1 if errors else 0,
    )


def _described(one: rls_check.RlsCheck) -> dict[str, str]:
    return {"check_id": one.check_id, "name": one.name, "severity": one.severity, "title": one.title, "why": one.why}
