"""Publish a build that waits, or undo the last publication."""

from __future__ import annotations

from dpe_cli.errors import PublishError
from dpe_cli.pipeline import refusals
from dpe_cli.progress import Progress
from dpe_cli.project.project import Project
from dpe_cli.publishing import builds, publication, publisher
from dpe_cli.publishing.publication import ExchangeResult
from dpe_cli.server.ending import Ender
from dpe_cli.server.relations import NEXT, PREVIOUS
from dpe_cli.server.server import Server


def publish(project: Project, server: Server, *, ends_sessions: bool, progress: Progress) -> ExchangeResult:
    """
    Publish the newest build after judging it again: hooks and Jinja of models may have run since it was built.

    Raises:
        PublishError: no build waits, it is not protected as the project declares, or as in publication.publish().
    """
    with publisher.connected(server) as connection:
        built = builds.newest(connection, "built", "refused", "published", "undone")
        if built is None or built.status in {"published", "undone"}:
            raise PublishError("no build is waiting to be published (an undone one no longer counts); run `dpe run`")
        _, unseen = refusals.measure(project, server, built.relations, progress) if built.status == "built" else ([], [])
        judged = refusals.judge(project, server, built.relations, suffix=NEXT)
        faults = [*judged.faults, *unseen]
        if built.status == "built" and faults:
            raise PublishError(f"publication {built.publication_id}: was not published ({'; '.join(faults)}); run `dpe run`")
        return publication.publish(
            connection,
            built,
            project.published_schemas,
            judged=judged.protection,
            ender=Ender(server) if ends_sessions else None,
            say=progress.say,
        )


def undo(project: Project, server: Server, *, ends_sessions: bool, progress: Progress) -> ExchangeResult:
    """
    Restore what the last publication replaced, if it is protected as the project now declares.

    Raises:
        PublishError: it is not, or as in publication.undo().
    """
    with publisher.connected(server) as connection:
        last = builds.to_undo(connection)
        judged = refusals.judge(project, server, last.replaced or [], suffix=PREVIOUS)
        if judged.faults:
            raise PublishError(
                f"publication {last.publication_id}: was not undone, because what it replaced is not protected as the project declares "
                f"({'; '.join(judged.faults)}); check out the files of that version, then run `dpe publish --undo`"
            )
        return publication.undo(
            connection,
            project.published_schemas,
            judged=None if last.replaced is None else judged.protection,
            ender=Ender(server) if ends_sessions else None,
            say=progress.say,
        )
