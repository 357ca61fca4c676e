"""
What is judged before readers see it: is what was built, or is to come back, protected as the project declares, and nothing else besides?

Code of the models runs wherever they are built, tested, counted or documented. So they are judged after that, in a session of its own,
and what protects them is returned as well: the transaction that exchanges them compares it once more.
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
from dpe_cli.server.relations import MASKED, NEXT, QUARANTINE, Relation, find_relation
from dpe_cli.server.server import Server

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Judged:
    """What is wrong with the protection of relations, and what protects each of them, by its oid, as it was then."""

    faults: list[str]
    protection: Mapping[int, str]


@contextmanager
def apart(server: Server) -> Iterator[Connection]:
    """Open a session of its own to judge in, so that what code of models did to another session has no effect."""
    with server.connect("transformer") as connection:
        # A hook may have set something else for the role.
        connection.execute("set role none; set row_security = on")
        connection.commit()
        yield connection


def built(connection: Connection, project: Project, names: Sequence[tuple[str, str]], made: Collection[str]) -> list[Relation]:
    """Return the relations of these names that were built beside what is published, with what belongs to the models that were made."""
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
    Judge relations, which are in schemas with this suffix, before readers see them; and what was left elsewhere meanwhile.

    `connection` is one of apart(), `protected_schemas` are all in which dpe protects something.

    What goes with the publication is not judged: quarantines and masked views that no file declares any more. It has to be among `before`,
    the oids of what was published before the build, where these are known.
    """
    schemas = project.published_schemas
    known = strays.parts(project)
    parts = [known.get((one.schema, one.name)) for one in relations]
    made = {part.unique_id: one.schema + suffix for one, part in zip(relations, parts, strict=True) if part}
    with connection.transaction():
        # First, so that what changes while the rest is looked at is a change.
        protection = publication.protection(connection, relations)
        left_over = quarantine.left_over(connection, relations, schema_suffix="") if suffix == NEXT else []
        found_now = [(schema, name, find_relation(connection, schema, name)) for schema, name in left_over]
        going = [(schema, name) for schema, name, one in found_now if before is None or (one is not None and one.oid in before)]
    found = [
        # What is published already is judged after the run; a hook may have left something elsewhere.
        *checks.check_protection(connection, protected_schemas, judged=[schema + suffix for schema in schemas]).faults,
        *declared.differences(connection, project, made),
    ]
    if suffix == NEXT:
        found += map(str, strays.find(connection, project, [*schemas, *(schema + NEXT for schema in schemas)], but=going))
    found += [
        f"{one.schema}{suffix}.{one.name}: belongs to no model of the project; restore its model, or run `dpe run`"
        for one, part in zip(relations, parts, strict=True)
        if part is None and not _belongs(known, one)
    ]
    return Judged(found, protection)


def _belongs(known: Mapping[tuple[str, str], strays.Part], relation: Relation) -> bool:
    """Tell whether a relation has the name of what belongs to a model: its files may declare no mask or quarantine any more."""
    names = [relation.name.removesuffix(suffix) for suffix in (QUARANTINE, MASKED) if relation.name.endswith(suffix)]
    return any((relation.schema, name) in known for name in names)
