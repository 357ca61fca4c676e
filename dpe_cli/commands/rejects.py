"""`dpe rejects`."""

from __future__ import annotations

from dataclasses import asdict

import click

from dpe_cli import history
from dpe_cli.app import App
from dpe_cli.report import Facts, Lines, Report, Table, plural

_SHOWN_CHARACTERS = 60


@click.group()
def rejects() -> None:
    """List and show the records that could not be loaded."""


@rejects.command("list")
@click.option("--source", metavar="SOURCE", help="Only rejects of this source, such as nyc.flights.")
@click.option("--load", "load_id", type=int, help="Only rejects of this load.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many, newest load first.")
@click.pass_obj
def list_(app: App, source: str | None, load_id: int | None, limit: int) -> Report:
    """List rejects: where the record stands, which column, and why."""
    found = history.rejects(app.server, source=source, load_id=load_id, limit=limit)
    return Report(
        data=[asdict(one) for one in found],
        headline=plural(len(found), "reject"),
        sections=[
            Table(
                ["reject", "source", "location", "line", "column", "SQLSTATE", "reason", "record"],
                [
                    [
                        str(one.reject_id),
                        one.source,
                        one.location,
                        str(one.position),
                        one.column_name,
                        one.sqlstate,
                        one.reason,
                        _shortened(one.raw),
                    ]
                    for one in found
                ],
            )
        ],
    )


@rejects.command()
@click.argument("reject_id", type=int)
@click.pass_obj
def show(app: App, reject_id: int) -> Report:
    """Show one reject with its whole record."""
    one = history.reject(app.server, reject_id)
    return Report(
        data=asdict(one),
        headline=f"Reject {one.reject_id} of {one.source}",
        sections=[
            Facts(
                {
                    "location": f"{one.location}, line {one.position}",
                    "column": one.column_name,
                    "SQLSTATE": one.sqlstate,
                    "reason": one.reason,
                    "load": str(one.load_id),
                }
            ),
            Lines(["", *one.raw.splitlines()]),
        ],
    )


def _shortened(raw: str) -> str:
    line = raw.replace("\n", "⏎")
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}…"
