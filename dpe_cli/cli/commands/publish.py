"""`dpe publish`."""

from __future__ import annotations

from dataclasses import asdict

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.options import end_sessions_option
from dpe_cli.cli.report import Facts, Lines, ProgressDisplay, Report, Table
from dpe_cli.pipeline import publish as pipeline
from dpe_cli.publishing.publication import ExchangeResult
from dpe_cli.words import plural


@click.command()
@click.option("--undo", is_flag=True, help="Restore what the last publication replaced.")
@end_sessions_option
@click.pass_obj
def publish(app: App, *, undo: bool, end_sessions: bool) -> Report:
    """
    Publish the newest build, or undo the last publication.

    Everything that `dpe run --no-publish` built becomes visible at once. Before publishing or undoing, the relations are
    checked again: they have to be protected as the project declares. dpe waits for readers, up to ten minutes, without
    blocking other readers; with --end-sessions, it ends the sessions that stay. This needs pg_signal_backend, or a superuser as
    the administrator.
    """
    with ProgressDisplay() as progress:
        if undo:
            undone = pipeline.undo(app.project, app.server, ends_sessions=end_sessions, progress=progress)
            back = {str(relation) for relation in undone.restored}
            gone = [str(relation) for relation in undone.publication.relations if str(relation) not in back]
            was_new = [Lines([f"Removed, because it did not exist before: {name}" for name in gone])] if gone else []
            return Report(
                data={
                    "publication": asdict(undone.publication),
                    "restored": [str(relation) for relation in undone.restored],
                    "removed": gone,
                    **as_data(undone),
                },
                headline=(
                    f"Publication {undone.publication.publication_id} was undone: {plural(len(undone.restored), 'relation')} restored"
                ),
                sections=[*was_new, *sections(undone)],
            )
        made = pipeline.publish(app.project, app.server, ends_sessions=end_sessions, progress=progress)
        relations = plural(len(made.publication.relations), "relation")
        return Report(
            data={"publication": asdict(made.publication), **as_data(made)},
            headline=f"{relations} published at once, as publication {made.publication.publication_id}",
            sections=sections(made),
        )


def as_data(exchanged: ExchangeResult | None) -> dict[str, object]:
    """Return the JSON form of earlier versions that are in use, and of sessions that were ended for them."""
    return {
        "in_use": [asdict(use) for use in exchanged.uses] if exchanged else [],
        "ended_sessions": [asdict(session) for session in exchanged.ended] if exchanged else [],
        "not_ended": exchanged.not_ended if exchanged else [],
    }


def sections(exchanged: ExchangeResult) -> list[Facts | Lines | Table]:
    """Show which sessions were ended, which were not and why, and what still uses earlier versions."""
    shown: list[Facts | Lines | Table] = []
    if exchanged.ended:
        shown.append(Facts({"ended": "; ".join(str(session) for session in exchanged.ended)}, title="Sessions"))
    if exchanged.not_ended:
        shown.append(Lines([f"Warning: {reason}" for reason in exchanged.not_ended]))
    if exchanged.uses:
        rows = [
            [use.relation, use.version, use.what, use.role, ", ".join(map(str, use.pids)) or None, use.remedy] for use in exchanged.uses
        ]
        columns = ["relation", "earlier version", "used by", "role", "session", "what to do"]
        shown.append(Table(columns, rows, title="Warning: earlier versions are still in use, and will not be updated"))
    return shown
