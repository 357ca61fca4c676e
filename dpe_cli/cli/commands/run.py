"""`dpe run`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.commands import run_plan
from dpe_cli.cli.commands.extract import as_data as extract_data
from dpe_cli.cli.commands.extract import dropped_lines, loaded_table, missing_lines, warning_lines
from dpe_cli.cli.commands.publish import as_data as exchange_data
from dpe_cli.cli.commands.publish import sections as exchange_sections
from dpe_cli.cli.commands.validate import FAILED, SUCCESS, checks_table, errors_table, reconciliation_table, rules_table, sights_table
from dpe_cli.cli.commands.validate import as_data as validation_data
from dpe_cli.cli.options import end_sessions_option, exclude_option, jobs_option, select_argument, select_option
from dpe_cli.cli.report import Facts, Lines, ProgressDisplay, Report, Table
from dpe_cli.outputs import junit
from dpe_cli.outputs.notification import on_outcome
from dpe_cli.outputs.origin import find_origin
from dpe_cli.pipeline import failures
from dpe_cli.pipeline import run as pipeline
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.project.dbt_runner import HELD, SKIPPED, WARNED, NodeResult
from dpe_cli.project.owners import owners
from dpe_cli.publishing.builds import Publication
from dpe_cli.words import duration, plural


@click.command()
@select_argument
@select_option
@exclude_option
@click.option("--plan", "plans", is_flag=True, help="Only show what a run would load, build, test and publish; changes nothing.")
@click.option("--full-refresh", is_flag=True, help="Reload every file and rebuild every model from scratch.")
@click.option("--threads", type=click.IntRange(1), help="Number of dbt threads; by default as in profiles.yml.")
@jobs_option
@click.option(
    "--no-publish",
    is_flag=True,
    help="Do not publish the build; `dpe diff` compares it with the published version, `dpe publish` publishes it.",
)
@end_sessions_option
@click.option("--no-docs", is_flag=True, help="Do not rebuild the docs site; `dpe docs build` builds it.")
@click.option(
    "--junit",
    "junit_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write JUnit XML, for a CI system, if the run gets as far as its checks.",
)
@click.option("--notify", metavar="URL", help="Webhook to call when a run fails, and when it recovers (DPE_RUN_NOTIFY).")
@click.option("--notify-link", metavar="URL", help="Page that a notification links to, such as the docs site; by default the CI job's.")
@click.pass_obj
def run(
    app: App,
    *,
    select: tuple[str, ...],
    more_select: tuple[str, ...],
    exclude: tuple[str, ...],
    plans: bool,
    full_refresh: bool,
    threads: int | None,
    jobs: int | None,
    no_publish: bool,
    end_sessions: bool,
    no_docs: bool,
    junit_file: Path | None,
    notify: str | None,
    notify_link: str | None,
) -> Report:
    """
    Run the whole pipeline: extract, build, publish, check and document.

    SELECT is dbt's selection syntax; the selection is built with everything upstream of it. By default, everything is built.
    Ends with DPE SUCCESS and exit status 0, or with DPE FAILED and 1; then each line
    below says what failed, and what to do.

    With --plan, nothing runs: shows which files are new, which relations would be built and who will see them, and names
    everything for which the run would be refused; then the exit status is 1. Queries are not asked.
    """
    selected = [*select, *more_select]
    if plans:
        return run_plan.show(app, selected, exclude, RunOptions(full_refresh=full_refresh, publishes=not no_publish))
    app.verdict_without_result = FAILED
    with (
        ProgressDisplay() as progress,
        on_outcome(
            notify,
            lambda: app.server,
            [*selected, *(f"-{selector}" for selector in exclude)],
            progress.say,
            origin=lambda: find_origin(lambda: app.project_dir, lambda: app.resolve_server(start=False), notify_link),
            owners=lambda: owners(app.project.manifest),
        ) as ended,
    ):
        summary = ended(
            pipeline.run(
                app.project,
                app.server,
                selected,
                exclude,
                progress,
                RunOptions(
                    full_refresh=full_refresh,
                    threads=threads,
                    jobs=jobs,
                    publishes=not no_publish,
                    documents=not no_docs,
                    ends_sessions=end_sessions,
                ),
            )
        )
    if junit_file is not None and summary.validation:
        junit.write(summary.validation, junit_file)
    return _report(summary)


def _report(summary: RunSummary) -> Report:
    sections: list[Facts | Lines | Table] = [
        *loaded_table(summary.extracted),
        *missing_lines(summary.extracted),
        *warning_lines(summary.extracted),
    ]
    if summary.build.results:
        sections.append(_built(summary))
    if summary.build.publication:
        sections.append(Facts(_published(summary, summary.build.publication), title="Published"))
    if summary.build.exchanged:
        sections += exchange_sections(summary.build.exchanged)
    if summary.build.quarantined:
        kept_out = [[count.rule, count.model, count.rows] for count in summary.build.quarantined]
        sections.append(Table(["rule", "excluded from", "rows"], kept_out, title="In quarantine"))
    if summary.validation:
        sections += [
            *errors_table(summary.validation),
            *rules_table(summary.validation),
            *reconciliation_table(summary.validation),
            checks_table(summary.validation),
            *sights_table(summary.validation),
        ]
    if summary.site:
        sections.append(Facts({"docs": summary.site}, title="Documented"))
    rows = sum(extract.rows_loaded for extract in summary.extracted.extracts)
    problems = failures.of_run(summary)
    return Report(
        data={
            "verdict": SUCCESS if summary.holds else FAILED,
            "errors": problems,
            "seconds": summary.seconds,
            "extracted": extract_data(summary.extracted),
            "publication": asdict(summary.build.publication) if summary.build.publication else None,
            "not_published": summary.build.not_published,
            **exchange_data(summary.build.exchanged),
            "quarantined": [asdict(count) for count in summary.build.quarantined],
            "validation": validation_data(summary.validation) if summary.validation else None,
            "docs": summary.site,
            "not_documented": summary.not_documented,
            "without_readers": summary.without_readers,
        },
        headline=f"{plural(rows, 'row')} loaded, {_done(summary)} in {duration(summary.seconds)}",
        sections=[*sections, *_stopped(summary), *dropped_lines(summary.extracted), *_without_readers(summary)],
        verdict=SUCCESS if summary.holds else FAILED,
        reasons=problems,
        exit_status=0 if summary.holds else max(1, summary.extracted.exit_status),
    )


def _stopped(summary: RunSummary) -> list[Lines]:
    """Say why nothing was built or documented."""
    if summary.not_documented:
        return [Lines(["", f"Not documented: {summary.not_documented}"])]
    refused = [extract.source for extract in summary.extracted.refused]
    if not refused:
        return []
    return [Lines(["", f"Not built: {', '.join(refused)} could not be extracted (see above); nothing changes for readers."])]


def _without_readers(summary: RunSummary) -> list[Lines]:
    return [Lines(["", summary.without_readers])] if summary.without_readers else []


def _published(summary: RunSummary, made: Publication) -> dict[str, object]:
    """Say what was published."""
    relations = plural(len(made.relations), "relation")
    if summary.build.not_published:
        return {"not published": summary.build.not_published, "readers see": "still the previous version"}
    if made.status == "built":
        return {"not yet": f"{relations}; `dpe diff` shows what would change, `dpe publish` publishes"}
    return {relations: f"at once, as publication {made.publication_id}; `dpe publish --undo` undoes it"}


def _done(summary: RunSummary) -> str:
    skipped = sum(result.status in SKIPPED for result in summary.build.results)
    done = f"{plural(len(summary.build.results) - skipped, 'node')} built and tested"
    return f"{done}, {skipped:,} skipped" if skipped else done


def _built(summary: RunSummary) -> Table:
    """Return the table of what dbt did, one line per node type."""
    kinds: dict[str, list[NodeResult]] = {}
    for result in summary.build.results:
        kinds.setdefault(result.resource_type, []).append(result)
    return Table(
        ["what", "count", "well", "warned", "failed", "skipped", "seconds"],
        [
            [
                kind,
                len(results),
                *(sum(result.status in statuses for result in results) for statuses in (HELD, WARNED)),
                sum(result.has_failed for result in results),
                sum(result.status in SKIPPED for result in results),
                round(sum(result.seconds for result in results), 1),
            ]
            for kind, results in sorted(kinds.items())
        ],
        title="Built",
    )
