"""`dpe publish`."""

from __future__ import annotations

from dataclasses import asdict

import click

from dpe_cli import publication
from dpe_cli.app import App
from dpe_cli.errors import PublishError
from dpe_cli.report import Lines, Progress, Report, plural


@click.command()
@click.option("--undo", is_flag=True, help="Bring back what the last publication replaced.")
@click.pass_obj
def publish(app: App, undo: bool) -> Report:  # noqa: FBT001 a command line's flag
    """
    Publish the newest build, or take the last publication back.

    What `dpe run --no-publish` built becomes visible, all of it at once. Readers are waited for, up to ten minutes, without
    keeping others from reading.
    """
    schemas = app.project.published_schemas
    with Progress() as progress, publication.connected(app.server) as connection:
        if undo:
            undone, restored = publication.undo(connection, schemas, say=progress.say)
            gone = [str(one) for one in undone.relations if str(one) not in {str(back) for back in restored}]
            return Report(
                data={"publication": asdict(undone), "restored": [str(one) for one in restored], "removed": gone},
                headline=f"Publication {undone.publication_id} was taken back: {plural(len(restored), 'relation')} as before",
                sections=[Lines([f"Was not there before it, and is gone: {name}" for name in gone])] if gone else [],
            )
        built = publication.newest(connection, "built", "refused", "published", "undone")
        if built is None or built.status in {"published", "undone"}:
            raise PublishError("there is no build that waits to be published (one that was taken back is gone); run `dpe run`")
        made = publication.publish(connection, built, schemas, say=progress.say)
        return Report(
            data={"publication": asdict(made)},
            headline=f"{plural(len(made.relations), 'relation')} published at once, as publication {made.publication_id}",
        )
