"""
Which actor can do what with which relation, measured by acting as each: reading declarations would show the intention, not the effect.

Each actor counts the rows that it sees of each relation, and tries to insert, update and delete a row that is not its own.
Everything is rolled back. TRUNCATE would lock readers out and ignores policies, so the privilege is checked instead.

A view or a trigger may call a function of a model's author: everything runs confined to the acting role (dpe_cli/access/guarded.py).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from dpe_cli.access import guarded
from dpe_cli.access.visibility import tenants_query
from dpe_cli.errors import ContextError
from dpe_cli.project.project import Project
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import MASKED, QUARANTINE, columns_of, is_shadow, published_schema
from dpe_cli.server.server import server_message

ACTOR = "dpe rls matrix"
WRITES = ("insert", "update", "delete", "truncate")
# Denied: the actor lacks the privilege. Refused: it has the privilege, but policies stop it. Allowed: it can do it.
DENIED, REFUSED, ALLOWED = "denied", "refused", "allowed"
# A role that is created for the measurement, under a name that no other role has and no concurrent measurement waits for.
NOBODY = f"dpe_matrix_nobody_{secrets.token_hex(8)}"
AUDITOR = "dpe_auditor"
MASKED_READER = "dpe_masked_reader"
LEDGER = "dpe"
ALL_ROLES = (NOBODY, "dpe_reader", MASKED_READER, "dpe_tenant", AUDITOR, "dpe_loader", "dpe_transformer", "dpe_owner")
TRANSFORMERS_ROLES = ("dpe_reader", "dpe_tenant", "dpe_transformer")
_NO_TENANT = "nobody's tenant"
_NO_CONTEXT, _ONE_TENANT = ", no context", ", one tenant"
_SYSTEM = {"the loader": "dpe_loader", "the transformer": "dpe_transformer", "an administrator": "dpe_owner"}

_RELATIONS = """
    select
        pg_class.oid,
        nspname,
        relname,
        relkind::text
    from pg_class
    inner join pg_namespace on relnamespace = pg_namespace.oid
    where nspname = any(%s)
        and relkind in ('r', 'p', 'v')
        and not relispartition
        and not (nspname = 'staging' and relname ~ '__[0-9]+_[0-9]+$')
    order by nspname, relname
"""
_GRANTED_ROWS = """
    select count(*) as rows
    from {relation}
    where array[{columns}]::text[] && array(
        select tenant_id
        from dpe.tenant_access
        where role_name = to_regrole(quote_ident({role})) and (valid_until is null or valid_until > statement_timestamp())
    )
"""


@dataclass(frozen=True)
class MeasuredRelation:
    """A relation: its kind as in pg_class, how its model declares who may see it, and which columns are `masked`."""

    oid: int
    schema: str
    name: str
    kind: str
    declared: str
    tenant_columns: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Name it."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """Its quoted name."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True)
class _Sample:
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


@dataclass(frozen=True)
class Actor:
    """An actor of a role: in a context if `actor` is given, for one tenant if `tenant` is."""

    name: str
    role: str
    actor: str = ""
    tenant: str = ""

    @property
    def is_system(self) -> bool:
        """Whether it is a role of the pipeline or of administrators."""
        return self.role in {"dpe_owner", "dpe_loader", "dpe_transformer"}


@dataclass(frozen=True)
class Cell:
    """What an actor can do with a relation: rows seen (None: may not read), the outcome of each write, and what is wrong with that."""

    relation: str
    actor: str
    tenant: str
    rows: int | None
    writes: Mapping[str, str]
    faults: tuple[str, ...]


# The actors that see everything: of dbt's relations, and of the ledger.
_EVERYTHING = (Actor("the transformer", "dpe_transformer", ACTOR), Actor("an administrator", "dpe_owner", ACTOR))


def find_relations(connection: Connection, project: Project, schemas: Sequence[str]) -> list[MeasuredRelation]:
    """Return the relations in schemas, except slices, which are read through their parents."""
    declared = {(model.schema, model.alias): (model.declared, model.tenant_columns, model.masked) for model in project.models.values()}
    for source in project.sources.values():
        column = source.table.tenant_column
        declared[source.table.schema, source.table.name] = ("private", (column,) if column else (), ())
    with connection.transaction():
        rows = connection.execute(_RELATIONS, [list(schemas)]).fetchall()
    found = []
    for oid, schema, name, kind in rows:
        model = (published_schema(str(schema)), str(name).removesuffix(QUARANTINE).removesuffix(MASKED))
        found.append(MeasuredRelation(int(str(oid)), str(schema), str(name), str(kind), *declared.get(model, ("private", (), ()))))
    return found


