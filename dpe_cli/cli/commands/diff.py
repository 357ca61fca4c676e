"""`dpe diff`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.report import Lines, ProgressDisplay, Report, Table, shortened, words
from dpe_cli.publishing import diff as differences
from dpe_cli.publishing.diff import Difference
from dpe_cli.words import plural


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--tenant", metavar="TENANT", help="Compare the rows of this tenant only; by default those of every tenant.")
@click.pass_obj
def diff(app: App, models: tuple[str, ...], tenant: str | None) -> Report:
    """
    Show what publishing the newest build would change.

    MODEL names the models to compare; by default all. Rows are compared by their key: the model's unique_key,
    or the columns that a test declares unique. Without a key, a changed row counts as one removed and one added.

    Names the columns in which rows change, and shows the first 5 such rows of each relation, without the values of masked columns. The
    rows are those that dpe_transformer may see, or with --tenant, those of one tenant.
    """
    with ProgressDisplay() as progress, progress.task("dpe diff") as advance:
        built, found = differences.compare(app.server, app.project.manifest, models, tenant_id=tenant, on_relation=lambda _name: advance(1))
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
            *([_changed_rows(found)] if any(difference.changed_rows for difference in found) else []),
            *([Lines(["", *because])] if because else []),
        ],
    )


def _columns(difference: Difference) -> list[str]:
    return [
        *(f"{difference.relation}: column {name} is new" for name in difference.columns_added),
        *(f"{difference.relation}: column {name} is removed" for name in difference.columns_removed),
        *(f"{difference.relation}: column {change}" for change in difference.columns_changed),
        *(f"{difference.relation}: {name} changes in {plural(count, 'row')}" for name, count in difference.values_changed.items()),
    ]


def _changed_rows(found: Sequence[Difference]) -> Table:
    """Return the table of changed rows, one line per value."""
    lines: list[list[object]] = []
    for difference in found:
        shown = f"{difference.relation} (first {len(difference.changed_rows)} of {difference.changed:,})"
        for row in difference.changed_rows:
            key = ", ".join(f"{name} {words(value)}" for name, value in row.key.items())
            lines += [
                [
                    shown if len(difference.changed_rows) < difference.changed else difference.relation,
                    key,
                    column,
                    *(("masked", "masked") if value.is_masked else (_short(value.before), _short(value.after))),
                ]
                for column, value in row.values.items()
            ]
    return Table(["relation", "row", "column", "now", "then"], lines, title="Changed rows")


def _short(value: str | None) -> str | None:
    return None if value is None else shortened(value)
