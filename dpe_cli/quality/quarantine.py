"""The rows that rules keep out of published relations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from dpe_cli.errors import ServerError
from dpe_cli.quality.rules import Rule
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import QUARANTINE, Relation, companion_name, companions_of, find_relation, refuse_code_of_others
from dpe_cli.server.server import Server, server_message

ACTOR = "dpe run"


@dataclass(frozen=True)
class QuarantineCount:
    """How many rows of a model a rule has quarantined; a row that breaks several rules counts for each."""

    model: str
    rule: str
    rows: int


def counts(connection: Connection, relations: Sequence[Relation], *, schema_suffix: str) -> list[QuarantineCount]:
    """
    Count the quarantined rows of relations in schemas with this suffix, by model and rule.

    Raises:
        ServerError: a relation in the place of a quarantine would run code of others.
    """
    found: list[QuarantineCount] = []
    models = companions_of((relation.schema, relation.name) for relation in relations)
    with contexts.reading_context(connection, actor=ACTOR):
        for relation in relations:
            if not relation.name.endswith(QUARANTINE):
                continue
            stored = sql.Identifier(relation.schema + schema_suffix, relation.name)
            try:
                refuse_code_of_others(connection, stored)
            except psycopg.errors.WrongObjectType as error:
                raise ServerError(f"{relation}: the quarantined rows cannot be counted ({server_message(error)}); drop it") from error
            rows = connection.execute(
                sql.SQL("select rule, count(*) from {}, unnest(_rules) as rule group by rule order by rule").format(stored)
            ).fetchall()
            _, model = models.get((relation.schema, relation.name), ("", relation.name.removesuffix(QUARANTINE)))
            found += [QuarantineCount(f"{relation.schema}.{model}", str(rule), int(str(count))) for rule, count in rows]
    return found


def kept_out(server: Server, manifest: Mapping[str, Any], rule: Rule) -> int | None:
    """Count the published models' rows that a rule has quarantined; None if it does not quarantine, or nothing is published yet."""
    relations: list[Relation] = []
    with server.connect("transformer", application_name=ACTOR) as connection:
        for test in rule.tests:
            node = manifest["nodes"][test.test_id]
            if (node["config"].get("meta") or {}).get("on_failure") != "quarantine" or not node.get("attached_node"):
                continue
            model = manifest["nodes"][node["attached_node"]]
            with connection.transaction():
                relations += filter(None, [find_relation(connection, model["schema"], companion_name(model["alias"], QUARANTINE))])
        found = counts(connection, relations, schema_suffix="") if relations else None
    return None if found is None else sum(count.rows for count in found if count.rule == rule.rule_id)


def leftovers(connection: Connection, relations: Sequence[Relation], *, schema_suffix: str) -> list[tuple[str, str]]:
    """
    Return the quarantines and masked views in schemas with this suffix that belong to relations, but are not among them.

    As published schemas and names: in the other version no rule quarantines rows, or nothing is masked.
    """
    names = {(relation.schema, relation.name) for relation in relations}
    wanted = sorted(companions_of(names).keys() - names)
    rows = connection.execute(
        """
        select wanted.schema_name, wanted.table_name
        from unnest(%s::text[], %s::text[]) as wanted (schema_name, table_name)
        inner join pg_namespace on pg_namespace.nspname = wanted.schema_name || %s
        inner join pg_class on relnamespace = pg_namespace.oid and relname = wanted.table_name
        where exists (select from pg_attribute where attrelid = pg_class.oid and attname = '_quarantined_at')
            or obj_description(pg_class.oid, 'pg_class') like 'What masked readers see of %%'
        order by 1, 2
        """,
        [[schema for schema, _ in wanted], [name for _, name in wanted], schema_suffix],
    ).fetchall()
    return [(str(schema), str(name)) for schema, name in rows]
