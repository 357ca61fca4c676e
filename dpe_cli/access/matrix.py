"""
Which actor can do what with which relation, measured by acting as each: reading declarations would show the intention, not the effect.

Each actor counts the rows that it sees of each relation, and tries to insert, update and delete a row that is not its own.
Everything is rolled back. TRUNCATE would lock readers out and ignores policies, so the privilege is checked instead.

A view or a trigger may call a function of a model's author: everything runs confined to the acting role (dpe_cli/access/guarded.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dpe_cli.access import guarded
from dpe_cli.access.actors import (
    ALL_ROLES,
    EVERYTHING,
    NOBODY,
    Actor,
    actors,
    as_actor,
    check_logins,
    everything_of,
    let_act_as,
)
from dpe_cli.access.expected import expected_rows, named, reading_faults, writing_faults
from dpe_cli.access.samples import ALLOWED, DENIED, REFUSED, MeasuredRelation, Sample, count, outcome_of, sample_of
from dpe_cli.errors import ContextError
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import refuse_code_of_others

WRITES = ("insert", "update", "delete", "truncate")


@dataclass(frozen=True)
class Cell:
    """
    What an actor can do with a relation: rows seen (None: may not read), the outcome of each write, and what is wrong with that.

    `expected` is how many rows it should see (None: nothing specifies it). `problem` is the server's message if it cannot read the
    relation for a reason other than a missing privilege.
    """

    relation: str
    actor: str
    tenant: str
    rows: int | None
    writes: Mapping[str, str]
    faults: tuple[str, ...]
    expected: int | None = None
    problem: str | None = None


def measure(
    connection: Connection,
    relations: Sequence[MeasuredRelation],
    *,
    logins: Sequence[str] = (),
    roles: Collection[str] = ALL_ROLES,
    writes: Sequence[str] = WRITES,
    on_relation: Callable[[int], None] = lambda _count: None,
) -> list[Cell]:
    """
    Measure what roles and the given logins can do with each relation: what they see, and whether they can do the `writes`.

    `connection` is an administrator's; the transformer's is enough for TRANSFORMERS_ROLES. `on_relation` is called with
    1 after each relation.

    Raises:
        ContextError: the session may not act as one of them, or a login cannot be measured.
    """
    cells: list[Cell] = []
    with connection.transaction(force_rollback=True):
        connection.execute("select set_config('lock_timeout', '2s', true)")
        groups: dict[str, bool] = {}
        if NOBODY in roles:
            # A role without any grants, which disappears with the transaction.
            _create_nobody(connection)
            groups = _groups(connection, relations)
        measured = {*roles, *logins, *groups}
        let_act_as(connection, measured)
        check_logins(connection, logins)
        acting_roles = {*measured, *(actor.role for actor in EVERYTHING)}
        with guarded.acting_as(connection, acting_roles, strictly=False):
            for relation in relations:
                if (code := _refused(connection, relation, acting_roles)) is not None:
                    fault = f"{relation}: cannot be read ({code})"
                    cells.append(Cell(str(relation), everything_of(relation.schema).name, "", None, {}, (fault,), problem=code))
                    on_relation(1)
                    continue
                sample = sample_of(connection, relation)
                acting = actors([name for name, _ in sample.tenants], logins, groups)
                cells += [_measure(connection, sample, actor, writes) for actor in acting if actor.role in measured]
                on_relation(1)
    return cells


def _refused(connection: Connection, relation: MeasuredRelation, roles: Collection[str]) -> str | None:
    """Return why no actor of these roles may read a relation: it would run code of others, such as the owner of a source of a view."""

    def attempt() -> int:
        with connection.transaction():
            refuse_code_of_others(connection, relation.identifier, roles)
        return 1

    outcome = outcome_of(attempt)
    return None if outcome == 1 else str(outcome)


def _groups(connection: Connection, relations: Sequence[MeasuredRelation]) -> dict[str, bool]:
    """Return the project's own roles of readers, and whether their members are masked readers."""
    named = {role for relation in relations for role in relation.readers}
    rows = connection.execute(
        "select rolname::text, pg_has_role(oid, 'dpe_masked_reader', 'member') from pg_roles where rolname = any(%s) order by 1",
        [sorted(named - set(ALL_ROLES))],
    ).fetchall()
    return {str(role): bool(is_masked) for role, is_masked in rows}