def measure(
    connection: Connection,
    relations: Sequence[MeasuredRelation],
    *,
    logins: Sequence[str] = (),
    roles: Collection[str] = ALL_ROLES,
    on_relation: Callable[[int], None] = lambda _count: None,
) -> list[Cell]:
    """
    Measure what roles and the given logins can do with each relation.

    `connection` is an administrator's; the transformer's is enough for TRANSFORMERS_ROLES. `on_relation` is called with
    1 after each relation.

    Raises:
        ContextError: the session may not act as one of them.
    """
    cells: list[Cell] = []
    with connection.transaction(force_rollback=True):
        connection.execute("select set_config('lock_timeout', '2s', true)")
        if NOBODY in roles:
            # A role without any grants, which disappears with the transaction.
            connection.execute(sql.SQL("create role {role}; grant {role} to current_user").format(role=sql.Identifier(NOBODY)))
        with guarded.acting_as(connection, {*roles, *logins, *(actor.role for actor in _EVERYTHING)}, strictly=False):
            for relation in relations:
                sample = _sample(connection, relation)
                cells += [_measure(connection, sample, actor) for actor in _actors(sample, logins) if actor.role in {*roles, *logins}]
                on_relation(1)
    return cells


def _actors(sample: _Sample, logins: Sequence[str]) -> Iterator[Actor]:
    tenants = [name for name, _ in sample.tenants]
    tenants = list(dict.fromkeys([*tenants[:1], *tenants[-1:]])) or [_NO_TENANT]
    yield Actor("everybody", NOBODY)
    yield Actor("a stranger", "dpe_reader")
    yield Actor("a masked stranger", MASKED_READER)
    yield from (Actor("a tenant", "dpe_tenant", tenant=tenant) for tenant in tenants)
    yield from (Actor(login, login) for login in logins)
    yield Actor("an auditor", AUDITOR)
    for name, role in _SYSTEM.items():
        yield Actor(f"{name}{_NO_CONTEXT}", role)
        yield Actor(f"{name}{_ONE_TENANT}", role, ACTOR, tenants[-1])
        yield Actor(name, role, ACTOR)


@contextmanager
def _acting_as(connection: Connection, actor: Actor) -> Iterator[None]:
    with connection.transaction(force_rollback=True):
        try:
            connection.execute(
                "select set_config('role', %s, true), set_config('dpe.actor', %s, true), set_config('dpe.tenant_id', %s, true)",
                [actor.role, actor.actor, actor.tenant],
            )
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue) as error:
            raise ContextError(
                f"{connection.info.user}: may not act as {actor.role} ({error.diag.message_primary}); connect as a superuser"
            ) from error
        yield


def _everything(relation: MeasuredRelation) -> Actor:
    return _EVERYTHING[relation.schema == LEDGER]


def _sample(connection: Connection, relation: MeasuredRelation) -> _Sample:
    """Sample a relation; one that raises, as a view may that calls its author's code, is measured without a row and tenants."""
    samples: list[_Sample] = []

    def sample() -> int:
        samples.append(_sample_rows(connection, relation))
        return 1

    outcome = _outcome(sample)
    return samples[0] if samples else _Sample(relation, 0, (), None, is_of_declaration=False, problem=str(outcome))


def _sample_rows(connection: Connection, relation: MeasuredRelation) -> _Sample:
    """Sample a relation as the actor that sees all of it."""
    everything = _everything(relation)
    with _acting_as(connection, everything):
        [counted] = guarded.rows(connection, everything.role, sql.SQL("select count(*) as rows from {}").format(relation.identifier))
        tenants: list[tuple[str, int]] | None = []
        where = sql.Composed([])
        if relation.tenant_columns:
            is_complete = columns_of(connection, relation.identifier).issuperset(relation.tenant_columns)
            query = tenants_query(relation.identifier, relation.tenant_columns)
            tenants = (
                [(str(row["tenant"]), int(row["rows"])) for row in guarded.rows(connection, everything.role, query)]
                if is_complete
                else None
            )
        if tenants:
            where = sql.SQL("where {} = {}").format(sql.Identifier(relation.tenant_columns[0]), sql.Literal(tenants[0][0]))
        place = sql.SQL("null::bigint, null::text") if relation.kind == "v" else sql.SQL("tableoid::bigint, ctid::text")
        query = sql.SQL("select to_jsonb(sampled), {place} from {relation} as sampled {where} limit 1").format(
            place=place, relation=relation.identifier, where=where
        )
        found = guarded.rows(connection, everything.role, sql.SQL("select * from ({}) as found (row, table_id, place)").format(query))
        row = (found[0]["row"], found[0]["table_id"], found[0]["place"]) if found else None
    is_of_declaration = tenants is not None and (not is_shadow(relation.schema) or _is_declared_as_now(connection, relation))
    return _Sample(relation, int(counted["rows"]), tuple(tenants or ()) if is_of_declaration else (), row, is_of_declaration)


