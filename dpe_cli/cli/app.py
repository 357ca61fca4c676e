"""What every command gets: the global options of `dpe`, and the project and server that they select."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from dpe_cli.errors import UsageError
from dpe_cli.project import dotenv, package

# `dpe --help` imports this module, so PostgreSQL and dbt are imported only where they are used.
if TYPE_CHECKING:
    from dpe_cli.project.project import Project
    from dpe_cli.server.server import Server

PROJECT_FILE = "dbt_project.yml"


@dataclass
class App:
    """The options of `dpe`, given before or after the command's name."""

    given_project_dir: Path | None = None
    profiles_dir: Path | None = None
    target: str | None = None
    vars: str | None = None
    output: str = "text"
    debug: bool = False
    # What a command that ends with a verdict prints if it has no result: it raised, or was ended.
    verdict_without_result: str = ""

    @cached_property
    def project_dir(self) -> Path:
        """
        The project's directory: the given one, or the nearest one upwards from here. Loads its `.env`, and links dpe's dbt package.

        Raises:
            UsageError: there is none, or its `.env` cannot be read.
            ProjectError: something else is in the place of that link.
        """
        from dpe_cli.safe_text import log

        log.guard()
        directory = self._find_project_dir()
        dotenv.load(directory)
        package.keep(directory)
        return directory

    def _find_project_dir(self) -> Path:
        if self.given_project_dir is not None:
            if not (self.given_project_dir / PROJECT_FILE).is_file():
                raise UsageError(f"{self.given_project_dir}: contains no {PROJECT_FILE}; give a dbt project's directory with --project-dir")
            return self.given_project_dir
        here = Path.cwd()
        for directory in (here, *here.parents):
            if (directory / PROJECT_FILE).is_file():
                return directory
        raise UsageError(f"{here}: no {PROJECT_FILE} here or in a parent directory; change to the project, or give it with --project-dir")

    @cached_property
    def project(self) -> Project:
        """The project as dbt parses it."""
        from dpe_cli.project.project import Project

        return Project(self.project_dir, profiles_dir=self.profiles_dir, target=self.target, variables=self.vars)

    @cached_property
    def server(self) -> Server:
        """
        The server that the project uses: running and bootstrapped.

        Raises:
            ServerError: it is not reachable, or it is an external server that is not bootstrapped.
        """
        from dpe_cli.server.bootstrap import ensure_bootstrapped

        server = self.identified_server()
        ensure_bootstrapped(server)
        return server

    def identified_server(self) -> Server:
        """
        Return the server, bootstrapped or not. Its sessions work for the project and its target; outside of a project, for none.

        Raises:
            ProjectError: the name of the project or of its target cannot be found out.
        """
        server = self.resolve_server()
        return self._identified(server) if self._is_in_project() else server

    def existing_server(self) -> Server | None:
        """
        Return the server as `server` does, but create nothing: None if the embedded server has no ledger yet, or was never started.

        Raises:
            ServerError: it is not reachable, not bootstrapped, or was bootstrapped by another version.
        """
        from dpe_cli.server.bootstrap import has_ledger
        from dpe_cli.server.server import existing

        found = existing(self.project_dir)
        return self._identified(found) if found is not None and has_ledger(found) else None

    def _identified(self, server: Server) -> Server:
        from dpe_cli.project.identity import identify

        identity = identify(self.project_dir, profiles_dir=self.profiles_dir, target=self.target, variables=self.vars)
        return replace(server, project=identity.project, target=identity.target)

    def resolve_server(self, *, start: bool = True) -> Server:
        """Return the server, bootstrapped or not, for what has nothing to do with a project's ledger."""
        from dpe_cli.server.server import resolve

        # The embedded server belongs to a project; one named by PGHOST does not.
        needs_project = not os.environ.get("PGHOST")
        return resolve(self.project_dir if needs_project or self._is_in_project() else Path.cwd(), start=start)

    def _is_in_project(self) -> bool:
        try:
            self._find_project_dir()
        except UsageError:
            return False
        return True


def global_options(command: click.Command, *, from_environment: bool = False) -> click.Command:
    """
    Make a command accept the options of `dpe`, so that they may be given before or after the command's name.

    An option after the name wins. Environment variables (DPE_OUTPUT and the like) are read once, by `dpe` itself.
    """
    directory = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
    options: list[dict[str, Any]] = [
        {
            "param_decls": ["--project-dir", "given_project_dir"],
            "type": directory,
            "envvar": ["DPE_PROJECT_DIR", "DBT_PROJECT_DIR"],
            "help": f"The dbt project; by default the nearest directory upwards that contains {PROJECT_FILE}.",
        },
        {
            "param_decls": ["--profiles-dir"],
            "type": directory,
            "envvar": ["DPE_PROFILES_DIR", "DBT_PROFILES_DIR"],
            "help": "The directory of dbt's profiles.yml; by default the project, if it has one, otherwise where dbt looks for it.",
        },
        {"param_decls": ["--target"], "envvar": ["DPE_TARGET", "DBT_TARGET"], "help": "The target in profiles.yml."},
        {"param_decls": ["--vars"], "envvar": ["DPE_VARS"], "help": "Variables for dbt, in YAML."},
        {
            "param_decls": ["--output"],
            "type": click.Choice(["text", "json"]),
            "envvar": ["DPE_OUTPUT"],
            "help": "How to show the result: text for people (default), json for machines.",
        },
        {"param_decls": ["--debug"], "is_flag": True, "envvar": ["DPE_DEBUG"], "help": "Show the traceback of an error."},
    ]
    taken = {parameter.name for parameter in command.params}
    for option in options:
        if not from_environment:
            del option["envvar"]
        made = click.Option(**option, expose_value=False, allow_from_autoenv=False, callback=_remember)
        if made.name not in taken:
            command.params.append(made)
    return command


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    if option.name and context.get_parameter_source(option.name) not in {ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP}:
        setattr(context.find_object(App), option.name, value)
        if option.name == "debug" and value:
            from dpe_cli.safe_text import log

            log.show()
