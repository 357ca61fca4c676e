"""What a relation holds, as the actor that sees all of it finds it: the number of rows, the tenants, and a row to try writes with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from dpe_cli.access import guarded
from dpe_cli.access.actors import as_actor, everything_of
from dpe_cli.project.model import Model
from dpe_cli.project.source import Source
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import MASKED, QUARANTINE, columns_of, companions_of, encoded_name, is_shadow, published_schema
from dpe_cli.server.server import server_message

# Denied: the actor lacks the privilege. Refused: it has the privilege, but policies stop it. Allowed: it can do it.
DENIED, REFUSED, ALLOWED = "denied", "refused", "allowed"

_RELATIONS = """
    select
        pg_class.oid,
        nspname,
        relname,
        relkind::text,
        pg_get_userbyid(relowner) = 'dpe_loader'
    from pg_class
    inner join pg_namespace on relnamespace = pg_namespace.oid
    where nspname = any(%s)
        and relkind in ('r', 'p', 'v')
        and not (relkind = 'r' and pg_get_userbyid(relowner) = 'dpe_loader')
    order by nspname, relname
"""
# The tenants of a relation with their row counts, most first. A row may belong to several; rows without a tenant are omitted.
_TENANTS = """
    select
        tenants.tenant,
        count(*) as rows
    from {relation} as protected
    cross join lateral (select distinct unnest(array[{columns}]::text[]) as tenant) as tenants
    where tenants.tenant <> ''
    group by tenants.tenant
    order by 2 desc, 1
"""


@dataclass(frozen=True)
class MeasuredRelation:
    """
    A relation: its kind as in pg_class, how its model declares who may see it, which columns are `masked`, and which roles read it.

    A companion is a quarantine or a masked view of a model; a staging table belongs to the loader. `waits_in` is the schema in which it
    waits to be published in `schema`.
    """

    oid: int
    schema: str
    name: str
    kind: str
    declared: str
    tenant_columns: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    is_companion: bool = False
    is_staging: bool = False
    waits_in: str | None = None

    def __str__(self) -> str:
        """Name it."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """Its quoted name."""
        return sql.Identifier(self.stored_in, self.name)

    @property
    def stored_in(self) -> str:
        """The schema that it is in."""
        return self.waits_in or self.schema


@dataclass(frozen=True)
class Sample:
    """
    A relation with its row count, its tenants with theirs, most first, and a row of the first tenant: values, table and ctid.

    `is_of_declaration` is false for a version that was built under an earlier declaration of the model. `problem` is the server's
    message if the relation cannot be read.
    """

    relation: MeasuredRelation
    rows: int
    tenants: tuple[tuple[str, int], ...]
    row: Any
    is_of_declaration: bool = True
    problem: str | None = None


def find_relations(
    connection: Connection, models: Iterable[Model], sources: Iterable[Source], schemas: Sequence[str], target: str
) -> list[MeasuredRelation]:
    """Return the relations in a target's schemas, except slices, which are read through their parents."""
    declared = {
        (model.schema, model.alias): (model.declared, model.tenant_columns, model.masked, model.readers_in(target)) for model in models
    }
    for source in sources:
        column = source.table.tenant_column
        # A source that names a model's relation does not make it private.
        declared.setdefault((source.table.schema, source.table.name), ("private", (column,) if column else (), (), ()))
    models_of = companions_of(declared)
    with connection.transaction():
        rows = connection.execute(_RELATIONS, [list(schemas)]).fetchall()
    found = []
    for oid, schema, name, kind, is_staging in rows:
        published = (published_schema(str(schema)), str(name))
        of_model = declared.get(models_of.get(published, published), ("private", (), (), ()))
        is_companion = str(name).endswith((QUARANTINE, MASKED))
        found.append(
            MeasuredRelation(int(oid), str(schema), str(name), str(kind), *of_model, is_companion=is_companion, is_staging=bool(is_staging))
        )
    return found


