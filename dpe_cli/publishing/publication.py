"""Publishing: makes what `dpe run` built in the shadow schemas visible to readers, all of it at once, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import class_row

from dpe_cli.errors import LockLostError, PublishError
from dpe_cli.publishing import old_versions, swap, waiting
from dpe_cli.publishing import uses as uses_of_versions
from dpe_cli.publishing.uses import Use
from dpe_cli.quality import quarantine
from dpe_cli.server import contexts, lock_rows
from dpe_cli.server.connection import Connection
from dpe_cli.server.lock_rows import BUILD, Lock, TakenError
from dpe_cli.server.patience import limit_waiting
from dpe_cli.server.relations import NEXT, PREVIOUS, Relation, find_relation
from dpe_cli.server.server import PATIENCE_SECONDS, Server
from dpe_cli.server.sessions import Ender, Session

Status = Literal["built", "refused", "published", "undone"]

ACTOR = "dpe publish"


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


@dataclass(frozen=True)
class ExchangeResult:
    """
    The result of a publication, or of undoing it.

    `uses` are the remaining uses of earlier versions; `ended` are the sessions that were ended, `not_ended` why others were not.
    """

    publication: Publication
    restored: list[Relation]
    uses: list[Use]
    ended: list[Session]
    not_ended: list[str]


def connected(server: Server) -> Connection:
    """Connect as the role that publishes."""
    return server.connect("transformer", application_name=ACTOR)


@dataclass(frozen=True)
class Building:
    """A running build: its connection, and the lock that another session holds for it."""

    connection: Connection
    lock: Lock


@contextmanager
def building(server: Server, schemas: Sequence[str]) -> Iterator[Building]:
    """
    Exclude other builds for the duration of the block, empty the shadow schemas of the published ones, and drop what dbt left in these.

    Raises:
        PublishError: another build is running.
    """
    with connected(server) as aside, ExitStack() as stack:
        try:
            lock = stack.enter_context(lock_rows.held(aside, BUILD, actor=ACTOR))
        except TakenError as error:
            raise _busy("run again") from error
        with connected(server) as connection:
            # The session is idle while dbt works; a rollback would undo the setting.
            connection.execute("set idle_session_timeout = 0")
            connection.commit()
            # This build does not publish what an earlier one left.
            with _alone(connection, lock):
                old_versions.clear(connection, [schema + NEXT for schema in schemas])
                old_versions.remove_backups(connection, schemas)
                old_versions.sweep(connection, schemas)
            yield Building(connection, lock)


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
    with _alone(connection, lock):
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


def publish(
    connection: Connection,
    publication: Publication,
    schemas: Sequence[str],
    *,
    judged: Mapping[int, str] | None = None,
    lock: Lock | None = None,
    ender: Ender | None = None,
    say: Callable[[str], None] = lambda _text: None,
    patience: float = PATIENCE_SECONDS,
) -> ExchangeResult:
    """
    Make a build visible to readers, in one transaction; what it replaces is kept.

    Waits for readers without blocking new ones; an `ender` ends the sessions of those that stay. `judged` is the protection of the
    relations when they were judged, which must not have changed. `lock` is the running build's, if the caller holds it.

    Raises:
        PublishError: it may not be published, no longer exists, its protection has changed, one of the pipeline's objects cannot follow,
            another build is running, or readers do not release a relation.
    """
    if publication.status != "built":
        because = f" ({publication.refused_because})" if publication.refused_because else ""
        raise PublishError(f"publication {publication.publication_id}: is {publication.status}{because}; run `dpe run` to build again")

    def exchange(first: Sequence[int]) -> None:
        with _alone(connection, lock):
            without = quarantine.leftovers(connection, publication.relations, schema_suffix="")
            replaced = swap.publish(connection, publication.relations, schemas, without=without, first=first)
            _check_unchanged(connection, publication.relations, judged)
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

    waiting.for_readers(connection, _versions(publication.relations, NEXT), exchange, ender=ender, say=say, patience=patience)
    return _exchanged(connection, publication.publication_id, schemas, lock=lock, ender=ender)


def undo(
    connection: Connection,
    schemas: Sequence[str],
    *,
    judged: Mapping[int, str] | None = None,
    ender: Ender | None = None,
    say: Callable[[str], None] = lambda _text: None,
    patience: float = PATIENCE_SECONDS,
) -> ExchangeResult:
    """
    Restore what the last publication replaced; `judged` is as in publish().

    Raises:
        PublishError: nothing was published, or it was undone already or rebuilt since; what it replaced no longer exists, or its protection
            has changed; another build is running; or readers do not release a relation.
    """
    last = to_undo(connection)
    restored: list[Relation] = []

    def exchange(first: Sequence[int]) -> None:
        with _alone(connection, None):
            without = quarantine.leftovers(connection, last.relations, schema_suffix=PREVIOUS)
            restored[:] = swap.restore(connection, last.relations, schemas, replaced=last.replaced, without=without, first=first)
            _check_unchanged(connection, restored, judged)
            connection.execute(
                "update dpe.publications set status = 'undone', undone_at = clock_timestamp() where publication_id = %s",
                [last.publication_id],
            )

    waiting.for_readers(connection, _versions(last.relations, PREVIOUS), exchange, ender=ender, say=say, patience=patience)
    return replace(_exchanged(connection, last.publication_id, schemas, lock=None, ender=ender), restored=restored)


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


def protection(connection: Connection, relations: Sequence[Relation]) -> dict[int, str]:
    """Return the protection of each relation, by oid: owner, policies, privileges, and triggers, which run their own code."""
    rows = connection.execute(
        """
        select
            pg_class.oid::bigint,
            jsonb_build_object(
                'kind', relkind,
                'triggers', (select count(*) from pg_trigger where tgrelid = pg_class.oid and not tgisinternal),
                'rules', (select count(*) from pg_rewrite where ev_class = pg_class.oid),
                'protection', dpe.protection_of(pg_class.oid)
            )::text
        from pg_class
        where pg_class.oid = any(%s)
        """,
        [[relation.oid for relation in relations]],
    ).fetchall()
    return {int(str(oid)): str(found) for oid, found in rows}


def _check_unchanged(connection: Connection, relations: Sequence[Relation], judged: Mapping[int, str] | None) -> None:
    """Compare the protection of the now locked relations with what was judged."""
    if judged is None:
        return
    found = protection(connection, relations)
    for relation in relations:
        if found.get(relation.oid) != judged.get(relation.oid):
            raise PublishError(f"{relation}: its protection was changed after it was checked; run `dpe run` to build and publish it")


def newest(connection: Connection, *statuses: Status) -> Publication | None:
    """Return the newest publication in one of these states."""
    with contexts.system_context(connection, actor=ACTOR):
        row = connection.execute("select max(publication_id) from dpe.publications where status = any(%s)", [list(statuses)]).fetchone()
        return None if row is None or row[0] is None else _known(connection, int(str(row[0])))


def read(connection: Connection, publication_id: int) -> Publication:
    """Return a publication."""
    with contexts.system_context(connection, actor=ACTOR):
        return _known(connection, publication_id)


@contextmanager
def _alone(connection: Connection, lock: Lock | None) -> Iterator[None]:
    """
    Open a transaction during which no build runs, except that of the `lock`, which has to be held until the transaction ends.

    Raises:
        PublishError: another build is running, or the lock is lost, so that one may be running.
    """
    try:
        with contexts.system_context(connection, actor=ACTOR):
            if lock is None:
                lock_rows.take(connection, BUILD)
            else:
                lock.check()
            limit_waiting(connection)
            yield
            if lock is not None:
                lock.check()
    except TakenError as error:
        raise _busy("publish or undo") from error
    except LockLostError as error:
        raise PublishError(str(error)) from error


def _busy(what_to_do: str) -> PublishError:
    """Refuse to disturb a build: its work so far would be lost."""
    return PublishError(f"another `dpe run` is building; wait for it to end, then {what_to_do}")


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


def _exchanged(
    connection: Connection, publication_id: int, schemas: Sequence[str], *, lock: Lock | None, ender: Ender | None
) -> ExchangeResult:
    """Drop earlier versions that nothing uses, and return the result of the exchange."""
    uses = _sweep(connection, schemas, lock)
    not_ended: list[str] = []
    if ender is not None and uses:
        for moment in {one.replaced_at for one in uses}:
            ender.end({pid for one in uses if one.is_certain and one.replaced_at == moment for pid in one.pids}, began_before=moment)
            not_ended += ender.refusals
        uses = _sweep(connection, schemas, lock)
    return ExchangeResult(read(connection, publication_id), [], uses, list(ender.ended) if ender else [], not_ended)


def _sweep(connection: Connection, schemas: Sequence[str], lock: Lock | None) -> list[Use]:
    """Drop unused earlier versions (unless a build has begun, which drops them itself), and return the uses of the others."""
    with suppress(PublishError), _alone(connection, lock):
        old_versions.sweep(connection, schemas)
    with contexts.system_context(connection, actor=ACTOR):
        return uses_of_versions.find(connection, schemas)


def _versions(relations: Sequence[Relation], suffix: str) -> list[tuple[str, str]]:
    """Return the schemas and names of the swapped relations: the published versions, and those with this suffix."""
    return [(relation.schema + where, relation.name) for relation in relations for where in ("", suffix)]


__all__ = ["Building", "ExchangeResult", "Publication", "building", "newest", "protection", "publish", "read", "record", "to_undo", "undo"]
