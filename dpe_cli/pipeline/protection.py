"""The protection of a project's relations: which schemas it covers, its checks, and its measurement."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import psycopg

from dpe_cli.access import checks as rls_check
from dpe_cli.access import code_in_sources, matrix, project_checks, samples
from dpe_cli.access.actors import LEDGER, TRANSFORMERS_ROLES
from dpe_cli.access.checks import Finding
from dpe_cli.access.matrix import Cell
from dpe_cli.access.samples import MeasuredRelation
from dpe_cli.errors import ProjectError, ServerError, UnknownNameError
from dpe_cli.pipeline import checks as validation
from dpe_cli.pipeline.checks import Check
from dpe_cli.progress import Progress
from dpe_cli.project.project import Project
from dpe_cli.publishing import neighbours, old_versions, preview
from dpe_cli.safe_text.server_messages import without_details
from dpe_cli.server.connection import Connection
from dpe_cli.server.patience import BLOCKED, limited
from dpe_cli.server.relations import NEXT, PREVIOUS, Relation, published_schema
from dpe_cli.server.server import Server
from dpe_cli.words import did_you_mean


@contextmanager
def separate_session(server: Server) -> Iterator[Connection]:
    """
    Open a separate session to judge in, which the models' code cannot have changed.

    Raises:
        ServerError: sessions did not release what a check reads.
    """
    with server.connect("transformer") as connection:
        # A hook may have changed these settings of the role.
        connection.execute("set role none; set row_security = on")
        connection.commit()
        with limited(connection):
            yield connection


def protected_schemas(connection: Connection, project: Project) -> list[str]:
    """Return the schemas that dpe protects: the ledger's, the sources', and the models' with their other versions."""
    published = project.published_schemas
    shadow = [schema + suffix for schema in published for suffix in (NEXT, PREVIOUS)]
    with connection.transaction():
        old = old_versions.old_schemas(connection, published)
    return sorted({LEDGER, *published, *shadow, *old, *unreadable_schemas(project)})


def _checked_schemas(connection: Connection, project: Project) -> tuple[list[str], list[str]]:
    """Return the project's schemas, which are judged, and these with those of other projects, whose relations are no stray copies."""
    own = protected_schemas(connection, project)
    return own, [*own, *neighbours.schemas(connection)]


def unreadable_schemas(project: Project) -> list[str]:
    """Return the schemas in which readers may read nothing: those of sources, and those of stored failures."""
    return sorted({*project.staging_schemas, *project.failure_schemas})


def own_schemas(project: Project) -> list[str]:
    """Return the schemas that the project uses, as other projects in the database have to know them."""
    return sorted({*project.published_schemas, *unreadable_schemas(project)})


def _open_schemas(project: Project) -> list[str]:
    """Return the schemas in which only the project's relations may be readable."""
    return sorted({*project.published_schemas, *project.failure_schemas})


def check_rls(project: Project, server: Server) -> list[Finding]:
    """Return what is wrong with the roles and with the protection of the project's relations; errors first."""
    with separate_session(server) as connection:
        own, everyones = _checked_schemas(connection, project)
        found = rls_check.check(connection, everyones, unreadable=unreadable_schemas(project), judged=own)
        found += project_checks.find(connection, project.manifest, project.target, _open_schemas(project))
    return sorted(found, key=lambda finding: finding.severity)


def check_protection(project: Project, server: Server, waiting: Collection[tuple[str, str]] = ()) -> Check:
    """
    Check the protection of everything that dpe manages, in a separate session.

    `waiting` are the schemas and names of relations that were built but not published: what is published of them may have an earlier
    declaration.
    """
    with separate_session(server) as connection:
        own, everyones = _checked_schemas(connection, project)
        check = validation.check_protection(connection, everyones, unreadable=unreadable_schemas(project), judged=own)
        found = project_checks.find(connection, project.manifest, project.target, _open_schemas(project), waiting=waiting)
    return replace(check, faults=(*check.faults, *map(str, found)))


def refuse_code_in_sources(project: Project, server: Server, unique_ids: Collection[str] | None = None) -> None:
    """
    Refuse to read sources that run code of others, of those that the nodes read, or of all nodes.

    Raises:
        ProjectError: one would.
    """
    with separate_session(server) as connection:
        found = code_in_sources.find(connection, project.manifest, project.manifest["nodes"] if unique_ids is None else unique_ids)
    if found:
        raise ProjectError("; ".join(map(str, found)))


