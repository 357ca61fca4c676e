"""What uses earlier versions of published relations: objects of others, and transactions; each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dpe_cli.publishing import dependents, old_versions
from dpe_cli.publishing.dependents import Dependent
from dpe_cli.publishing.old_versions import StoredRelation
from dpe_cli.server import sessions, temporary
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import NEXT, PREVIOUS
from dpe_cli.server.sessions import Holder

# From this version on, the name of a temporary schema identifies its session.
_NUMBERED_SINCE = 160_000
# How many objects of one session or owner are listed for each relation.
_MOST_LISTED = 20
# When each version (given by oid) stopped being published: no object was made from it afterwards.
_REPLACED_AT = """
    select (version ->> 'oid')::bigint, max(replaced_at)
    from (
        select published_at, replaced from dpe.publications
        union all
        select undone_at, relations from dpe.publications where status = 'undone'
    ) as ended (replaced_at, versions)
    cross join lateral jsonb_array_elements(versions) as version
    where (version ->> 'oid')::bigint = any(%(versions)s)
    group by 1
"""


@dataclass(frozen=True)
class Use:
    """
    A reason why an earlier version of a relation cannot be dropped.

    It ends with the sessions in `pids`, if they began before `replaced_at`, when the version stopped being published; before
    PostgreSQL 16, it may be any one of several (`is_certain` is false).
    """

    relation: str
    version: str
    what: str
    role: str
    pids: tuple[int, ...]
    is_certain: bool
    remedy: str
    replaced_at: datetime | None = None


def find(connection: Connection, schemas: Sequence[str]) -> list[Use]:
    """Return what uses replaced versions of published schemas: the previous ones, and earlier ones."""
    connection.execute("select set_config('search_path', 'pg_catalog, pg_temp', true)")
    old = old_versions.old_schemas(connection, schemas)
    kept = {version.oid: version for version in old_versions.relations(connection, [*(schema + PREVIOUS for schema in schemas), *old])}
    built = {schema + NEXT for schema in schemas}
    replaced_at = _replaced_at(connection, list(kept))
    groups: dict[tuple[int, str, str], list[Dependent]] = {}
    for dependent in dependents.first(connection, list(kept), without_schemas=built, most=_MOST_LISTED):
        groups.setdefault((dependent.relation_id, dependent.owner, dependent.schema), []).append(dependent)
    found = [use for (relation_id, *_), group in groups.items() for use in _uses(connection, kept[relation_id], group, replaced_at)]
    # The previous version is kept anyway, so holding it does not count.
    found += [
        _held(kept[holder.relation_id], holder)
        for holder in sessions.holders(connection, [oid for oid, version in kept.items() if version.schema in old])
        if holder.is_known
    ]
    return list(dict.fromkeys(found))


def _replaced_at(connection: Connection, versions: Sequence[int]) -> dict[int, datetime]:
    """Return when versions stopped being published, by oid."""
    return dict(connection.execute(_REPLACED_AT, {"versions": versions}).fetchall())


def _uses(
    connection: Connection, version: StoredRelation, group: Sequence[Dependent], replaced_at: Mapping[int, datetime]
) -> Iterator[Use]:
    """Yield the uses of a version by objects of one owner in one schema, with the remaining ones as a single use."""
    first = group[0]
    number, moment = first.session_number, replaced_at.get(version.oid)
    pids = [] if number is None else temporary.of_temporary_schema(connection, number, first.owner, began_before=moment)
    is_certain = connection.info.server_version >= _NUMBERED_SINCE or len(pids) == 1

    def use(what: str, remedy: str) -> Use:
        names = version.published_name, f"{version.schema}.{version.name}"
        return Use(*names, what, first.owner, tuple(pids), is_certain=is_certain, remedy=remedy, replaced_at=moment)

    for dependent in group:
        yield use(dependent.what, _remedy(dependent, pids, is_certain=is_certain))
    if first.count > len(group):
        is_orphaned = number is not None and not pids
        remedy = temporary.remedy(first.schema) if is_orphaned else _remedy(first, pids, is_certain=is_certain)
        yield use(f"{first.count - len(group):,} more objects in {first.schema}", remedy)


def _remedy(dependent: Dependent, pids: Sequence[int], *, is_certain: bool) -> str:
    if pids and not is_certain:
        return "it belongs to one of these sessions (PostgreSQL before 16 does not show which one): end it"
    if pids:
        return "end that session, or let --end-sessions do so"
    if dependent.session_number is not None:
        return "its session is gone, so an administrator has to drop it"
    return "drop it, or recreate it" if dependent.kind == "other" else "recreate it"


def _held(version: StoredRelation, holder: Holder) -> Use:
    what = "an open transaction" if holder.prepared_as is None else f"the prepared transaction {holder.prepared_as!r}"
    pids = () if holder.pid is None else (holder.pid,)
    remedy = "end that session, or let --end-sessions do so" if pids else "commit it, or roll it back"
    return Use(version.published_name, f"{version.schema}.{version.name}", what, holder.role, pids, is_certain=True, remedy=remedy)
