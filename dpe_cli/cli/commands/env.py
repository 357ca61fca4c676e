"""`dpe env`."""

from __future__ import annotations

import shlex

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.report import Lines, Report


@click.command()
@click.pass_obj
def env(app: App) -> Report:
    """
    Print the shell exports with which plain dbt works.

    Use it as: eval "$(dpe env)". Passwords are not among them.
    """
    variables = app.server.environment()
    return Report(data=variables, sections=[Lines([f"export {name}={shlex.quote(value)}" for name, value in variables.items()])])