def sample_of(connection: Connection, relation: MeasuredRelation) -> Sample:
    """Sample a relation; one that raises, as a view may that calls its author's code, is measured without a row and tenants."""
    samples: list[Sample] = []

    def sample() -> int:
        samples.append(_sample_rows(connection, relation))
        return 1

    outcome = outcome_of(sample)
    return samples[0] if samples else Sample(relation, 0, (), None, is_of_declaration=False, problem=str(outcome))


def _sample_rows(connection: Connection, relation: MeasuredRelation) -> Sample:
    """Sample a relation as the actor that sees all of it."""
    everything = everything_of(relation.schema)
    with as_actor(connection, everything):
        [counted] = guarded.rows(connection, everything.role, sql.SQL("select count(*) as rows from {}").format(relation.identifier))
        tenants: list[tuple[str, int]] | None = []
        where = sql.Composed([])
        if relation.tenant_columns:
            is_complete = columns_of(connection, relation.identifier).keys() >= set(relation.tenant_columns)
            query = tenants_query(relation.identifier, relation.tenant_columns)
            tenants = (
                [(str(row["tenant"]), int(row["rows"])) for row in guarded.rows(connection, everything.role, query)]
                if is_complete
                else None
            )
        if tenants:
            where = sql.SQL("where {} = {}").format(sql.Identifier(relation.tenant_columns[0]), sql.Literal(tenants[0][0]))
        place = sql.SQL("null::bigint, null::text") if relation.kind == "v" else sql.SQL("sampled.tableoid::bigint, sampled.ctid::text")
        query = sql.SQL("select to_jsonb(sampled.*), {place} from {relation} as sampled {where} limit 1").format(
            place=place, relation=relation.identifier, where=where
        )
        found = guarded.rows(connection, everything.role, sql.SQL("select * from ({}) as found (row, table_id, place)").format(query))
        row = (found[0]["row"], found[0]["table_id"], found[0]["place"]) if found else None
    is_of_declaration = tenants is not None and (not is_shadow(relation.schema) or _is_declared_as_now(connection, relation))
    return Sample(relation, int(counted["rows"]), tuple(tenants or ()) if is_of_declaration else (), row, is_of_declaration)


def _is_declared_as_now(connection: Connection, relation: MeasuredRelation) -> bool:
    """Return whether an unpublished version of a table has the policies of the model's present declaration."""
    rows = connection.execute(
        "select obj_description(oid, 'pg_policy') from pg_policy where polrelid = %s and polname = 'dpe_system'", [relation.oid]
    ).fetchall()
    declared = (
        f"tenant_column {', '.join(map(encoded_name, relation.tenant_columns))}, " if relation.tenant_columns else f"{relation.declared} "
    )
    return not rows or str(rows[0][0]).startswith(declared)


def tenants_query(relation: sql.Identifier, columns: Sequence[str]) -> sql.Composed:
    """Return the query for the tenants in `columns` and their row counts (`tenant`, `rows`), most rows first."""
    names = [sql.Identifier("protected", column) for column in columns]
    return sql.SQL(_TENANTS).format(columns=sql.SQL(", ").join(names), relation=relation)


def count(connection: Connection, role: str, query: sql.Composed) -> int | str:
    """Return the number that a query counts, or its outcome."""
    return outcome_of(lambda: int(guarded.rows(connection, role, query)[0]["rows"]))


def outcome_of(attempt: Callable[[], int], *, writes: bool = False) -> int | str:
    """Return the number of rows, or else the outcome: DENIED, REFUSED, ALLOWED, or the server's message."""
    try:
        return attempt()
    except psycopg.errors.InsufficientPrivilege as error:
        return REFUSED if "row-level security" in str(error) else DENIED
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        # Policies are checked before constraints (PostgreSQL documentation, "CREATE POLICY").
        return ALLOWED if writes else server_message(error)
    except psycopg.Error as error:
        # The connection is lost: nothing more can be measured.
        if isinstance(error, psycopg.OperationalError) and error.sqlstate in (None, "57P01"):
            raise
        return server_message(error)
