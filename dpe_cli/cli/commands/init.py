"""`dpe init`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.commands.adopt import adopt
from dpe_cli.cli.report import Lines, Report
from dpe_cli.errors import UsageError
from dpe_cli.safe_text.visible_text import in_message, message
from dpe_cli.words import plural

if TYPE_CHECKING:
    from dpe_cli.infer.inference import InferredTable

_QUESTION = """\
Who may see which rows of {}? Enter
{}  shared    every reader sees all rows
  private   no reader sees any
or nothing, to decide later"""

# The options of new projects, by their parameters.
_NEW = {"name": "--name", "location": "--from", "table": "--table", "with_docker": "--docker"}


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="[DIRECTORY]", required=False)
@click.option("--name", metavar="NAME", help="Name of the dbt project; by default derived from the directory's name.")
@click.option("--from", "location", metavar="LOCATION", help="Start with your own data: a file, a URL or a database.")
@click.option("--table", metavar="TABLE", help="The database table, with its schema if it needs one; only with --from.")
@click.option("--docker", "with_docker", is_flag=True, help="Add a Dockerfile and a Compose file.")
@click.option("--here", is_flag=True, help="Adopt the existing dbt project in this directory, instead of creating one.")
@click.option("--write", is_flag=True, help="With --here: make the changes, instead of only showing them.")
@click.option(
    "--rls",
    "answers",
    multiple=True,
    metavar="ANSWER",
    help="Who may see which rows: the tenant column, `shared` if every reader may see all, or `private`. With --here: MODEL=ANSWER, once "
    "for each model.",
)
@click.option(
    "--readers",
    multiple=True,
    metavar="TARGET[=ROLE,…]",
    help="With --here: a target whose tables readers may see, and the readers' roles; by default dpe_reader and dpe_masked_reader.",
)
@click.pass_obj
def init(app: App, /, directory: Path | None, *, here: bool, **options: Any) -> Report:
    """
    Create a project that runs immediately, or add dpe to an existing one.

    Creates DIRECTORY if it does not exist; otherwise it must be empty, except for .git. The project has a small pipeline: a source with its
    data, a model in each layer, a rule, and two tenants. With --from, it has your data instead: dpe infers the source, as
    `dpe source infer` does, writes a staging model and a mart, and asks one question, unless --rls answers it: who may see which
    rows? Needs no server: the first `dpe run` in the project starts one.

    With --here, shows what adding dpe to an existing dbt project takes: which files would change, what you have to decide, and what dpe
    would refuse. Only --write changes files. Models without an answer stay private; repeat the command to add answers, such as --rls
    fct_orders=country. It looks up in the profile's database who can read the models today, and changes nothing there.
    """
    if here:
        for option in ("name", "location", "table", "with_docker"):
            if options[option]:
                raise UsageError(f"{_NEW[option]}: is about a new project; omit it, or --here, which adopts the project that exists")
        if directory is not None:
            raise UsageError(f"{directory}: --here adopts the project in this directory; change to it, or name it with --project-dir")
        return adopt(app, write=options["write"], answers=options["answers"], readers=options["readers"])
    if directory is None:
        raise UsageError("DIRECTORY: is missing; name one, as in `dpe init shop`, or adopt an existing project with --here")
    for option in ("write", "readers"):
        if options.pop(option):
            raise UsageError(f"--{option}: is about an existing project; use it with --here")
    return _create(app, directory, **options)


def _create(
    app: App, directory: Path, *, name: str | None, location: str | None, table: str | None, with_docker: bool, answers: Sequence[str]
) -> Report:
    from dpe_cli.init import new, own_data

    if location is None and (given := [option for option, value in (("--table", table), ("--rls", answers)) if value]):
        raise UsageError(f"{given[0]}: is about your own data; name it with --from")
    if len(answers) > 1:
        raise UsageError("--rls: is given more than once, but a new project has one question; give one answer")
    project = new.check(directory, name)
    found = _inferred(location, table, directory) if location else None
    rls = _answer(app, found, next(iter(answers), None)) if found else None
    pipeline = own_data.files(found, project, rls) if found else None
    made = new.write(directory, project, pipeline=pipeline, with_docker=with_docker)
    place = shlex.quote(str(directory))
    lines = [f"Run it: cd {place} && dpe run", "README.md describes its layout, and the next steps."]
    for path in own_data.open_questions(pipeline or {}):
        lines[0] = f"Who may see which rows? Answer in {path}, then run it: cd {place} && dpe run"
    return Report(
        data={"project": made.name, "directory": str(directory), "files": list(made.files), "rls": rls},
        headline=f"{directory}: the project {made.name}, {plural(len(made.files), 'file')}",
        sections=[Lines(lines)],
    )


def _inferred(location: str, table: str | None, directory: Path) -> InferredTable:
    from dpe_cli.infer import naming
    from dpe_cli.infer.request import Request, inferred

    return inferred(Request(location=location, table=table, name=naming.name_of_file(location)), directory.absolute())


def _answer(app: App, found: InferredTable, answer: str | None) -> Mapping[str, Any] | None:
    """Return the declaration for the given answer, or for one that is asked for in a terminal; None if the question stays open."""
    from dpe_cli.init import own_data

    if answer is None and app.output == "text" and sys.stdin.isatty() and sys.stdout.isatty():
        candidates = [in_message(name) for name in own_data.tenant_columns(found)]
        columns = f"  the column that says whose row it is: {', '.join(candidates)}\n" if candidates else ""
        question = _QUESTION.format(in_message(found.name), columns)
        return click.prompt(question, default="", show_default=False, value_proc=lambda given: _declaration(found, given))
    return own_data.declaration(found, answer) if answer else None


def _declaration(found: InferredTable, answer: str) -> Mapping[str, Any] | None:
    """Return the declaration for an answer in a terminal; a wrong one is asked for again."""
    from dpe_cli.init import own_data

    try:
        return own_data.declaration(found, answer) if answer else None
    except UsageError as error:
        raise click.BadParameter(message(str(error))) from error
