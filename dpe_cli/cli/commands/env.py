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
    Print shell exports that make plain dbt work.

    Use it as in: eval "$(dpe env)". They contain no passwords.
    """
    variables = app.server.environment()
    return Report(data=variables, sections=[Lines([f"export {name}={shlex.quote(value)}" for name, value in variables.items()])])
