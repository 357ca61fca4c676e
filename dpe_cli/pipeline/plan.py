"""What a run would load, build, test and publish, and why it would be refused; finding it out changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dpe_cli.errors import BUG, DpeError, ProjectError
from dpe_cli.ingest import plan as extracts
from dpe_cli.ingest.plan import PlannedExtract
from dpe_cli.pipeline import destinations, failures, macros
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.pipeline.planned_build import PlannedBuild, plan_build
from dpe_cli.pipeline.run import with_parents
from dpe_cli.problems import Problem, of_error, of_message
from dpe_cli.progress import Progress
from dpe_cli.project.project import Project
from dpe_cli.server.server import Server
from dpe_cli.specs import spec


@dataclass(frozen=True)
class RunPlan:
    """
    What a run would do. `has_database` is false if the embedded server, or its database, was never created: then everything is new.

    `errors` say why the run would be refused, or could not publish.
    """

    has_database: bool
    target: str
    publishes: bool
    extracts: list[PlannedExtract] = field(default_factory=list)
    build: PlannedBuild = field(default_factory=PlannedBuild)
    errors: list[Problem] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """The exit status of the plan: a bug counts more than a source that cannot be read, or another error."""
        return BUG if any(extract.is_bug for extract in self.extracts) else int(bool(self.errors))


def plan(
    project: Project, server: Server | None, select: Sequence[str], exclude: Sequence[str], progress: Progress, options: RunOptions
) -> RunPlan:
    """
    Plan a run; `server` is None if the database does not exist yet.

    What a run refuses before it starts is an error of the plan, all of it, and so is a source that cannot be read.

    Raises:
        ProjectError: the project has no name, or no profile of that name.
        ServerError: the server gave up.
    """
    target = project.target
    errors = [of_error(error) for error in spec.read_valid(project.specs_directory)[1]]
    selected = with_parents(select)
    try:
        errors += _refusals(project, server)
        sources = project.sources_among(selected, exclude)
    except DpeError as error:
        # Without the sources, or what is selected, there is nothing to plan.
        return RunPlan(server is not None, target, options.publishes, errors=[*errors, of_error(error)])
    planned = extracts.plan(project.directory, server, sources, progress, full_refresh=options.full_refresh)
    errors += failures.of_sources([extract for extract in planned if extract.error])
    with progress.task("dbt ls"):
        build = plan_build(project, server, selected, exclude)
    errors += [of_message("not_published", stray) for stray in build.strays]
    return RunPlan(server is not None, target, options.publishes, planned, build, errors)


def _refusals(project: Project, server: Server | None) -> list[Problem]:
    """
    Return why a run would not start, in its order and words, except for what is wrong with specs.

    Raises:
        ProjectError: dbt or dpe cannot read the project.
    """
    found: list[Problem] = []
    try:
        macros.check(project)
    except ProjectError as error:
        found.append(of_error(error))
    return [*found, *(of_message("project", fault) for fault in destinations.faults(project, server))]
