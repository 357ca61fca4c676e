"""`dpe dbt`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from dpe_cli.cli.app import App
from dpe_cli.errors import UsageError

WITHOUT_SERVER = {"-h", "--help", "-v", "--version"}


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def dbt(app: App, arguments: tuple[str, ...]) -> NoReturn:
    """
    Run dbt with the connection set.

    Everything behind `dpe dbt` is dbt's, its --help as well.
    """
    program = Path(sys.executable).with_name("dbt")
    if not program.exists():
        raise UsageError(f"{program}: is not there; install dbt-core and dbt-postgres where dpe is installed")
    if directory := _option(arguments, "--project-dir"):
        app.given_project_dir = Path(directory).absolute()
    # Asked for help, dbt connects to nothing.
    needs_server = bool(arguments) and not WITHOUT_SERVER.intersection(arguments)
    environment = dict(os.environ)
    if needs_server:
        environment |= app.server.environment()
        environment.setdefault("DBT_PROJECT_DIR", str(app.project_dir))
        if (app.project_dir / "profiles.yml").exists():
            environment.setdefault("DBT_PROFILES_DIR", str(app.project_dir))
    # What was given to dpe itself goes before the environment.
    given = {"DBT_PROJECT_DIR": app.given_project_dir, "DBT_PROFILES_DIR": app.profiles_dir, "DBT_TARGET": app.target}
    environment |= {name: str(value) for name, value in given.items() if value is not None}
    variables = ("--vars", app.vars) if needs_server and app.vars else ()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(program, [str(program), *arguments, *variables], environment)  # noqa: S606 dbt takes our place, with our terminal and its own exit status


def _option(arguments: tuple[str, ...], name: str) -> str | None:
    """Return the value of one of dbt's options, which decides on the server too."""
    for argument, following in zip(arguments, (*arguments[1:], None), strict=True):
        if argument == name:
            return following
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None
