"""`dpe init`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.report import Lines, Report
from dpe_cli.errors import UsageError
from dpe_cli.words import plural

if TYPE_CHECKING:
    from dpe_cli.infer.inference import InferredTable

_QUESTION = (
    "Who may see which rows of {}? Enter {}`shared` (every reader sees all rows) or `private` (no reader does), or nothing to decide later"
)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIRECTORY")
@click.option("--name", metavar="NAME", help="Name of the dbt project; by default derived from the directory's name.")
@click.option("--from", "location", metavar="LOCATION", help="Start with your own data: a file, a URL or a database.")
@click.option("--table", metavar="TABLE", help="The database table, with its schema if it needs one; only with --from.")
@click.option(
    "--rls",
    "answer",
    metavar="ANSWER",
    help="Who may see which rows: the tenant column, `shared` if every reader may see all, or `private`; only with --from.",
)
@click.option("--docker", "with_docker", is_flag=True, help="Add a Dockerfile and a Compose file.")
@click.pass_obj
def init(app: App, /, directory: Path, name: str | None, location: str | None, **options: Any) -> Report:
    """
    Create a project that you can run immediately.

    Creates DIRECTORY if it does not exist; otherwise it must be empty, except for .git. The project has a small pipeline: a source with its
    data, a model in each layer, a rule, and two tenants. With --from, it has your data instead: the source is inferred, as by
    `dpe source infer`, and a staging model and a mart are written. One question is left, unless --rls answers it: who may
    see which rows? Needs no server: the first `dpe run` in the project starts one.
    """
    from dpe_cli.init import new, own_data

    if location is None and (given := [option for option, value in (("--table", options["table"]), ("--rls", options["answer"])) if value]):
        raise UsageError(f"{given[0]}: is about your own data; name it with --from")
    project = new.check(directory, name)
    found = _inferred(location, options["table"], directory) if location else None
    rls = _answer(app, found, options["answer"]) if found else None
    pipeline = own_data.files(found, project, rls) if found else None
    made = new.write(directory, project, pipeline=pipeline, with_docker=options["with_docker"])
    lines = [f"Run it: cd {directory} && dpe run", "README.md describes its layout, and the next steps."]
    for path in own_data.open_questions(pipeline or {}):
        lines[0] = f"Who may see which rows? Answer in {path}, then run it: cd {directory} && dpe run"
    return Report(
        data={"project": made.name, "directory": str(directory), "files": list(made.files), "rls": rls},
        headline=f"{directory}: the project {made.name}, {plural(len(made.files), 'file')}",
        sections=[Lines(lines)],
    )


def _inferred(location: str, table: str | None, directory: Path) -> InferredTable:
    from dpe_cli.infer.request import Request, inferred

    return inferred(Request(location=location, table=table), directory.absolute())


def _answer(app: App, found: InferredTable, answer: str | None) -> Mapping[str, Any] | None:
    """Return the declaration for the given answer, or for one that is asked for in a terminal; None if the question stays open."""
    from dpe_cli.init import own_data

    if answer is None and app.output == "text" and sys.stdin.isatty() and sys.stdout.isatty():
        candidates = own_data.tenant_columns(found)
        columns = f"the tenant column, which says whose row it is ({', '.join(candidates)}), " if candidates else ""
        answer = click.prompt(_QUESTION.format(found.name, columns), default="", show_default=False) or None
    return own_data.declaration(found, answer) if answer else None
