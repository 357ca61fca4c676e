"""Run the whole pipeline, in its order: extract, build, publish, document, check."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psycopg

from dpe_cli.errors import DpeError
from dpe_cli.ingest.extract import ExtractSummary, analyze, extract
from dpe_cli.pipeline import destinations, document, macros, protection, readers, validate
from dpe_cli.pipeline.build import BuildResult, build_and_publish
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.pipeline.validate import Scope, Validation
from dpe_cli.progress import Progress
from dpe_cli.project.project import Project
from dpe_cli.publishing import neighbours
from dpe_cli.quality import former_ids
from dpe_cli.quality.coverage import rule_tests
from dpe_cli.safe_text.redaction import hide
from dpe_cli.safe_text.server_messages import without_details
from dpe_cli.server.server import Server
from dpe_cli.specs.spec import read_all

T = TypeVar("T")

AS_USUAL = RunOptions()
_PARENTS = re.compile(r"^\d*\+")


@dataclass(frozen=True)
class RunSummary:
    """
    What a run did; parts that it did not reach are empty.

    `without_readers` says that no login can read what it published, and what to do.
    """

    extracted: ExtractSummary
    build: BuildResult = field(default_factory=BuildResult)
    validation: Validation | None = None
    site: Path | None = None
    not_documented: str | None = None
    without_readers: str | None = None
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether everything was loaded, built and documented, and every check holds."""
        is_done = not self.extracted.refused and self.build.not_published is None and self.not_documented is None
        return is_done and self.validation is not None and self.validation.holds


def run(
    project: Project,
    server: Server,
    select: Sequence[str],
    exclude: Sequence[str],
    progress: Progress,
    options: RunOptions = AS_USUAL,
) -> RunSummary:
    """
    Run the pipeline: extract its sources, build its models and test its rules, publish, build the docs site, check the result.

    Stops after the extract if a source is refused: models are not built on part of a delivery. Publishes nothing if a rule of
    error severity fails, or unless `publishes`.

    Raises:
        ProjectError: a model cannot be published where it is declared.
        PublishError: another run is building.
        SpecError: a spec is broken.
        UsageError: nothing is selected.
    """
    started = time.monotonic()
    # What is wrong with the project is reported before the work, not after it.
    specs = read_all(project.specs_directory)
    macros.check(project)
    destinations.check(project, server)
    selected = with_parents(select)
    protection.refuse_code_in_sources(project, server, project.selected(selected, exclude))
    neighbours.register(server, protection.own_schemas(project))
    if server.is_embedded:
        # Elsewhere, `dpe bootstrap` did so as the administrator.
        former_ids.rename(server, lambda: project.manifest)
    sources = project.sources_among(selected, exclude)
    extracted = extract(
        project.directory,
        server,
        sources,
        progress,
        full_refresh=options.full_refresh,
        jobs=options.jobs,
        ends_sessions=options.ends_sessions,
    )
    if extracted.refused:
        return RunSummary(extracted, seconds=time.monotonic() - started)
    analyze(server, sources, extracted)
    built = build_and_publish(project, server, selected, exclude, progress, options)
    # dbt renders the models once more for its docs, which runs their Jinja: what it may have changed is checked afterwards.
    site, not_documented = None, None
    if options.documents:
        _, not_documented = _attempt(server, lambda: document.generate(project, server, progress))
    is_generated = options.documents and not_documented is None
    cells = protection.measure_published(project, server, progress, only_of_tenants=not is_generated, measured=built.measured)
    validation = validate.check(project, server, Scope(specs, rule_tests(project.manifest), sources), built, cells, progress)
    if is_generated:
        site, not_documented = _attempt(server, lambda: document.write(project, server, specs, cells))
    unread = readers.without(project, server) if built.exchanged else None
    return RunSummary(extracted, built, validation, site, not_documented, unread, time.monotonic() - started)


def _attempt(server: Server, step: Callable[[], T]) -> tuple[T | None, str | None]:
    """
    Take a step to the docs site; return its result, or why it could not be taken.

    The present state is checked anyway, and the run fails.
    """
    try:
        return step(), None
    except DpeError as error:
        return None, str(error)
    except psycopg.Error as error:
        return None, hide(f"{server}: the docs cannot be built ({without_details(str(error))}); correct it, then run `dpe docs build`")


def with_parents(select: Sequence[str]) -> list[str]:
    """Return the selectors, extended to everything that the selection is built from."""
    parts = [part for argument in select for part in argument.split()]
    return [part if part.startswith("@") else f"+{_PARENTS.sub('', part)}" for part in parts]