def measure_rls(project: Project, server: Server, wanted: Sequence[str], logins: Sequence[str], progress: Progress) -> list[Cell]:
    """
    Measure what each role can do with the project's relations, or with those that match `wanted`.

    Raises:
        ContextError: the administrator's login may not act as one of them, or one of the `logins` cannot be measured.
        ProjectError: there is nothing to measure.
        UnknownNameError: no relation matches a pattern.
    """
    with server.connect("admin") as connection, limited(connection, progress.say):
        found = _relations_in(connection, project, protected_schemas(connection, project))
        for pattern in wanted:
            if not fnmatch.filter(map(str, found), pattern):
                hint = did_you_mean(pattern, map(str, found), "`dpe rls matrix` shows all relations")
                raise UnknownNameError(f"{pattern}: no relation matches; {hint}")
        chosen = [relation for relation in found if not wanted or any(fnmatch.fnmatchcase(str(relation), pattern) for pattern in wanted)]
        if not chosen:
            raise ProjectError("the project: has no relation to measure; run `dpe run` first")
        with _naming_an_end(server), progress.task("dpe rls matrix", len(chosen)) as advance:
            return matrix.measure(connection, chosen, logins=logins, on_relation=advance)


def measure_built(project: Project, server: Server, relations: Collection[Relation], progress: Progress) -> list[Cell]:
    """
    Measure what readers, tenants and the transformer will see of those of the built relations that have tenants, once they are published.

    The cells have the names under which the relations will be published. Measuring runs the models' code.

    Raises:
        ServerError: the session that measures was ended, or sessions did not release what it reads.
    """
    schemas, built = project.published_schemas, {relation.oid for relation in relations}
    with server.connect("transformer") as connection, limited(connection, progress.say):
        found = _relations_in(connection, project, [schema + NEXT for schema in schemas])
        waiting = [
            replace(relation, schema=published_schema(relation.schema), waits_in=relation.schema)
            for relation in found
            if relation.oid in built and _has_tenants(relation)
        ]
        if not waiting:
            return []
        with _naming_an_end(server), preview.open_to_readers(connection, schemas):
            return matrix.measure(connection, waiting, roles=TRANSFORMERS_ROLES, writes=())


def measure_published(
    project: Project, server: Server, progress: Progress, *, only_of_tenants: bool = False, measured: Sequence[Cell] = ()
) -> list[Cell]:
    """
    Measure what readers, tenants and the transformer see of each published relation, or of those with tenants.

    `measured` are the cells of relations that were measured before they were published, which are returned as they are.

    Raises:
        ServerError: the session that measures was ended, or sessions did not release what it reads.
    """
    known = {cell.relation for cell in measured}
    with server.connect("transformer") as connection, limited(connection, progress.say):
        found = _relations_in(connection, project, project.published_schemas)
        published = [
            relation
            for relation in found
            if relation.readers and (_has_tenants(relation) or not only_of_tenants) and str(relation) not in known
        ]
        with _naming_an_end(server):
            cells = matrix.measure(connection, published, roles=TRANSFORMERS_ROLES, writes=()) if published else []
    return sorted([*measured, *cells], key=lambda cell: cell.relation)


def _relations_in(connection: Connection, project: Project, schemas: Sequence[str]) -> list[MeasuredRelation]:
    return samples.find_relations(connection, project.models.values(), project.sources.values(), schemas, project.target)


def _has_tenants(relation: MeasuredRelation) -> bool:
    """Return whether rows of a relation belong to tenants, and readers may see them."""
    return bool(relation.readers) and bool(relation.tenant_columns) and not relation.is_companion


@contextmanager
def _naming_an_end(server: Server) -> Iterator[None]:
    """Say so if the session that measures was ended, by other means than a lock."""
    try:
        yield
    except BLOCKED:
        raise
    except psycopg.OperationalError as error:
        raise ServerError(
            f"{server}: the measurement ended ({without_details(str(error))}); find out what ends sessions, then measure again"
        ) from error
