"""Publishing: what `dpe run` built beside the published version becomes visible to readers, all of it at once, or nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from dpe_cli import quarantine, rls, swap
from dpe_cli.errors import PublishError
from dpe_cli.postgres import Server
from dpe_cli.swap import NEXT, PREVIOUS, Relation

Connection = psycopg.Connection[tuple[object, ...]]
Status = Literal["built", "refused", "published", "undone"]

ACTOR = "dpe publish"
# Shorter than deadlock_timeout (1 s by default): it is the publisher that gives way, never a reader.
_LOCK_TIMEOUT = "400ms"
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
PATIENCE_SECONDS = 600.0
_SAY_AFTER_SECONDS = 5.0
# One build beside the published version at a time. An arbitrary number, dpe's own.
_LOCK = 0x6470655F6E657874


@dataclass(frozen=True)
class Publication:
    """A build beside the published version, and what became of it."""

    publication_id: int
    status: Status
    selection: str
    relations: list[Relation]
    refused_because: str | None
    built_at: datetime
    published_at: datetime | None
    undone_at: datetime | None


def connected(server: Server) -> Connection:
    """Connect as the role that publishes."""
    return server.connect("transformer", application_name=ACTOR)


@contextmanager
def building(
    server: Server,
    schemas: Sequence[str],
    *,
    say: Callable[[str], None] = lambda _text: None,
    patience: float = PATIENCE_SECONDS,
) -> Iterator[Connection]:
    """
    Keep other builds away for as long as the block takes, and make place beside the published schemas.

    Gives the connection that holds the lock.

    Raises:
        PublishError: another build is running, something depends on what an earlier one left, or a session never let go of it.
    """
    beside = [schema + NEXT for schema in schemas]
    with connected(server) as connection:
        with connection.transaction():
            _keep_others_away(connection, "pg_try_advisory_lock", "run again")
            left = swap.names(connection, beside)
        try:
            # What an earlier build left is not published by this one.
            _patiently(
                connection,
                left,
                lambda _first: swap.clear(connection, beside),
                say=say,
                patience=patience,
                purpose="build",
                advice="nothing is built. End that session, then run again",
            )
            yield connection
        finally:
            # The server notices the end of a session some time later, when the next command may be here already.
            if not connection.closed:
                connection.rollback()
                connection.execute("select pg_advisory_unlock(%s)", [_LOCK])


def record(
    connection: Connection, selection: Sequence[str], built: Sequence[tuple[str, str]], refused_because: Sequence[str]
) -> Publication:
    """
    Write down what was built, as published schemas and names, with what belongs to it, and why it may not be published, if so.

    Raises:
        PublishError: one of them is not there.
    """
    with rls.system_context(connection, actor=ACTOR):
        relations: list[Relation] = []
        for schema, name in built:
            found = swap.find(connection, schema + NEXT, name)
            if found is None:
                raise PublishError(f"{schema}{NEXT}.{name}: was built and is not there any more; nothing is published, run again")
            relations.append(Relation(schema, name, found.oid))
            beside = [swap.find(connection, schema + NEXT, name + suffix) for suffix in (quarantine.SUFFIX, quarantine.MASKED)]
            relations += [Relation(schema, one.name, one.oid) for one in beside if one is not None]
        [(publication_id,)] = connection.execute(
            """
            insert into dpe.publications (status, selection, relations, refused_because)
            values (%s, %s, %s, nullif(%s, ''))
            returning publication_id
            """,
            [
                "refused" if refused_because else "built",
                " ".join(selection),
                json.dumps([{"schema": one.schema, "name": one.name, "oid": one.oid} for one in relations]),
                "; ".join(refused_because),
            ],
        ).fetchall()
        return _known(connection, int(str(publication_id)))


def publish(
    connection: Connection,
    publication: Publication,
    schemas: Sequence[str],
    *,
    say: Callable[[str], None] = lambda _text: None,
    patience: float = PATIENCE_SECONDS,
) -> Publication:
    """
    Make a build visible to readers, in one transaction; what it replaces is kept.

    Readers are waited for without keeping other readers from coming.

    Raises:
        PublishError: it may not be published, is not there any more, something cannot follow, or readers never let go.
    """
    if publication.status != "built":
        because = f" ({publication.refused_because})" if publication.refused_because else ""
        raise PublishError(f"publication {publication.publication_id}: is {publication.status}{because}; run `dpe run` to build anew")

    def exchange(first: Sequence[int]) -> None:
        _keep_others_away(connection, "pg_try_advisory_xact_lock", "publish or undo")
        without = quarantine.left_over(connection, publication.relations, schema_suffix="")
        swap.publish(connection, publication.relations, schemas, without=without, first=first)
        connection.execute(
            "update dpe.publications set status = 'published', published_at = clock_timestamp() where publication_id = %s",
            [publication.publication_id],
        )

    _patiently(connection, _versions(publication.relations), exchange, say=say, patience=patience)
    return read(connection, publication.publication_id)


def undo(
    connection: Connection, schemas: Sequence[str], *, say: Callable[[str], None] = lambda _text: None, patience: float = PATIENCE_SECONDS
) -> tuple[Publication, list[Relation]]:
    """
    Bring back what the last publication replaced; return the publication, and what came back.

    Raises:
        PublishError: nothing was published, it was taken back already, or built over since; or readers never let go.
    """
    last = newest(connection, "published", "undone")
    if last is None or last.status == "undone":
        what = "nothing was published yet" if last is None else f"publication {last.publication_id} was taken back already"
        raise PublishError(f"{what}; there is nothing to undo")
    restored: list[Relation] = []

    def exchange(first: Sequence[int]) -> None:
        _keep_others_away(connection, "pg_try_advisory_xact_lock", "publish or undo")
        without = quarantine.left_over(connection, last.relations, schema_suffix=PREVIOUS)
        restored[:] = swap.take_back(connection, last.relations, schemas, without=without, first=first)
        connection.execute(
            "update dpe.publications set status = 'undone', undone_at = clock_timestamp() where publication_id = %s",
            [last.publication_id],
        )

    _patiently(connection, _versions(last.relations), exchange, say=say, patience=patience)
    return read(connection, last.publication_id), restored


def newest(connection: Connection, *statuses: Status) -> Publication | None:
    """Return the newest publication in one of these states."""
    with rls.system_context(connection, actor=ACTOR):
        row = connection.execute("select max(publication_id) from dpe.publications where status = any(%s)", [list(statuses)]).fetchone()
        return None if row is None or row[0] is None else _known(connection, int(str(row[0])))


def read(connection: Connection, publication_id: int) -> Publication:
    """Return a publication."""
    with rls.system_context(connection, actor=ACTOR):
        return _known(connection, publication_id)


def _keep_others_away(connection: Connection, take_lock: str, what_to_do: str) -> None:
    """Refuse while another session builds: what it has built so far would be lost. A session's own build is none."""
    row = connection.execute(sql.SQL("select {}(%s)").format(sql.Identifier(take_lock)), [_LOCK]).fetchone()
    if row != (True,):
        raise PublishError(f"another `dpe run` is building; wait for it to end, then {what_to_do}")


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
                undone_at
            from dpe.publications
            where publication_id = %s
            """,
            [publication_id],
        ).fetchall()
    return Publication(**{**vars(row), "relations": [Relation(**one) for one in row.relations]})


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


def _versions(relations: Sequence[Relation]) -> list[tuple[str, str]]:
    return [(one.schema + suffix, one.name) for one in relations for suffix in ("", NEXT, PREVIOUS)]


def _patiently(
    connection: Connection,
    names: Sequence[tuple[str, str]],
    exchange: Callable[[Sequence[int]], None],
    *,
    say: Callable[[str], None],
    patience: float,
    purpose: str = "publish",
    advice: str = "nothing is published. End that session, then run `dpe publish`",
) -> None:
    """Exchange in one transaction, again and again while sessions hold relations of these schemas and names."""
    started = time.monotonic()
    pause = _FIRST_PAUSE
    has_said = False
    held: list[int] = []
    while True:
        try:
            with rls.system_context(connection, actor=ACTOR):
                connection.execute("select set_config('lock_timeout', %s, true)", [_LOCK_TIMEOUT])
                exchange(held)
        except (swap.HeldError, psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if isinstance(error, swap.HeldError):
                held = [error.oid, *(oid for oid in held if oid != error.oid)]
            waited = time.monotonic() - started
            holders = _holders(connection, names)
            if waited > patience:
                raise PublishError(f"after {waited:.0f} s {holders} still; {advice}") from error
            if waited > _SAY_AFTER_SECONDS and not has_said:
                say(f"Waiting to {purpose}: {holders}.")
                has_said = True
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return


def _holders(connection: Connection, names: Sequence[tuple[str, str]]) -> str:
    with connection.transaction():
        rows = connection.execute(
            sql.SQL(
                """
                select distinct coalesce(usename, 'a session'), pg_locks.pid, nspname || '.' || relname
                from pg_locks
                inner join pg_class on pg_locks.relation = pg_class.oid
                inner join pg_namespace on relnamespace = pg_namespace.oid
                left join pg_stat_activity on pg_locks.pid = pg_stat_activity.pid
                where granted
                    and pg_locks.pid <> pg_backend_pid()
                    and (nspname, relname) in (select * from unnest(%s::text[], %s::text[]))
                order by 2, 3
                limit 1
                """
            ),
            [[schema for schema, _ in names], [name for _, name in names]],
        ).fetchall()
    return "; ".join(f"{user} (process {pid}) holds {relation}" for user, pid, relation in rows) or "a session holds what is in the way"


__all__ = ["Publication", "building", "newest", "publish", "read", "record", "undo"]
