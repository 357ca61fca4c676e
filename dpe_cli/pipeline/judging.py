"""
Judges relations before readers see them: are the built or restored ones protected as declared, and are there no others?

The models' code runs wherever they are built, tested, counted or documented. So relations are judged after that, in a separate session.
Their protection is returned as well, because the transaction that swaps them compares it once more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from dpe_cli.access import declared, strays
from dpe_cli.pipeline import checks
from dpe_cli.project.project import Project
from dpe_cli.publishing import publication
from dpe_cli.quality import quarantine
from dpe_cli.server.patience import limited
from dpe_cli.server.relations import MASKED, NEXT, QUARANTINE, Relation, find_relation
from dpe_cli.server.server import Server

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Judged:
    """What is wrong with the protection of relations, and the protection of each at that time, by oid."""

    faults: list[str]
    protection: Mapping[int, str]


@contextmanager
def apart(server: Server) -> Iterator[Connection]:
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


def built(connection: Connection, project: Project, names: Sequence[tuple[str, str]], made: Collection[str]) -> list[Relation]:
    """Return the relations of these names in the shadow schemas, with the views and quarantines of the models that were built."""
    wanted = dict.fromkeys([*names, *strays.of_models(connection, project, made, schema_suffix=NEXT)])
    with connection.transaction():
        found = [(schema, name, find_relation(connection, schema + NEXT, name)) for schema, name in wanted]
    return [Relation(schema, name, one.oid) for schema, name, one in found if one is not None]


def judge(
    connection: Connection,
    project: Project,
    relations: Sequence[Relation],
    protected_schemas: Sequence[str],
    *,
    suffix: str,
    before: Collection[int] | None = None,
) -> Judged:
    """
    Judge relations in schemas with this suffix before readers see them, and relations that hooks left elsewhere meanwhile.

    `connection` is one of apart(), `protected_schemas` are all in which dpe protects relations.

    Relations that the publication removes are not judged: quarantines and masked views that are no longer declared. They have to be among
    `before`, the oids of what was published before the build, if these are known.
    """
    schemas = project.published_schemas
    known = strays.parts(project)
    parts = [known.get((one.schema, one.name)) for one in relations]
    made = {part.unique_id: one.schema + suffix for one, part in zip(relations, parts, strict=True) if part}
    with connection.transaction():
        # First, so that changes during the rest of the checks count as changes.
        protection = publication.protection(connection, relations)
        left_over = quarantine.left_over(connection, relations, schema_suffix="") if suffix == NEXT else []
        found_now = [(schema, name, find_relation(connection, schema, name)) for schema, name in left_over]
        going = [(schema, name) for schema, name, one in found_now if before is None or (one is not None and one.oid in before)]
    found = [
        # Published relations are judged after the run; a hook may have left relations elsewhere.
        *checks.check_protection(connection, protected_schemas, judged=[schema + suffix for schema in schemas]).faults,
        *declared.differences(connection, project, made),
    ]
    if suffix == NEXT:
        found += map(str, strays.find(connection, project, [*schemas, *(schema + NEXT for schema in schemas)], but=going))
    found += [
        f"{one.schema}{suffix}.{one.name}: does not belong to a model of the project; restore its model, or run `dpe run`"
        for one, part in zip(relations, parts, strict=True)
        if part is None and not _belongs(known, one)
    ]
    return Judged(found, protection)


def _belongs(known: Mapping[tuple[str, str], strays.Part], relation: Relation) -> bool:
    """Return whether a relation is named like a model's view or quarantine, which the model's files may no longer declare."""
    names = [relation.name.removesuffix(suffix) for suffix in (QUARANTINE, MASKED) if relation.name.endswith(suffix)]
    return any((relation.schema, name) in known for name in names)