def _create_nobody(connection: Connection) -> None:
    try:
        connection.execute(sql.SQL("create role {}").format(sql.Identifier(NOBODY)))
    except psycopg.errors.InsufficientPrivilege as error:
        user = connection.info.user
        raise ContextError(
            f"{user}: may not create the role that the measurement needs ({error.diag.message_primary}); connect as an administrator "
            f"that may, or run `alter role {sql.Identifier(user).as_string(connection)} createrole` as a superuser"
        ) from error


def _measure(connection: Connection, sample: Sample, actor: Actor, writes: Sequence[str]) -> Cell:
    with as_actor(connection, actor):
        seen = count(connection, actor.role, sql.SQL("select count(*) as rows from {}").format(sample.relation.identifier))
        outcomes = {write: _write(connection, sample, actor.role, write) for write in writes}
        unmasked = _unmasked(connection, actor.role, sample.relation) if actor.is_masked else []
    rows = seen if isinstance(seen, int) else None
    problem = _problem(seen) or (sample.problem if actor == everything_of(sample.relation.schema) else None)
    expected = expected_rows(connection, sample, actor) if sample.problem is None and problem is None else None
    faults = (
        *([f"{sample.relation}: {named(actor)} cannot read it ({problem})"] if problem is not None else []),
        *reading_faults(sample, actor, rows, expected),
        *writing_faults(sample, actor, outcomes),
        *(f"{sample.relation}: {named(actor)} may read the masked column {column}" for column in unmasked),
    )
    return Cell(str(sample.relation), actor.name, actor.tenant, rows, outcomes, faults, expected, problem)


def _problem(outcome: int | str) -> str | None:
    """Return the server's message if neither privileges nor policies explain the outcome of a query."""
    return outcome if isinstance(outcome, str) and outcome not in {DENIED, REFUSED, ALLOWED} else None


def _unmasked(connection: Connection, role: str, relation: MeasuredRelation) -> list[str]:
    """Return the masked columns that can be read anyway. In a view, they are null."""
    if relation.kind == "v":
        return []
    query = sql.SQL("select count({}) as rows from {}")
    return [
        column
        for column in relation.masked
        if isinstance(count(connection, role, query.format(sql.Identifier(column), relation.identifier)), int)
    ]


def _write(connection: Connection, sample: Sample, role: str, write: str) -> str:
    row = connection.execute(
        # A privilege on one column is enough to write a row, or to fire a trigger.
        "select case when %(write)s in ('insert', 'update') then has_any_column_privilege(%(oid)s::oid, %(write)s)"
        " else has_table_privilege(%(oid)s::oid, %(write)s) end and has_schema_privilege(%(schema)s, 'usage'), "
        # As dpe.administrators(), which readers may not call.
        "(select rolsuper or rolname in ('dpe_loader', 'dpe_transformer') or pg_has_role(pg_roles.oid, 'dpe_owner', 'member')"
        " or pg_roles.oid = (select datdba from pg_database where datname = current_database())"
        " from pg_class inner join pg_roles on relowner = pg_roles.oid where pg_class.oid = %(oid)s)",
        {"oid": sample.relation.oid, "write": write, "schema": sample.relation.stored_in},
    ).fetchone()
    may, is_of_pipeline = row or (False, False)
    # Triggers and policies of another role's table would run as the actor, perhaps one that sees all rows.
    if not may or not is_of_pipeline or write == "truncate" or sample.row is None or sample.relation.kind == "v":
        return ALLOWED if may else DENIED
    statement = _statement(connection, sample, write)
    outcome = outcome_of(lambda: guarded.affected(connection, role, statement), writes=True)
    if isinstance(outcome, int):
        return ALLOWED if outcome else REFUSED
    # With the privilege, "denied" means that the role may write, but not search for the row; a trigger that raises may let another row in.
    return REFUSED if outcome == REFUSED else ALLOWED


def _statement(connection: Connection, sample: Sample, write: str) -> sql.Composed:
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
