"""`dpe diff`."""

from __future__ import annotations

from dataclasses import asdict

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.report import Lines, ProgressDisplay, Report, Table
from dpe_cli.publishing import diff as differences
from dpe_cli.publishing.diff import Difference
from dpe_cli.words import plural


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.pass_obj
def diff(app: App, models: tuple[str, ...]) -> Report:
    """
    Show what publishing the newest build would change.

    MODEL names the models to compare; by default all. Rows are compared by their key: the model's unique_key,
    or the columns that a test declares unique. Without a key, a changed row counts as one removed and one added.
    """
    with ProgressDisplay() as progress, progress.task("dpe diff") as advance:
        built, found = differences.compare(app.server, app.project, models, on_relation=lambda _name: advance(1))
    columns = [line for one in found for line in _columns(one)]
    changed = sum(not one.is_none for one in found)
    because = [f"It will not be published: {built.refused_because}"] if built.refused_because else []
    return Report(
        data={"publication": built.publication_id, "status": built.status, "relations": [asdict(one) for one in found]},
        headline=f"Publishing build {built.publication_id} would change {changed} of {plural(len(found), 'relation')}",
        sections=[
            Table(
                ["relation", "rows now", "rows then", "added", "removed", "changed", "by"],
                [
                    [one.relation, one.rows_before, one.rows_after, one.added, one.removed, one.changed, ", ".join(one.key) or "whole rows"]
                    for one in found
                ],
            ),
            *([Lines(["", *columns])] if columns else []),
            *([Lines(["", *because])] if because else []),
        ],
    )


def _columns(one: Difference) -> list[str]:
    return [
        *(f"{one.relation}: column {name} is new" for name in one.columns_added),
        *(f"{one.relation}: column {name} is removed" for name in one.columns_removed),
        *(f"{one.relation}: column {change}" for change in one.columns_changed),
    ]
