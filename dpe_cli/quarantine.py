"""The rows that rules keep out of what is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dpe_cli import rls
from dpe_cli.swap import Relation

Connection = psycopg.Connection[tuple[object, ...]]

ACTOR = "dpe run"
# macros/quality/move_into_quarantine.sql names it so.
SUFFIX = "__quarantine"


@dataclass(frozen=True)
class Quarantined:
    """How many rows of a model a rule keeps out of it; a row that breaks several rules counts for each."""

    model: str
    rule: str
    rows: int


def counts(connection: Connection, relations: Sequence[Relation], *, schema_suffix: str) -> list[Quarantined]:
    """Count the rows in quarantine of relations in schemas with this suffix, by model and rule."""
    found: list[Quarantined] = []
    with rls.system_context(connection, actor=ACTOR):
        for one in relations:
            if not one.name.endswith(SUFFIX):
                continue
            rows = connection.execute(
                sql.SQL("select rule, count(*) from {}, unnest(_rules) as rule group by rule order by rule").format(
                    sql.Identifier(one.schema + schema_suffix, one.name)
                )
            ).fetchall()
            found += [Quarantined(f"{one.schema}.{one.name.removesuffix(SUFFIX)}", str(rule), int(str(count))) for rule, count in rows]
    return found
