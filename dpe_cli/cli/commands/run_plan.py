"""`dpe run --plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click
from click.core import ParameterSource

from dpe_cli.cli.app import App
from dpe_cli.cli.report import Facts, Lines, ProgressDisplay, Report, Table, shortened
from dpe_cli.errors import UsageError
from dpe_cli.ingest.plan import PlannedExtract
from dpe_cli.pipeline import plan as pipeline
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.pipeline.plan import RunPlan
from dpe_cli.pipeline.planned_build import PlannedBuild
from dpe_cli.words import plural

# What they are about does not happen. The others say how to run, and have no effect.
_MEANINGLESS = {"end_sessions": "--end-sessions", "notify": "--notify", "notify_link": "--notify-link"}


def show(app: App, select: Sequence[str], exclude: Sequence[str], options: RunOptions) -> Report:
    """
    Plan a run, and show the plan.

    Raises:
        UsageError: another option on the command line is about something that a plan does not do.
    """
    context = click.get_current_context()
    for name, option in _MEANINGLESS.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{option}: has no effect with --plan, which runs nothing; leave one of the two out")
    with ProgressDisplay() as progress:
        found = pipeline.plan(app.project, app.existing_server(), select, exclude, progress, options)
    return _report(found)


def _report(found: RunPlan) -> Report:
    build = found.build
    sections: list[Facts | Lines | Table] = []
    if not found.has_database:
        sections.append(Lines(["The database does not exist yet, so everything is new; `dpe run` creates it."]))
    if found.extracts:
        sections.append(_loads(found.extracts))
    if build.relations:
        sections.append(_relations(build))
    if build.left_over:
        rows = [[left.relation, "removed with the publication" if left.is_removed else "stays as it is"] for left in build.left_over]
        sections.append(Table(["relation", "then"], rows, title="No longer part of the project"))
    if build.tests or build.skipped:
        sections.append(_tests(build))
    sections.append(Facts(_publication(found), title="Would publish"))
    if found.errors:
        # All of them, unlike the reasons of a verdict.
        sections.append(Lines(["", "A run would fail:", *(f"- {problem}" for problem in found.errors)]))
    return Report(
        data={
            "errors": found.errors,
            "has_database": found.has_database,
            "target": found.target,
            "publishes": found.publishes,
            "extracts": [_extract_data(extract) for extract in found.extracts],
            **asdict(build),
        },
        headline=f"{_headline(found)}; nothing was changed",
        sections=sections,
        exit_status=found.exit_status,
    )


def _headline(found: RunPlan) -> str:
    if found.errors:
        return f"A run would fail, for {plural(len(found.errors), 'reason')}"
    files = sum(extract.loads for extract in found.extracts if extract.files is not None)
    queries = sum(_is_query(extract) for extract in found.extracts)
    asked = f" and ask {plural(queries, 'query', 'queries')}" if queries else ""
    relations, tests = plural(len(found.build.relations), "relation"), plural(len(found.build.tests), "test")
    return f"A run would load {plural(files, 'file')}{asked}, build {relations} and run {tests}"


def _loads(extracts: Sequence[PlannedExtract]) -> Table:
    """Return the table of what would be loaded, one line per source."""
    return Table(
        ["source", "", "location", "how", "files", "new", "changed", "moved", "staging table"],
        [
            [
                extract.source,
                _status(extract),
                extract.location,
                extract.how,
                extract.files,
                *((extract.new, extract.changed, extract.moved) if extract.files is not None else (None, None, None)),
                f"{extract.relation}, {extract.staging}" if extract.staging in {"new", "rebuilt"} else extract.relation,
            ]
            for extract in extracts
        ],
        title="Would load",
    )


def _status(extract: PlannedExtract) -> str:
    """Return what would happen to a source, in a word or a few."""
    if extract.error:
        return "bug" if extract.is_bug else "refused"
    if extract.files is None:
        return "asked for everything" if extract.starts_at is None else f"asked from {shortened(extract.starts_at)} on"
    if extract.loads:
        return f"{extract.loads:,} to load"
    return "rows to remove" if extract.changed else "nothing new"


def _is_query(extract: PlannedExtract) -> bool:
    return extract.files is None and not extract.error


def _relations(build: PlannedBuild) -> Table:
    """Return the table of what would be built, in its order, each followed by its masked view and its quarantine."""
    rows: list[list[object]] = []
    for relation in build.relations:
        then = "new" if relation.change == "new" else "replaces a version"
        rows.append([relation.relation, f"{relation.resource_type} {relation.name}", relation.materialization, then, relation.seen_by])
        rows += [[companion, "", "", "", ""] for companion in relation.companions]
    return Table(["relation", "made by", "as", "then", "seen by"], rows, title="Would build")


def _tests(build: PlannedBuild) -> Facts:
    skipped = {"skipped, because they read models that have never been published": ", ".join(build.skipped)} if build.skipped else {}
    return Facts({"tests": len(build.tests), "rules": ", ".join(build.rules) or "none", **skipped}, title="Would test")


def _publication(found: RunPlan) -> dict[str, object]:
    """Say what would be published, if everything passes."""
    if not found.publishes:
        return {"nothing": "the build waits; `dpe diff` shows what would change, `dpe publish` publishes"}
    if not found.build.relations:
        return {"nothing": "no relation is built"}
    if found.errors:
        return {"nothing": "the run would fail (see below)"}
    count = sum(1 + len(relation.companions) for relation in found.build.relations)
    return {plural(count, "relation"): "at once, if every rule of severity error holds"}


def _extract_data(extract: PlannedExtract) -> dict[str, object]:
    # The errors say whether it is a bug, and whether to try again.
    return {name: value for name, value in asdict(extract).items() if name not in {"is_bug", "retryable"}}
