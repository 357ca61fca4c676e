"""
Judges relations before readers see them: are the built or restored ones protected as declared, and are there no others?

The models' code runs wherever they are built, tested, counted or documented. So relations are judged after that, in a separate session.
Their protection is returned as well, because the transaction that swaps them compares it once more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dpe_cli.access import declared, strays
from dpe_cli.pipeline import checks
from dpe_cli.project.project import Project
from dpe_cli.publishing import publication
from dpe_cli.quality import quarantine
from dpe_cli.server.connection import Connection
from dpe_cli.server.patience import limited
from dpe_cli.server.relations import MASKED, NEXT, QUARANTINE, Relation, find_relation
from dpe_cli.server.server import Server


@dataclass(frozen=True)
class Judgement:
    """What is wrong with the protection of relations, and the protection of each at that time, by oid."""

    faults: list[str]
    protection: Mapping[int, str]


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


def built_relations(connection: Connection, project: Project, names: Sequence[tuple[str, str]], made: Collection[str]) -> list[Relation]:
    """Return the relations of these names in the shadow schemas, with the views and quarantines of the models that were built."""
    wanted = dict.fromkeys([*names, *strays.of_models(connection, project, made, schema_suffix=NEXT)])
    with connection.transaction():
        found = [(schema, name, find_relation(connection, schema + NEXT, name)) for schema, name in wanted]
    return [Relation(schema, name, relation.oid) for schema, name, relation in found if relation is not None]


def judge(
    connection: Connection,
    project: Project,
    relations: Sequence[Relation],
    protected_schemas: Sequence[str],
    *,
    suffix: str,
    before: Collection[int] | None = None,
) -> Judgement:
    """
    Judge relations in schemas with this suffix before readers see them, and relations that hooks left elsewhere meanwhile.

    `connection` is one of separate_session(), `protected_schemas` are all in which dpe protects relations.

    Relations that the publication removes are not judged: quarantines and masked views whose declaration was removed. They have to be among
    `before`, the oids of what was published before the build, if these are known.
    """
    schemas = project.published_schemas
    known = strays.project_relations(project)
    parts = [known.get((relation.schema, relation.name)) for relation in relations]
    made = {part.unique_id: relation.schema + suffix for relation, part in zip(relations, parts, strict=True) if part}
    with connection.transaction():
        # First, so that changes during the rest of the checks count as changes.
        protection = publication.protection(connection, relations)
        leftovers = quarantine.leftovers(connection, relations, schema_suffix="") if suffix == NEXT else []
        leftover_relations = [(schema, name, find_relation(connection, schema, name)) for schema, name in leftovers]
        going = [
            (schema, name)
            for schema, name, relation in leftover_relations
            if before is None or (relation is not None and relation.oid in before)
        ]
    found = [
        # Published relations are judged after the run; a hook may have left relations elsewhere.
        *checks.check_protection(connection, protected_schemas, judged=[schema + suffix for schema in schemas]).faults,
        *map(str, declared.differences(connection, project, made)),
    ]
    if suffix == NEXT:
        found += map(str, strays.find(connection, project, [*schemas, *(schema + NEXT for schema in schemas)], but=going))
    found += [
        f"{relation.schema}{suffix}.{relation.name}: does not belong to a model of the project; restore its model, or run `dpe run`"
        for relation, part in zip(relations, parts, strict=True)
        if part is None and not _belongs(known, relation)
    ]
    return Judgement(found, protection)


def _belongs(known: Mapping[tuple[str, str], strays.ProjectRelation], relation: Relation) -> bool:
    """Return whether a relation is named like a model's view or quarantine, which the model's files may no longer declare."""
    names = [relation.name.removesuffix(suffix) for suffix in (QUARANTINE, MASKED) if relation.name.endswith(suffix)]
    return any((relation.schema, name) in known for name in names)
