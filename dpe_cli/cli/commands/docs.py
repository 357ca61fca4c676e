"""`dpe docs`."""

from __future__ import annotations

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.options import Commands
from dpe_cli.cli.report import Lines, ProgressDisplay, Report
from dpe_cli.pipeline import document


@click.group(cls=Commands)
def docs() -> None:
    """Build the documentation site."""


@docs.command()
@click.pass_obj
def build(app: App) -> Report:
    """
    Build the documentation site, and print its path.

    It is dbt's site with the rules and their history, in one page that needs no server. The page does not
    execute anything that descriptions, code or names contain.
    """
    with ProgressDisplay() as progress:
        site = document.build(app.project, app.server, progress)
    return Report(data={"site": site}, sections=[Lines([str(site)])])
