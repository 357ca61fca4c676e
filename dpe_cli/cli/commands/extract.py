"""`dpe extract`."""

from __future__ import annotations

from dataclasses import asdict

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.options import exclude_option, jobs_option, select_argument, select_option
from dpe_cli.cli.report import Lines, ProgressDisplay, Report, Table
from dpe_cli.ingest import extract as extracts
from dpe_cli.ingest.extract import ExtractSummary
from dpe_cli.load.result import ExtractResult
from dpe_cli.pipeline import failures
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.words import duration, plural, size

# `dpe loads show` lists them all.
_MOST_LINES = 10


@click.command()
@select_argument
@select_option
@exclude_option
@click.option("--tenant", metavar="TENANT", help="Open only this tenant; a delivery with rows of another one is refused.")
@click.option("--full-refresh", is_flag=True, help="Reload every file under the current contract, replacing what is loaded.")
@jobs_option
@click.option(
    "--end-sessions",
    is_flag=True,
    help="End sessions that hold a staging table for more than 5 seconds while the extract waits.",
)
@click.pass_obj
def extract(
    app: App,
    select: tuple[str, ...],
    more_select: tuple[str, ...],
    exclude: tuple[str, ...],
    tenant: str | None,
    full_refresh: bool,  # noqa: FBT001 a command line's flag
    jobs: int | None,
    end_sessions: bool,  # noqa: FBT001
) -> Report:
    """
    Load sources into staging.

    SELECT is dbt's selection syntax: source:nyc, source:nyc.flights, tag:daily, +fct_flights. By default, every
    source with an external block. Each source is loaded whole or not at all; files that are already loaded are skipped.
    """
    sources = app.project.select_sources([*select, *more_select], exclude)
    with ProgressDisplay() as progress:
        summary = extracts.extract(
            app.project.directory,
            app.server,
            sources,
            progress,
            tenant_id=tenant,
            full_refresh=full_refresh,
            jobs=jobs,
            ends_sessions=end_sessions,
        )
    refused = f", {plural(len(summary.refused), 'source')} refused" if summary.refused else ""
    rows = sum(extract.rows_loaded for extract in summary.extracts)
    return Report(
        data=as_data(summary),
        headline=f"{plural(rows, 'row')} loaded from {plural(len(summary.extracts), 'source')} in {duration(summary.seconds)}{refused}",
        sections=[*loaded_table(summary), *missing_lines(summary), *dropped_lines(summary), *warning_lines(summary)],
        exit_status=summary.exit_status,
    )


def as_data(summary: ExtractSummary) -> dict[str, object]:
    """Return the JSON form of extracts."""
    return {
        "seconds": summary.seconds,
        "errors": failures.of_extracts(summary),
        "extracts": [
            {
                # The status says it: failed or refused.
                **{name: value for name, value in asdict(extract).items() if name not in {"is_bug", "retryable"}},
                "records_read": extract.records_read,
                "rows_loaded": extract.rows_loaded,
                "rows_rejected": extract.rows_rejected,
                "status": status_of(extract),
            }
            for extract in summary.extracts
        ],
    }


def status_of(extract: ExtractResult) -> str:
    """Return how an extract ended, in a word or two."""
    if extract.error:
        return "failed" if extract.is_bug else "refused"
    if extract.loads and all(load.content_hash is None and not load.records_read for load in extract.loads):
        return "nothing new"
    if extract.loads:
        return "loaded"
    return "rows removed" if extract.extract_id else "nothing new"


def loaded_table(summary: ExtractSummary) -> list[Table]:
    """Return the table of what was loaded, one line per source; none if other tools load all of them."""
    columns = ["source", "", "files", "already there", "rows", "rejects", "size", "MB/s"]
    rows = [
        [
            extract.source,
            status_of(extract),
            len(extract.loads),
            extract.skipped,
            extract.rows_loaded,
            extract.rows_rejected,
            size(extract.bytes_read) if extract.bytes_read else "-",
            round(extract.bytes_read / 1e6 / extract.seconds, 1) if extract.bytes_read and extract.seconds else None,
        ]
        for extract in summary.extracts
    ]
    return [Table(columns, rows, title="Loaded")] if rows else []


def missing_lines(summary: ExtractSummary) -> list[Lines]:
    """List the deliveries that lacked columns of the contract."""
    lines = [
        f"{extract.source}, {in_message(load.location)}: delivered without {', '.join(load.columns_missing)}"
        for extract in summary.extracts
        for load in extract.loads
        if load.columns_missing
    ]
    if not lines:
        return []
    more = [f"and {plural(len(lines) - _MOST_LINES, 'other')}"] if len(lines) > _MOST_LINES else []
    return [Lines(["Columns that may be missing were loaded as null, or as their default:", *lines[:_MOST_LINES], *more])]


def dropped_lines(summary: ExtractSummary) -> list[Lines]:
    """List the views that were dropped with a staging table that was rebuilt under a new contract."""
    dropped = [line for extract in summary.extracts for line in extract.dropped]
    return [Lines(["Dropped with the rebuilt staging table; `dpe dbt build` restores:", *dropped])] if dropped else []


def warning_lines(summary: ExtractSummary) -> list[Lines]:
    """List what the next extracts may miss."""
    lines = [f"{extract.source}: {warning}" for extract in summary.extracts for warning in extract.warnings]
    return [Lines(["Warnings:", *lines])] if lines else []
