"""What publishing a build would change: the columns and rows of each relation, compared with what readers see now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from dpe_cli.errors import PublishError, UnknownNameError
from dpe_cli.project.model import key_of, models_of
from dpe_cli.publishing import builds
from dpe_cli.publishing.changed_rows import ChangedRow, changed_rows
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import NEXT, Relation, columns_of, find_relation, refuse_code_of_others
from dpe_cli.server.server import Server, server_message
from dpe_cli.words import did_you_mean

ACTOR = "dpe diff"


@dataclass(frozen=True)
class Difference:
    """
    What would change in one relation.

    `changed` counts rows with the same key and other values; without a key, a changed row counts as removed and added.
    `rows_before` is None for a new relation. `values_changed` counts the rows in which a column differs, `changed_rows` are a few of them.
    """

    relation: str
    key: tuple[str, ...]
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    columns_changed: tuple[str, ...]
    rows_before: int | None
    rows_after: int
    added: int
    removed: int
    changed: int
    values_changed: Mapping[str, int] = field(default_factory=dict)
    changed_rows: Sequence[ChangedRow] = ()

    @property
    def is_none(self) -> bool:
        """Whether nothing would change for readers."""
        return not (
            self.rows_before is None
            or self.columns_added
            or self.columns_removed
            or self.columns_changed
            or self.added
            or self.removed
            or self.changed
        )


def compare(
    server: Server,
    manifest: Mapping[str, Any],
    wanted: Sequence[str],
    *,
    tenant_id: str | None = None,
    on_relation: Callable[[str], None] | None = None,
) -> tuple[builds.Publication, list[Difference]]:
    """
    Compare the newest build with the published version; `manifest` is dbt's, `wanted` are names of models, all if it is empty.

    It compares, and shows, the rows that dpe_transformer may see: those of every tenant, or of `tenant_id` only. Values of a column that
    any model masks are not among them. `on_relation` is called with the name of each compared relation.

    Raises:
        PublishError: nothing is built that is not published yet, or a relation cannot be read.
        UnknownNameError: a model is not part of it.
    """
    models = models_of(manifest).values()
    keys = {(model.schema, model.alias): key_of(manifest, model) for model in models}
    masked = {name for model in models for name in model.masked}
    with server.connect("transformer", application_name="dpe diff") as connection:
        built = builds.newest(connection, "built", "refused", "published", "undone")
        if built is None or built.status not in {"built", "refused"}:
            raise PublishError(
                "no build is waiting to be published (an undone one no longer counts); "
                "run `dpe run --no-publish` to build without publishing"
            )
        relations = _wanted(built.relations, wanted)
        with contexts.reading_context(connection, actor=ACTOR, tenant_id=tenant_id):
            found: list[Difference] = []
            for relation in relations:
                if find_relation(connection, relation.schema + NEXT, relation.name):
                    with _reading(relation):
                        found.append(_difference(connection, relation, keys.get((relation.schema, relation.name), ()), masked))
                    if on_relation:
                        on_relation(str(relation))
            return built, found


def _wanted(relations: Sequence[Relation], wanted: Sequence[str]) -> list[Relation]:
    names = [relation.name for relation in relations]
    for name in wanted:
        if name not in names:
            hint = did_you_mean(name, names, f"it built {', '.join(names) or 'nothing'}")
            raise UnknownNameError(f"{name}: is not part of the newest build; {hint}")
    return [relation for relation in relations if not wanted or relation.name in wanted]


@contextmanager
def _reading(relation: Relation) -> Iterator[None]:
    """Say which relation cannot be read: a view runs its model's code whenever it is read."""
    try:
        yield
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise PublishError(
            f"{relation}: cannot be compared, because reading what was built or what is published failed ({server_message(error)}); "
            "correct its model, then run `dpe run --no-publish`"
        ) from error


def _difference(connection: Connection, relation: Relation, key: tuple[str, ...], masked: Collection[str]) -> Difference:
    after = sql.Identifier(relation.schema + NEXT, relation.name)
    before = sql.Identifier(relation.schema, relation.name)
    is_published = find_relation(connection, relation.schema, relation.name) is not None
    for compared in (after, before) if is_published else (after,):
        refuse_code_of_others(connection, compared)
    new = columns_of(connection, after)
    old = columns_of(connection, before) if is_published else None
    [(rows_after,)] = connection.execute(sql.SQL("select count(*) from {}").format(after)).fetchall()
    if old is None:
        return Difference(str(relation), key, (), (), (), None, int(str(rows_after)), int(str(rows_after)), 0, 0)
    [(rows_before,)] = connection.execute(sql.SQL("select count(*) from {}").format(before)).fetchall()
    common = [name for name in new if old.get(name) == new[name]]
    usable_key = key if key and set(key) <= set(common) else ()
    added, removed, changed = _compare_rows(connection, before, after, usable_key, common)
    values_changed, rows = changed_rows(connection, before, after, usable_key, common, masked=masked) if changed else ({}, [])
    return Difference(
        relation=str(relation),
        key=usable_key,
        columns_added=tuple(name for name in new if name not in old),
        columns_removed=tuple(name for name in old if name not in new),
        columns_changed=tuple(f"{name}: {old[name]} → {new[name]}" for name in new if name in old and old[name] != new[name]),
        rows_before=int(str(rows_before)),
        rows_after=int(str(rows_after)),
        added=added,
        removed=removed,
        changed=changed,
        values_changed=values_changed,
        changed_rows=rows,
    )


def _compare_rows(
    connection: Connection, before: sql.Identifier, after: sql.Identifier, key: Sequence[str], columns: Sequence[str]
) -> tuple[int, int, int]:
    """Count the rows that are added, removed and changed in the columns that both versions have."""
    # Identical rows are numbered and paired by number, so that each duplicate counts.
    values = sql.SQL("md5(row({})::text)").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
    match_on = sql.SQL("row({})::text").format(sql.SQL(", ").join(map(sql.Identifier, key))) if key else values
    query = sql.SQL(
        """
        with

        before as (

            select
                {match_on} as matched,
                {values} as content,
                row_number() over (partition by {match_on} order by {values}) as nth
            from {before}

        ),

        after as (

            select
                {match_on} as matched,
                {values} as content,
                row_number() over (partition by {match_on} order by {values}) as nth
            from {after}

        )

        select
            count(*) filter (where before.matched is null),
            count(*) filter (where after.matched is null),
            count(*) filter (where before.content <> after.content)
        from before
        full join after on before.matched = after.matched and before.nth = after.nth
        """
    ).format(match_on=match_on, values=values, before=before, after=after)
    [(added, removed, changed)] = connection.execute(query).fetchall()
    return int(str(added)), int(str(removed)), int(str(changed))
