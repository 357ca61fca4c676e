"""`dpe rejects`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.options import Commands
from dpe_cli.cli.report import Facts, Lines, ProgressDisplay, Report, Table, shortened
from dpe_cli.ingest import loads
from dpe_cli.ingest import rejects as replaying
from dpe_cli.load.ledger_rejects import RejectEntry
from dpe_cli.words import plural

REJECT_COLUMNS = ("reject", "source", "location", "line", "column", "SQLSTATE", "reason", "record", "outcome")


@click.group(cls=Commands)
def rejects() -> None:
    """List, show, export and replay the records that could not be loaded."""


@rejects.command("list")
@click.option("--source", metavar="SOURCE", help="Only rejects of this source, such as nyc.flights.")
@click.option("--load", "load_id", type=int, help="Only rejects of this load.")
@click.option("--limit", envvar="DPE_LIMIT", type=click.IntRange(1), default=100, show_default=True, help="How many rejects to list.")
@click.option("--all", "with_obsolete", is_flag=True, help="Include rejects of loads that were replaced or undone.")
@click.pass_obj
def list_(app: App, source: str | None, load_id: int | None, limit: int, *, with_obsolete: bool) -> Report:
    """
    List rejects: where the record is, which column, and why.

    Those of refused deliveries come first, then those of the newest load. The ledger keeps the first 100 rejects of a refused
    delivery until the next extract of its source. Nothing of it was loaded: correct the delivery itself, and extract again.
    """
    found = loads.rejects(
        app.server,
        source=source,
        load_id=load_id,
        limit=limit,
        with_obsolete=with_obsolete or load_id is not None,
        declared=lambda: app.project.sources,
    )
    if source and not found:
        loads.refuse_unknown(app.server, app.project.sources, source)
    if load_id is not None and not found:
        loads.refuse_unknown_load(app.server, load_id)
    return Report(
        data=[asdict(reject) for reject in found],
        headline=found.counted("reject"),
        sections=[
            Table(REJECT_COLUMNS, [reject_row(reject) for reject in found]),
        ],
    )


@rejects.command()
@click.argument("reject_id", type=int)
@click.pass_obj
def show(app: App, reject_id: int) -> Report:
    """Show one reject with its whole record."""
    reject = loads.reject(app.server, reject_id)
    return Report(
        data=asdict(reject),
        headline=f"Reject {reject.reject_id} of {reject.source}",
        sections=[
            Facts(
                {
                    "location": f"{reject.location}, line {reject.position}",
                    "column": reject.column_name,
                    "SQLSTATE": reject.sqlstate,
                    "reason": reject.reason,
                    **({"load": str(reject.load_id)} if reject.load_id else {"extract": str(reject.refused_extract_id)}),
                    "outcome": _became_of(reject),
                }
            ),
            Lines(["", *reject.raw.split("\n")]),
        ],
    )


@rejects.command()
@click.argument("wanted", metavar="SOURCE|LOAD")
@click.pass_obj
def export(app: App, wanted: str) -> Report:
    """
    Write the rejects of a source or a load as CSV, to be corrected.

    Omits replayed rejects. Correct the values, keep the first column, delete the lines that are to stay rejects, and load
    the file with `dpe rejects replay`. Files and pipes get every character as delivered; a terminal shows hidden ones as codes.
    """
    exported = replaying.export(app.project.sources, app.server, wanted, project_dir=app.project.directory)
    if exported.unsplit:
        with ProgressDisplay() as progress:
            progress.say(
                f"{plural(exported.unsplit, 'record')} could not be split into columns; "
                f"write the values into the columns, and empty {replaying.RECORD}"
            )
    return Report(
        data={"source": exported.source, "rejects": exported.count, "csv": "".join(f"{line}\n" for line in exported.records)},
        sections=[Lines(exported.records)],
    )


@rejects.command()
@click.argument("wanted", metavar="SOURCE|LOAD")
@click.option(
    "--file",
    "path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Corrected rejects, as exported.",
)
@click.pass_obj
def replay(app: App, wanted: str, path: Path) -> Report:
    """
    Load corrected rejects into staging, all of them or none.

    They become a load of their own, and their rejects are marked as replayed; `dpe loads undo` undoes it.
    """
    result = replaying.replay(app.project.sources, app.server, wanted, path, project_dir=app.project.directory)
    return Report(
        data={"source": result.source, "extract_id": result.extract_id, "replayed": result.rows_loaded},
        headline=f"{plural(result.rows_loaded, 'reject')} of {result.source} replayed as extract {result.extract_id}; "
        "`dpe run` builds the models with them",
    )


def reject_row(reject: RejectEntry) -> list[object]:
    """Return a reject as a row under REJECT_COLUMNS."""
    return [
        str(reject.reject_id),
        reject.source,
        reject.location,
        str(reject.position),
        reject.column_name,
        reject.sqlstate,
        reject.reason,
        shortened(reject.raw),
        _became_of(reject),
    ]


def _became_of(reject: RejectEntry) -> str | None:
    if reject.refused_extract_id is not None:
        return f"delivery refused (extract {reject.refused_extract_id})"
    if reject.is_obsolete:
        return "load replaced or undone"
    return None if reject.replayed_by is None else f"replayed by load {reject.replayed_by}"
