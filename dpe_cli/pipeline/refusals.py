"""
Decides whether a publication is refused: because nodes failed, because Jinja changed dbt, or because of how relations are protected.

The models' code runs wherever they are built, tested, counted or documented. So relations are judged after that, in a separate session:
the built or restored ones have to be protected as declared, and there may be no others. Their protection is returned as well, because
the transaction that swaps them compares it once more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dpe_cli.access import code_in_sources, declared, strays, visibility
from dpe_cli.access.matrix import Cell
from dpe_cli.pipeline import checks, protection
from dpe_cli.progress import Progress
from dpe_cli.project.dbt_runner import SKIPPED, NodeResult
from dpe_cli.project.project import Project
from dpe_cli.publishing import neighbours, publication
from dpe_cli.quality import quarantine
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import NEXT, Relation, companions_of, find_relation
from dpe_cli.server.server import Server


@dataclass(frozen=True)
class Judgement:
    """What is wrong with the protection of relations, and the protection of each at that time, by oid."""

    faults: list[str]
    protection: Mapping[int, str]


def of_nodes(results: Iterable[NodeResult], changed: Iterable[str]) -> list[str]:
    """
    Return why the run of dbt refuses a publication: nodes that failed, and what Jinja `changed` in dbt meanwhile.

    A node that was skipped counts too, if none failed: something that was selected is missing, and nothing else says so.
    """
    done = list(results)
    failed = [of_node(result) for result in done if result.has_failed]
    skipped = [
        f"{result.resource_type} {result.name} was skipped, although nothing failed; `dpe dbt build --select {result.name}` may show why"
        for result in done
        if result.status in SKIPPED
    ]
    return [*(failed or skipped), *map(_changed_by_jinja, changed)]


def of_node(result: NodeResult) -> str:
    """Return which node failed: `rule DPE-101-05 failed: flights_are_scheduled_once (10 failing)`."""
    if result.rule and result.failures is None:
        return f"rule {result.rule} cannot be tested: {result.name}"
    name = f"rule {result.rule} failed: {result.name}" if result.rule else f"{result.resource_type} {result.name} failed"
    return name if result.failures is None else f"{name} ({result.failures:,} failing)"


def _changed_by_jinja(what: str) -> str:
    return f"{what}: was changed in dbt while the project was built; check for Jinja that changes nodes, macros or dbt's own variables"


def built_relations(connection: Connection, project: Project, names: Sequence[tuple[str, str]], made: Collection[str]) -> list[Relation]:
    """Return the relations of these names in the shadow schemas, with the views and quarantines of the models that were built."""
    wanted = dict.fromkeys([*names, *strays.of_models(connection, project.manifest, made, schema_suffix=NEXT)])
    with connection.transaction():
        found = [(schema, name, find_relation(connection, schema + NEXT, name)) for schema, name in wanted]
    return [Relation(schema, name, relation.oid) for schema, name, relation in found if relation is not None]


def measure(project: Project, server: Server, relations: Sequence[Relation], progress: Progress) -> tuple[list[Cell], list[str]]:
    """
    Measure who will see what of built relations with tenants; return the cells, and what is wrong.

    This runs the models' code, so it comes before judge().

    Raises:
        ServerError: the session that measures was ended, or sessions did not release what it reads.
    """
    cells = protection.measure_built(project, server, relations, progress)
    return cells, list(checks.check_visibility(visibility.of_models(cells, project.models.values(), project.target)).faults)


def judge(
    project: Project, server: Server, relations: Sequence[Relation], *, suffix: str, before: Collection[int] | None = None
) -> Judgement:
    """
    Judge relations in schemas with this suffix before readers see them, and relations that hooks left elsewhere meanwhile.

    Relations that the publication removes are not judged: quarantines and masked views whose declaration was removed. They have to be among
    `before`, the oids of what was published before the build, if these are known.
    """
    schemas = project.published_schemas
    known = strays.project_relations(project.manifest)
    # A model's view or quarantine, which the model's files may no longer declare.
    companions = companions_of(known)
    parts = [known.get((relation.schema, relation.name)) for relation in relations]
    made = {part.unique_id: relation.schema + suffix for relation, part in zip(relations, parts, strict=True) if part}
    with protection.separate_session(server) as connection:
        protected_schemas = [*protection.protected_schemas(connection, project), *neighbours.schemas(connection)]
        with connection.transaction():
            # First, so that changes during the rest of the checks count as changes.
            protection_of = publication.protection(connection, relations)
            leftovers = quarantine.leftovers(connection, relations, schema_suffix="") if suffix == NEXT else []
            leftover_relations = [(schema, name, find_relation(connection, schema, name)) for schema, name in leftovers]
            removed = [
                (schema, name)
                for schema, name, relation in leftover_relations
                if before is None or (relation is not None and relation.oid in before)
            ]
        # Published relations are judged after the run; a hook may have left relations elsewhere, also where tests store failures.
        judged = [*(schema + suffix for schema in schemas), *project.failure_schemas]
        found = [
            *checks.check_protection(connection, protected_schemas, judged=judged).faults,
            *map(str, declared.differences(connection, project.manifest, project.target, made)),
        ]
        if suffix == NEXT:
            found += strays.of_other_kinds(connection, project.manifest, relations)
            found += map(str, code_in_sources.find(connection, project.manifest, made))
            found += map(str, strays.find(connection, project.manifest, [*schemas, *(schema + NEXT for schema in schemas)], but=removed))
    found += [
        f"{relation.schema}{suffix}.{relation.name}: does not belong to a model of the project; restore its model, or run `dpe run`"
        for relation, part in zip(relations, parts, strict=True)
        if part is None and (relation.schema, relation.name) not in companions
    ]
    return Judgement(found, protection_of)
