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
        built, found = differences.compare(app.server, app.project.manifest, models, on_relation=lambda _name: advance(1))
    columns = [line for difference in found for line in _columns(difference)]
    changed = sum(not difference.is_none for difference in found)
    because = [f"It will not be published: {built.refused_because}"] if built.refused_because else []
    return Report(
        data={"publication": built.publication_id, "status": built.status, "relations": [asdict(difference) for difference in found]},
        headline=f"Publishing build {built.publication_id} would change {changed} of {plural(len(found), 'relation')}",
        sections=[
            Table(
                ["relation", "rows now", "rows then", "added", "removed", "changed", "by"],
                [
                    [
                        difference.relation,
                        difference.rows_before,
                        difference.rows_after,
                        difference.added,
                        difference.removed,
                        difference.changed,
                        ", ".join(difference.key) or "whole rows",
                    ]
                    for difference in found
                ],
            ),
            *([Lines(["", *columns])] if columns else []),
            *([Lines(["", *because])] if because else []),
        ],
    )


def _columns(difference: Difference) -> list[str]:
    return [
        *(f"{difference.relation}: column {name} is new" for name in difference.columns_added),
        *(f"{difference.relation}: column {name} is removed" for name in difference.columns_removed),
        *(f"{difference.relation}: column {change}" for change in difference.columns_changed),
    ]
