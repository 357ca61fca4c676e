"""What the commands do, in which order: extract, build, check, document."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dpe_cli import validation
from dpe_cli.dbt_runner import NodeResult, run_dbt
from dpe_cli.errors import UsageError
from dpe_cli.extracts import ExtractSummary, Progress, analyze, extract
from dpe_cli.postgres import Server
from dpe_cli.project import Project, Rule, Source
from dpe_cli.spec import Spec, read_all
from dpe_cli.spec import find as find_spec
from dpe_cli.validation import Check, Sight

_MANAGED_SCHEMAS = {"dpe", "quality"}
_PARENTS = re.compile(r"^\d*\+")


@dataclass(frozen=True)
class Validation:
    """What was checked, and what the rules said."""

    checks: list[Check]
    results: list[NodeResult]
    sights: list[Sight]

    @property
    def holds(self) -> bool:
        """Whether every check holds and nothing of error severity failed."""
        return all(check.holds for check in self.checks) and not any(result.has_failed for result in self.results)


@dataclass
class RunSummary:
    """What a run did; parts that it did not come to are empty."""

    extracted: ExtractSummary
    validation: Validation | None = None
    site: Path | None = None
    seconds: float = 0.0
    results: list[NodeResult] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether everything was loaded, built and holds."""
        return not self.extracted.refused and self.validation is not None and self.validation.holds


def run(
    project: Project,
    server: Server,
    select: Sequence[str],
    exclude: Sequence[str],
    progress: Progress,
    *,
    full_refresh: bool = False,
    threads: int | None = None,
    jobs: int | None = None,
) -> RunSummary:
    """
    Run the pipeline: extract its sources, build its models and test its rules, check all of it, build the docs site.

    Stops after the extract if a source is refused: models are not built on part of a delivery.

    Raises:
        SpecError: a spec is broken.
        UsageError: nothing is selected.
    """
    started = time.monotonic()
    # A broken one is said before the work, not after it.
    specs = read_all(project.directory / "specs")
    selected = with_parents(select)
    sources = project.sources_among(selected, exclude)
    summary = RunSummary(extract(project, server, sources, progress, full_refresh=full_refresh, jobs=jobs))
    if not summary.extracted.refused:
        analyze(server, sources, summary.extracted)
        build = ["build", *_dbt_selection(selected, exclude), *(["--full-refresh"] if full_refresh else [])]
        build += ["--threads", str(threads)] if threads else []
        with progress.task("dbt build", project.node_count) as advance:
            summary.results = run_dbt(project, server, build, on_node=lambda _name: advance(1))
        summary.validation = _validate(project, server, specs, project.rules, sources, summary.results)
        summary.site = build_docs(project, server, progress)
    summary.seconds = time.monotonic() - started
    return summary


def validate(project: Project, server: Server, wanted: str | None, progress: Progress) -> Validation:
    """
    Check what is there, for one spec or all: counts, rules, row-level security, who sees what, and spec coverage.

    Raises:
        SpecError: a spec is broken, or there is none of this ticket.
    """
    directory = project.directory / "specs"
    specs = [find_spec(directory, wanted)] if wanted else read_all(directory)
    sources = list(project.sources.values())
    rules = project.rules
    selection: list[str] = []
    if wanted:
        spec = specs[0]
        sources = [source for source in sources if source.name in spec.front_matter.sources]
        rules = [rule for rule in rules if rule.rule_id in spec.rules or rule.rule_id.startswith(f"{spec.ticket}-")]
        if not rules:
            raise UsageError(f"{spec.path.name}: no rule of it has a test, so there is nothing to check; give tests its rules' ids")
        selection = ["--select", *sorted({rule.test for rule in rules})]
    with progress.task("dbt test", len(selection) - 1 if wanted else project.test_count) as advance:
        results = run_dbt(project, server, ["test", *selection], on_node=lambda _name: advance(1))
    return _validate(project, server, specs, rules, sources, results)


def _validate(
    project: Project, server: Server, specs: Sequence[Spec], rules: Sequence[Rule], sources: Sequence[Source], results: list[NodeResult]
) -> Validation:
    schemas = {model.schema for model in project.models.values()} | {source.table.schema for source in project.sources.values()}
    with server.connect("transformer") as connection:
        sights = validation.measure_sights(connection, project)
        checks = [
            validation.check_counts(connection, sources),
            validation.check_protection(connection, sorted(schemas | _MANAGED_SCHEMAS)),
            validation.check_sights(sights),
            validation.check_coverage(project, specs),
            validation.check_rules(rules, specs),
        ]
    return Validation(checks, results, sights)


def build_docs(project: Project, server: Server, progress: Progress) -> Path:
    """Build dbt's docs as a single page, and return its path."""
    target = project.directory / "target"
    with progress.task("dbt docs"):
        run_dbt(project, server, ["docs", "generate", "--static", "--target-path", str(target)])
    return target / "static_index.html"


def with_parents(select: Sequence[str]) -> list[str]:
    """Return the selectors such that they name all that the selected is made from as well."""
    parts = [part for one in select for part in one.split()]
    return [part if part.startswith("@") else f"+{_PARENTS.sub('', part)}" for part in parts]


def _dbt_selection(select: Sequence[str], exclude: Sequence[str]) -> list[str]:
    return [*(["--select", *select] if select else []), *(["--exclude", *exclude] if exclude else [])]
