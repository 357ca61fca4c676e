"""Publishing: makes what `dpe run` built in the shadow schemas visible to readers, all of it at once, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from dpe_cli.errors import PublishError
from dpe_cli.publishing import builds, old_versions, swap, waiting
from dpe_cli.publishing import uses as uses_of_versions
from dpe_cli.publishing.builds import Publication
from dpe_cli.publishing.publisher import ACTOR, alone
from dpe_cli.publishing.uses import Use
from dpe_cli.quality import quarantine
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.ending import Ender
from dpe_cli.server.lock_rows import Lock
from dpe_cli.server.relations import NEXT, PREVIOUS, Relation
from dpe_cli.server.server import PATIENCE_SECONDS
from dpe_cli.server.sessions import Session


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
        with alone(connection, lock, {*schemas, *(relation.schema for relation in publication.relations)}):
            without = quarantine.leftovers(connection, publication.relations, schema_suffix="")
            replaced = swap.publish(connection, publication.relations, schemas, without=without, first=first)
            _check_unchanged(connection, publication.relations, judged)
            builds.mark_published(connection, publication, replaced)

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
    last = builds.to_undo(connection)
    restored: list[Relation] = []

    def exchange(first: Sequence[int]) -> None:
        with alone(connection, None, {*schemas, *(relation.schema for relation in last.relations)}):
            without = quarantine.leftovers(connection, last.relations, schema_suffix=PREVIOUS)
            restored[:] = swap.restore(connection, last.relations, schemas, replaced=last.replaced, without=without, first=first)
            _check_unchanged(connection, restored, judged)
            builds.mark_undone(connection, last)

    waiting.for_readers(connection, _versions(last.relations, PREVIOUS), exchange, ender=ender, say=say, patience=patience)
    return replace(_exchanged(connection, last.publication_id, schemas, lock=None, ender=ender), restored=restored)


def protection(connection: Connection, relations: Sequence[Relation]) -> dict[int, str]:
    """Return the protection of each relation, by oid: owner, policies, privileges, and triggers and rules, which run code of their own."""
    rows = connection.execute(
        """
        select
            pg_class.oid::bigint,
            jsonb_build_object(
                'triggers', (
                    select jsonb_agg(array[tgname::text, tgfoid::text, tgtype::text, tgenabled::text, tgqual::text] order by tgname)
                    from pg_trigger
                    where tgrelid = pg_class.oid and not tgisinternal
                ),
                'rules', (
                    select jsonb_agg(array[rulename::text, ev_enabled::text, md5(concat(ev_qual, ev_action))] order by rulename)
                    from pg_rewrite
                    where ev_class = pg_class.oid
                ),
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


def _exchanged(
    connection: Connection, publication_id: int, schemas: Sequence[str], *, lock: Lock | None, ender: Ender | None
) -> ExchangeResult:
    """Drop earlier versions that nothing uses, and return the result of the exchange."""
    uses = _sweep(connection, schemas, lock)
    not_ended: list[str] = []
    if ender is not None and uses:
        for moment in {use.replaced_at for use in uses}:
            ender.end({pid for use in uses if use.is_certain and use.replaced_at == moment for pid in use.pids}, began_before=moment)
            not_ended += ender.refusals
        uses = _sweep(connection, schemas, lock)
    return ExchangeResult(builds.read(connection, publication_id), [], uses, list(ender.ended) if ender else [], not_ended)


def _sweep(connection: Connection, schemas: Sequence[str], lock: Lock | None) -> list[Use]:
    """Drop unused earlier versions (unless a build has begun, which drops them itself), and return the uses of the others."""
    with suppress(PublishError), alone(connection, lock, schemas):
        old_versions.sweep(connection, schemas)
    with contexts.system_context(connection, actor=ACTOR):
        return uses_of_versions.find(connection, schemas)


def _versions(relations: Sequence[Relation], suffix: str) -> list[tuple[str, str]]:
    """Return the schemas and names of the swapped relations: the published versions, and those with this suffix."""
    return [(relation.schema + where, relation.name) for relation in relations for where in ("", suffix)]
