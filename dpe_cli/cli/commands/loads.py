"""`dpe loads`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.commands.rejects import REJECT_COLUMNS, reject_row
from dpe_cli.cli.options import Commands
from dpe_cli.cli.report import Facts, Report, Table, shortened
from dpe_cli.ingest import loads as history
from dpe_cli.load.ledger import Load
from dpe_cli.words import plural, size


@click.group(cls=Commands)
def loads() -> None:
    """List, show and undo what was loaded."""


@loads.command("list")
@click.option("--source", metavar="SOURCE", help="Only extracts of this source, such as nyc.flights.")
@click.option(
    "--limit", envvar="DPE_LIMIT", type=click.IntRange(1), default=20, show_default=True, help="How many extracts to list, newest first."
)
@click.pass_obj
def list_(app: App, source: str | None, limit: int) -> Report:
    """List extracts, newest first."""
    extracts = history.extracts(app.server, source=source, limit=limit, declared=lambda: app.project.sources)
    if source and not extracts:
        history.refuse_unknown(app.server, app.project.sources, source)
    return Report(
        data=[asdict(extract) for extract in extracts],
        headline=extracts.counted("extract"),
        sections=[
            Table(
                ["extract", "source", "status", "read", "loaded", "rejected", "started", "error"],
                [
                    [
                        str(extract.extract_id),
                        extract.source,
                        extract.status,
                        extract.records_read,
                        extract.rows_loaded,
                        extract.rows_rejected,
                        extract.started_at,
                        shortened(extract.error.splitlines()[0]) if extract.error else None,
                    ]
                    for extract in extracts
                ],
            )
        ],
    )


@loads.command()
@click.argument("extract_id", type=int)
@click.pass_obj
def show(app: App, extract_id: int) -> Report:
    """Show an extract with its loads, or if it was refused, with the first of its rejects."""
    extract, of_extract, refused = history.extract(app.server, extract_id)
    return Report(
        data={**asdict(extract), "loads": [asdict(load) for load in of_extract], "first_rejects": [asdict(reject) for reject in refused]},
        headline=f"Extract {extract.extract_id} of {extract.source}: {extract.status}",
        sections=[
            Facts(
                {
                    "staging table": extract.relation,
                    "spec": extract.spec,
                    "disposition": extract.disposition,
                    "started": extract.started_at,
                    "finished": extract.finished_at,
                    "records read": extract.records_read,
                    "rows loaded": extract.rows_loaded,
                    "rows rejected": extract.rows_rejected,
                    "error": extract.error,
                }
            ),
            Table(
                ["load", "location", "size", "read", "loaded", "rejected", "SHA-256"],
                [
                    [
                        str(load.load_id),
                        load.location,
                        size(load.size_bytes),
                        load.records_read,
                        load.rows_loaded,
                        load.rows_rejected,
                        (load.content_hash or "-")[:12],
                    ]
                    for load in of_extract
                ],
                title="Loads",
            ),
            *_missing(of_extract),
            *(
                [Table(REJECT_COLUMNS, [reject_row(reject) for reject in refused], title="First rejects of the refused delivery")]
                if refused
                else []
            ),
        ],
    )


def _missing(of_extract: Sequence[Load]) -> list[Table]:
    """List the loads whose inputs lacked columns of the contract."""
    lacking = [[str(load.load_id), ", ".join(load.columns_missing)] for load in of_extract if load.columns_missing]
    return [Table(["load", "columns that were not delivered"], lacking, title="Loaded as null, or as their default")] if lacking else []


@loads.command()
@click.argument("extract_id", type=int)
@click.pass_obj
def undo(app: App, extract_id: int) -> Report:
    """
    Undo an extract.

    Removes its rows from staging, and forgets its files, so that they can be loaded again. For sources with `disposition: replace`, the
    previous extract is restored.
    """
    done = history.undo(app.server, app.project.sources, extract_id)
    restored = f"; extract {done.restored_extract_id} is visible again" if done.restored_extract_id else ""
    return Report(
        data=asdict(done),
        headline=f"Extract {extract_id} of {done.source} was undone: {plural(done.rows_removed, 'row')} removed from staging{restored}",
    )
