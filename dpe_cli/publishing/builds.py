"""The builds that were recorded (dpe.publications), and what became of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import class_row

from dpe_cli.errors import PublishError
from dpe_cli.publishing.publisher import ACTOR, alone
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.lock_rows import Lock
from dpe_cli.server.relations import NEXT, Relation, find_relation

Status = Literal["built", "refused", "published", "undone"]


@dataclass(frozen=True)
class Publication:
    """A build in the shadow schemas, and what became of it."""

    publication_id: int
    status: Status
    selection: str
    relations: list[Relation]
    refused_because: str | None
    built_at: datetime
    published_at: datetime | None
    undone_at: datetime | None
    # None before it is published, and for those that an earlier version of dpe published.
    replaced: list[Relation] | None = None


def record(
    connection: Connection,
    selection: Sequence[str],
    built: Sequence[tuple[str, str]],
    refused_because: Sequence[str],
    *,
    lock: Lock | None = None,
) -> Publication:
    """
    Record what was built (published schemas and names) and, if it may not be published, why.

    `lock` is the running build's, if the caller holds it.

    Raises:
        PublishError: one of the relations is missing, or another build is running.
    """
    with alone(connection, lock, {schema for schema, _ in built}):
        relations: list[Relation] = []
        for schema, name in built:
            found = find_relation(connection, schema + NEXT, name)
            if found is None:
                raise PublishError(f"{schema}{NEXT}.{name}: was built, but no longer exists; nothing was published, run again")
            relations.append(Relation(schema, name, found.oid))
        [(publication_id,)] = connection.execute(
            """
            insert into dpe.publications (status, selection, relations, refused_because)
            values (%s, %s, %s, nullif(%s, ''))
            returning publication_id
            """,
            [
                "refused" if refused_because else "built",
                " ".join(selection),
                _as_json(relations),
                "; ".join(refused_because),
            ],
        ).fetchall()
        return _known(connection, int(str(publication_id)))


def mark_published(connection: Connection, publication: Publication, replaced: Sequence[Relation]) -> None:
    """Record that readers see a build, and what it replaced, in the caller's transaction."""
    connection.execute(
        """
        update dpe.publications
        set
            status = 'published',
            published_at = clock_timestamp(),
            replaced = %s
        where publication_id = %s
        """,
        [_as_json(replaced), publication.publication_id],
    )


def mark_undone(connection: Connection, publication: Publication) -> None:
    """Record that what a publication replaced was restored, in the caller's transaction."""
    connection.execute(
        "update dpe.publications set status = 'undone', undone_at = clock_timestamp() where publication_id = %s",
        [publication.publication_id],
    )


def to_undo(connection: Connection) -> Publication:
    """
    Return the last publication.

    Raises:
        PublishError: there is none, or it was undone already.
    """
    last = newest(connection, "published", "undone")
    if last is None or last.status == "undone":
        what = "nothing was published yet" if last is None else f"publication {last.publication_id} has already been undone"
        raise PublishError(f"{what}; there is nothing to undo")
    return last


def newest(connection: Connection, *statuses: Status) -> Publication | None:
    """Return the newest publication in one of these states."""
    with contexts.system_context(connection, actor=ACTOR):
        row = connection.execute("select max(publication_id) from dpe.publications where status = any(%s)", [list(statuses)]).fetchone()
        return None if row is None or row[0] is None else _known(connection, int(str(row[0])))


def read(connection: Connection, publication_id: int) -> Publication:
    """Return a publication."""
    with contexts.system_context(connection, actor=ACTOR):
        return _known(connection, publication_id)


def _known(connection: Connection, publication_id: int) -> Publication:
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        [row] = cursor.execute(
            """
            select
                publication_id,
                status,
                selection,
                relations,
                refused_because,
                built_at,
                published_at,
                undone_at,
                replaced
            from dpe.publications
            where publication_id = %s
            """,
            [publication_id],
        ).fetchall()
    replaced = None if row.replaced is None else [Relation(**value) for value in row.replaced]
    return Publication(**{**vars(row), "relations": [Relation(**value) for value in row.relations], "replaced": replaced})


def _as_json(relations: Sequence[Relation]) -> str:
    return json.dumps([{"schema": relation.schema, "name": relation.name, "oid": relation.oid} for relation in relations])


@dataclass
class _Row:
    publication_id: int
    status: Status
    selection: str
    relations: list[dict[str, Any]]
    refused_because: str | None
    built_at: datetime
    published_at: datetime | None
    undone_at: datetime | None
    replaced: list[dict[str, Any]] | None
