"""Build in the shadow schemas, judge what was built, and publish it unless something refuses that (pipeline/refusals.py)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from dpe_cli.access.matrix import Cell
from dpe_cli.errors import PublishError
from dpe_cli.pipeline import refusals
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.progress import Progress
from dpe_cli.project import dbt
from dpe_cli.project.dbt_runner import NodeResult, read_project, run_dbt
from dpe_cli.project.jinja_changes import ReadManifest
from dpe_cli.project.model import RELATIONS
from dpe_cli.project.project import Project
from dpe_cli.publishing import builds, old_versions, publication, publisher, swap
from dpe_cli.publishing.builds import Publication
from dpe_cli.publishing.publication import ExchangeResult
from dpe_cli.quality import quarantine, reconcile_config, reconciliation
from dpe_cli.quality.quarantine import QuarantineCount
from dpe_cli.server.connection import Connection
from dpe_cli.server.ending import Ender
from dpe_cli.server.patience import limited
from dpe_cli.server.relations import NEXT
from dpe_cli.server.reserving import reserved
from dpe_cli.server.server import Server
from dpe_cli.server.watching import DBT, watching
from dpe_cli.state import state_path


@dataclass(frozen=True)
class BuildResult:
    """
    What dbt built and tested, and what became of it; `refused` is why readers do not see it, unless it was not to be published.

    `measured` is who sees what of the published relations that were measured before they were published.
    """

    results: list[NodeResult] = field(default_factory=list)
    quarantined: list[QuarantineCount] = field(default_factory=list)
    publication: Publication | None = None
    exchanged: ExchangeResult | None = None
    refused: list[str] = field(default_factory=list)
    measured: list[Cell] = field(default_factory=list)

    @property
    def not_published(self) -> str | None:
        """Why readers do not see it, as one text."""
        return "; ".join(self.refused) or None

    @property
    def waiting(self) -> set[tuple[str, str]]:
        """The schemas and names of relations that were built but not published."""
        if self.publication is None or self.exchanged is not None:
            return set()
        return {(relation.schema, relation.name) for relation in self.publication.relations}


def build_and_publish(
    project: Project, server: Server, selected: Sequence[str], exclude: Sequence[str], progress: Progress, options: RunOptions
) -> BuildResult:
    """
    Build in the shadow schemas, and publish if nothing failed.

    Raises:
        PublishError: another run is building.
        ProjectError: dbt cannot read the project.
        BuildError: dbt ended before it could report on its nodes.
    """
    schemas = project.published_schemas
    ender = Ender(server) if options.ends_sessions else None
    with publisher.building(server, schemas) as building:
        connection = building.connection
        skipped = untestable(connection, project, selected, exclude)
        with connection.transaction():
            before = {relation.oid for relation in old_versions.relations(connection, schemas)}
        if skipped:
            names_of_skipped = sorted(project.manifest["nodes"][unique_id]["name"] for unique_id in skipped)
            progress.say(f"Skipped, because they read models that have never been published: {', '.join(names_of_skipped)}")
        results, changed = _run_dbt(project, server, selected, exclude, skipped, progress, options, ender)
        built = {result.unique_id: result for result in results if _is_built(result)}
        names = [(result.schema.removesuffix(NEXT), result.alias) for result in built.values()]
        made = {unique_id: result.schema for unique_id, result in built.items()}
        refused = refusals.of_nodes(results, changed)
        if not built and not refused:
            return BuildResult(results)
        # Counting and measuring run the models' code, in separate sessions. Its effects are judged afterwards, in another one.
        with publisher.connected(server) as counting, limited(counting, progress.say):
            refused += reconciliation.reconcile_models(
                counting, reconcile_config.declared(project.manifest, project.sources, made, made)
            ).faults
            relations = refusals.built_relations(counting, project, names, made)
            quarantined = quarantine.counts(counting, relations, schema_suffix=NEXT)
        # A build that is refused anyway is not worth the time.
        cells, unseen = ([], []) if refused else refusals.measure(project, server, relations, progress)
        judged = refusals.judge(project, server, relations, suffix=NEXT, before=before)
        refused += [*judged.faults, *unseen]
        names += [name for relation in relations if (name := (relation.schema, relation.name)) not in names]
        recorded = builds.record(connection, selected, names, refused, lock=building.lock)
        if refused or not options.publishes:
            return BuildResult(results, quarantined, recorded, refused=refused)
        try:
            exchanged = publication.publish(
                connection, recorded, schemas, judged=judged.protection, lock=building.lock, ender=ender, say=progress.say
            )
        except PublishError as error:
            return BuildResult(results, quarantined, recorded, refused=[str(error)])
        return BuildResult(results, quarantined, exchanged.publication, exchanged, measured=cells)


def _command(selected: Sequence[str], exclude: Sequence[str], options: RunOptions) -> list[str]:
    """Return dbt's command."""
    return [
        "build",
        *(["--select", *selected] if selected else []),
        *(["--exclude", *exclude] if exclude else []),
        *(["--full-refresh"] if options.full_refresh else []),
        *(["--threads", str(options.threads)] if options.threads else []),
    ]


def _run_dbt(
    project: Project,
    server: Server,
    selected: Sequence[str],
    exclude: Sequence[str],
    skipped: Collection[str],
    progress: Progress,
    options: RunOptions,
    ender: Ender | None,
) -> tuple[list[NodeResult], list[str]]:
    """
    Run dbt for the shadow schemas, without the tests with the ids `skipped`.

    Return what became of its nodes, and which nodes and macros were changed while it ran.
    """
    target_path = state_path(project.directory) / "next"
    with (
        progress.task("dbt build", project.node_count) as advance,
        watching(server, "transformer", DBT, ender=ender, say=progress.say),
        reserved(server),
    ):
        manifest = read_project(project, server)
        dbt.remove_tests(manifest, skipped)
        dbt.build_in_shadow(manifest, project.selected(selected, exclude), NEXT)
        read = ReadManifest(manifest)
        results = run_dbt(
            project,
            server,
            _command(selected, exclude, options),
            # The macros learn from it which schemas are shadow schemas. It plays no part in reading the project.
            variables={"dpe_schema_suffix": NEXT},
            target_path=target_path,
            read=read,
            on_node=lambda _name: advance(1),
        )
    return results, read.changed()


def _is_built(result: NodeResult) -> bool:
    return result.resource_type in RELATIONS and result.status == "success" and result.schema.endswith(NEXT)


def untestable(connection: Connection, project: Project, selected: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the ids of the tests of a part of the project that read relations of the rest that were never published."""
    with connection.transaction():
        return project.untestable(selected, exclude, swap.names(connection, project.published_schemas))