def _is_declared_as_now(connection: Connection, relation: MeasuredRelation) -> bool:
    """Return whether an unpublished version of a table has the policies of the model's present declaration."""
    rows = connection.execute(
        "select obj_description(oid, 'pg_policy') from pg_policy where polrelid = %s and polname = 'dpe_system'", [relation.oid]
    ).fetchall()
    declared = f"tenant_column {', '.join(relation.tenant_columns)}, " if relation.tenant_columns else f"{relation.declared} "
    return not rows or str(rows[0][0]).startswith(declared)


def _measure(connection: Connection, sample: _Sample, actor: Actor) -> Cell:
    with _acting_as(connection, actor):
        seen = _count(connection, actor.role, sql.SQL("select count(*) as rows from {}").format(sample.relation.identifier))
        writes = {write: _write(connection, sample, actor.role, write) for write in WRITES}
        unmasked = _unmasked(connection, sample.relation) if actor.role == MASKED_READER else []
    rows = seen if isinstance(seen, int) else None
    problem = seen if _is_problem(seen) else sample.problem if actor == _everything(sample.relation) else None
    expected = _expected_rows(connection, sample, actor) if sample.problem is None and problem is None else None
    faults = (
        *([f"{sample.relation}: {_named(actor)} cannot read it ({problem})"] if problem is not None else []),
        *_reading_faults(sample, actor, rows, expected),
        *_writing_faults(sample, actor, writes),
        *(f"{sample.relation}: {_named(actor)} may read the masked column {column}" for column in unmasked),
    )
    return Cell(str(sample.relation), actor.name, actor.tenant, rows, writes, faults)


def _is_problem(outcome: int | str) -> bool:
    """Return whether a query had an outcome that neither privileges nor policies explain."""
    return isinstance(outcome, str) and outcome not in {DENIED, REFUSED, ALLOWED}


def _unmasked(connection: Connection, relation: MeasuredRelation) -> list[str]:
    """Return the masked columns that can be read anyway. In a view, they are null."""
    if relation.kind == "v":
        return []
    query = sql.SQL("select count({}) as rows from {}")
    return [
        column
        for column in relation.masked
        if isinstance(_count(connection, MASKED_READER, query.format(sql.Identifier(column), relation.identifier)), int)
    ]


def _write(connection: Connection, sample: _Sample, role: str, write: str) -> str:
    row = connection.execute(
        # A privilege on one column is enough to write a row, or to fire a trigger.
        "select case when %(write)s in ('insert', 'update') then has_any_column_privilege(%(oid)s::oid, %(write)s)"
        " else has_table_privilege(%(oid)s::oid, %(write)s) end and has_schema_privilege(%(schema)s, 'usage')",
        {"oid": sample.relation.oid, "write": write, "schema": sample.relation.schema},
    ).fetchone()
    may = row == (True,)
    if not may or write == "truncate" or sample.row is None or sample.relation.kind == "v":
        return ALLOWED if may else DENIED
    statement = _statement(connection, sample, write)
    outcome = _outcome(lambda: guarded.affected(connection, role, statement), writes=True)
    if isinstance(outcome, int):
        return ALLOWED if outcome else REFUSED
    # With the privilege, "denied" means that the role may write, but not search for the row; a trigger that raises may let another row in.
    return REFUSED if outcome == REFUSED else ALLOWED


def _statement(connection: Connection, sample: _Sample, write: str) -> sql.Composed:
    """Return the statement that writes the sampled row, in the columns that the acting role may write."""
    relation = sample.relation.identifier
    values, table, place = sample.row or ({}, 0, "")
    where = sql.SQL("where tableoid = {} and ctid = {}::tid").format(sql.Literal(table), sql.Literal(place))
    if write == "delete":
        return sql.SQL("delete from {} {}").format(relation, where)
    columns = [
        sql.Identifier(str(name))
        for (name,) in connection.execute(
            "select attname from pg_attribute where attrelid = %(oid)s and attnum > 0 and not attisdropped and attgenerated = ''"
            # An identity column may be set in a new row, but not changed.
            " and (attidentity <> 'a' or %(write)s = 'insert') and has_column_privilege(attrelid, attnum, %(write)s) order by attnum",
            {"oid": sample.relation.oid, "write": write},
        )
    ]
    if write == "insert":
        return sql.SQL(
            "insert into {relation} ({names}) overriding system value "
            "select {names} from jsonb_populate_record(null::{relation}, {values}::jsonb)"
        ).format(relation=relation, names=sql.SQL(", ").join(columns), values=sql.Literal(json.dumps(values)))
    return sql.SQL("update {relation} set {column} = {column} {where}").format(relation=relation, column=columns[0], where=where)


def _count(connection: Connection, role: str, query: sql.Composed) -> int | str:
    """Return the number that a query counts, or its outcome."""
    return _outcome(lambda: int(guarded.rows(connection, role, query)[0]["rows"]))


