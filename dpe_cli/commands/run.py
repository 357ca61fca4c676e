"""`dpe run`."""

from __future__ import annotations

from collections import Counter

import click

from dpe_cli import pipeline
from dpe_cli.app import App
from dpe_cli.commands.extract import as_data as extract_data
from dpe_cli.commands.extract import dropped_lines, loaded_table
from dpe_cli.commands.options import exclude_option, jobs_option, select_argument, select_option
from dpe_cli.commands.validate import FAILED, SUCCESS, checks_table, rules_table, sights_table
from dpe_cli.commands.validate import as_data as validation_data
from dpe_cli.pipeline import RunSummary
from dpe_cli.report import Facts, Progress, Report, Table, duration, plural


@click.command()
@select_argument
@select_option
@exclude_option
@click.option("--full-refresh", is_flag=True, help="Load every file and rebuild every model anew.")
@click.option("--threads", type=click.IntRange(1), help="dbt's threads; by default what profiles.yml says.")
@jobs_option
@click.pass_obj
def run(
    app: App,
    select: tuple[str, ...],
    more_select: tuple[str, ...],
    exclude: tuple[str, ...],
    full_refresh: bool,  # noqa: FBT001 a command line's flag
    threads: int | None,
    jobs: int | None,
) -> Report:
    """
    Run the whole pipeline: extract, build, check and document.

    SELECT is dbt's selection syntax; what is selected is built with all that it is made from. Nothing selects everything.
    Ends with DPE SUCCESS and exit status 0, or with DPE FAILED and 1.
    """
    with Progress() as progress:
        summary = pipeline.run(
            app.project, app.server, [*select, *more_select], exclude, progress, full_refresh=full_refresh, threads=threads, jobs=jobs
        )
    return _report(summary)


def _report(summary: RunSummary) -> Report:
    sections: list[Facts | Table] = [loaded_table(summary.extracted)]
    if summary.results:
        sections.append(_built(summary))
    if summary.validation:
        sections += [*rules_table(summary.validation), checks_table(summary.validation), *sights_table(summary.validation)]
    if summary.site:
        sections.append(Facts({"docs": summary.site}, title="Documented"))
    rows = sum(one.rows_loaded for one in summary.extracted.extracts)
    return Report(
        data={
            "verdict": SUCCESS if summary.holds else FAILED,
            "seconds": summary.seconds,
            "extracted": extract_data(summary.extracted),
            "validation": validation_data(summary.validation) if summary.validation else None,
            "docs": summary.site,
        },
        headline=f"{plural(rows, 'row')} loaded, {plural(len(summary.results), 'node')} built and tested in {duration(summary.seconds)}",
        sections=[*sections, *dropped_lines(summary.extracted)],
        verdict=SUCCESS if summary.holds else FAILED,
        exit_status=0 if summary.holds else 1,
    )


def _built(summary: RunSummary) -> Table:
    """Return the table of what dbt did, a kind of node a line."""
    kinds = Counter(result.resource_type for result in summary.results)
    return Table(
        ["what", "count", "well", "warned", "failed", "skipped", "seconds"],
        [
            [
                kind,
                count,
                *(
                    sum(result.resource_type == kind and result.status in statuses for result in summary.results)
                    for statuses in (("success", "pass"), ("warn",), ("error", "fail", "runtime error"), ("skipped",))
                ),
                round(sum(result.seconds for result in summary.results if result.resource_type == kind), 1),
            ]
            for kind, count in sorted(kinds.items())
        ],
        title="Built",
    )
