"""`dpe dbt`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from dpe_cli.cli.app import App
from dpe_cli.errors import UsageError
from dpe_cli.project import package_tests

ASKING = {"-h", "--help", "-v", "--version"}
# Commands of dbt that do not connect, and need no profile.
WITHOUT_SERVER = {"clean", "deps"}


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def dbt(app: App, arguments: tuple[str, ...]) -> NoReturn:
    """
    Run dbt with the connection set.

    Everything after `dpe dbt` goes to dbt, including --help.
    """
    program = Path(sys.executable).with_name("dbt")
    if not program.exists():
        raise UsageError(f"{program}: does not exist; install dbt-core and dbt-postgres where dpe is installed")
    if directory := _option(arguments, "--project-dir"):
        app.given_project_dir = Path(directory).absolute()
    if directory := _option(arguments, "--profiles-dir"):
        app.profiles_dir = Path(directory).absolute()
    app.target = _option(arguments, "--target", "-t") or app.target
    if profile := _option(arguments, "--profile"):
        os.environ["DBT_PROFILE"] = profile
    # When asked for help, dbt does not connect, and need not be in a project.
    needs_project = bool(arguments) and not ASKING.intersection(arguments)
    environment = dict(os.environ)
    if needs_project and not WITHOUT_SERVER.intersection(arguments[:1]):
        environment |= app.server.environment()
    if needs_project:
        environment.setdefault("DBT_PROJECT_DIR", str(app.project_dir))
        if (app.project_dir / "profiles.yml").exists():
            environment.setdefault("DBT_PROFILES_DIR", str(app.project_dir))
    # Options given to dpe itself take precedence over the environment.
    given = {"DBT_PROJECT_DIR": app.given_project_dir, "DBT_PROFILES_DIR": app.profiles_dir, "DBT_TARGET": app.target}
    environment |= {name: str(value) for name, value in given.items() if value is not None}
    variables = ("--vars", app.vars) if needs_project and app.vars else ()
    sys.stdout.flush()
    sys.stderr.flush()
    # dbt replaces this process, and keeps its terminal. Python does not import from the project's directory (-P).
    os.execve(sys.executable, [sys.executable, "-P", "-m", package_tests.__name__, *arguments, *variables], environment)  # noqa: S606


def _option(arguments: tuple[str, ...], *names: str) -> str | None:
    """Return the value of one of dbt's options that also selects the server, or what its sessions work for."""
    for argument, following in zip(arguments, (*arguments, None)[1:], strict=True):
        if argument in names:
            return following
        name, equals, value = argument.partition("=")
        if equals and name in names:
            return value
    return None