def _outcome(attempt: Callable[[], int], *, writes: bool = False) -> int | str:
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


def _expected_rows(connection: Connection, sample: _Sample, actor: Actor) -> int | None:
    """Return how many rows an actor should see; None if nothing specifies it."""
    relation = sample.relation
    if actor.role == NOBODY or (actor.is_system and not actor.actor):
        return 0
    if not sample.is_of_declaration:
        return 0 if is_shadow(relation.schema) and not actor.is_system else None
    if relation.schema == LEDGER:
        # What the pipeline and auditors see there depends on the table, and readers see their own entries of the access list.
        return None if actor.is_system or actor.role == AUDITOR or relation.name == "tenant_access" else 0
    return _expected_of_system(sample, actor) if actor.is_system else _expected_of_reader(connection, sample, actor)


def _expected_of_system(sample: _Sample, actor: Actor) -> int | None:
    relation = sample.relation
    if actor.role == "dpe_loader" and relation.schema != "staging":
        return 0
    if (actor.role == "dpe_loader" and relation.kind == "v") or (actor.role == "dpe_owner" and is_shadow(relation.schema)):
        return None
    if not actor.tenant:
        return sample.rows
    if relation.tenant_columns:
        return dict(sample.tenants).get(actor.tenant, 0)
    # A view shows what its tables show.
    return None if relation.kind == "v" else sample.rows


def _expected_of_reader(connection: Connection, sample: _Sample, actor: Actor) -> int | None:
    relation = sample.relation
    if actor.role == AUDITOR or relation.declared == "private" or is_shadow(relation.schema):
        return 0
    if relation.declared == "shared":
        return sample.rows
    if relation.declared != "tenant_column":
        return None
    if actor.role in {"dpe_reader", MASKED_READER, "dpe_tenant"}:
        return dict(sample.tenants).get(actor.tenant, 0)
    columns = sql.SQL(", ").join(map(sql.Identifier, relation.tenant_columns))
    granted = sql.SQL(_GRANTED_ROWS).format(relation=relation.identifier, columns=columns, role=sql.Literal(actor.role))
    everything = _EVERYTHING[True]
    with _acting_as(connection, everything):
        counted = _count(connection, everything.role, granted)
    return counted if isinstance(counted, int) else None


def _reading_faults(sample: _Sample, actor: Actor, rows: int | None, expected: int | None) -> Iterator[str]:
    if actor.role == MASKED_READER and sample.relation.kind == "v" and rows is None:
        # The view reads masked columns, so masked readers cannot read it.
        return
    if expected is not None and (rows or 0) != expected:
        yield f"{sample.relation}: {_named(actor)} sees {rows or 0:,} rows instead of {expected:,}"


def _writing_faults(sample: _Sample, actor: Actor, writes: Mapping[str, str]) -> Iterator[str]:
    others = bool(sample.tenants) and bool(actor.tenant) and actor.tenant not in _tenants_of(sample)
    for write in [write for write, outcome in writes.items() if outcome == ALLOWED]:
        if not actor.is_system:
            yield f"{sample.relation}: {_named(actor)} may {write} rows"
        elif write != "truncate" and sample.row is not None and sample.relation.kind != "v":
            if not actor.actor:
                yield f"{sample.relation}: {_named(actor)} may {write} rows"
            elif others:
                yield f"{sample.relation}: {_named(actor)} may {write} a row of another tenant"


def _tenants_of(sample: _Sample) -> set[object]:
    values = sample.row[0] if sample.row else {}
    return {values.get(column) for column in sample.relation.tenant_columns}


def _named(actor: Actor) -> str:
    return f"{actor.name} ({actor.tenant})" if actor.tenant else actor.name


def seen(cells: Sequence[Cell], *, names_tenants: bool = True) -> tuple[list[str], list[list[str]]]:
    """
    Return a table of the rows that each actor sees: headings, and one line per relation.

    A `-` means that the actor may not read at all. The column without a context covers all roles of the pipeline.
    """
    lines: dict[str, dict[str, list[str]]] = {}
    headings: dict[str, None] = {}
    for cell in cells:
        if cell.actor.endswith(_ONE_TENANT):
            continue
        heading = "pipeline, no context" if cell.actor.endswith(_NO_CONTEXT) else cell.actor
        headings[heading] = None
        found = lines.setdefault(cell.relation, {}).setdefault(heading, [])
        if cell.rows is not None:
            shown = f"{cell.tenant} {cell.rows:,}" if names_tenants and cell.tenant and cell.tenant != _NO_TENANT else f"{cell.rows:,}"
            found += [shown] if shown not in found else []
    return ["relation", *headings], [[name, *("; ".join(of.get(heading, [])) or "-" for heading in headings)] for name, of in lines.items()]
