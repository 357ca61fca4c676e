"""What an actor should see of a relation, and what is wrong if it sees or writes something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from psycopg import sql

from dpe_cli.access.actors import AUDITOR, LEDGER, NOBODY, READER, TENANT, Actor, as_actor, everything_of
from dpe_cli.access.samples import ALLOWED, MeasuredRelation, Sample, count
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import is_shadow

_GRANTED_ROWS = """
    select count(*) as rows
    from {relation}
    where array[{columns}]::text[] && array(
        select tenant_id
        from dpe.tenant_access
        where role_name = to_regrole(quote_ident({role})) and (valid_until is null or valid_until > statement_timestamp())
    )
"""
# Applications may read what somebody reads unmasked.
_MAY_READ = """
    select bool_or(
        case %(role)s
            when 'dpe_tenant' then not pg_has_role(oid, 'dpe_masked_reader', 'member')
            else pg_has_role(%(role)s, oid, 'usage')
        end
    )
    from pg_roles
    where rolname = any(%(readers)s::text[])
"""


def expected_rows(connection: Connection, sample: Sample, actor: Actor) -> int | None:
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


def _expected_of_system(sample: Sample, actor: Actor) -> int | None:
    relation = sample.relation
    if actor.role == "dpe_loader" and not relation.is_staging:
        return 0
    if actor.role == "dpe_owner" and is_shadow(relation.schema):
        return None
    if not actor.tenant:
        return sample.rows
    if relation.tenant_columns:
        return dict(sample.tenants).get(actor.tenant, 0)
    # A view shows what its tables show.
    return None if relation.kind == "v" else sample.rows


def _expected_of_reader(connection: Connection, sample: Sample, actor: Actor) -> int | None:
    relation = sample.relation
    if actor.role == AUDITOR or is_shadow(relation.schema) or not _may_read(connection, relation, actor):
        return 0
    if relation.declared == "shared":
        return sample.rows
    if relation.declared != "tenant_column":
        return None
    if actor.role in {READER, TENANT} or actor.is_masked or actor.role in relation.readers:
        return dict(sample.tenants).get(actor.tenant, 0)
    columns = sql.SQL(", ").join(map(sql.Identifier, relation.tenant_columns))
    granted = sql.SQL(_GRANTED_ROWS).format(relation=relation.identifier, columns=columns, role=sql.Literal(actor.role))
    everything = everything_of(LEDGER)
    with as_actor(connection, everything):
        counted = count(connection, everything.role, granted)
    return counted if isinstance(counted, int) else None


def _may_read(connection: Connection, relation: MeasuredRelation, actor: Actor) -> bool:
    """Return whether the target publishes a relation to an actor (macros/rls/readers_of.sql, dpe_cli/server/sql/readers.sql)."""
    row = connection.execute(_MAY_READ, {"role": actor.role, "readers": list(relation.readers)}).fetchone()
    return row == (True,)


def reading_faults(sample: Sample, actor: Actor, rows: int | None, expected: int | None) -> Iterator[str]:
    """Yield what is wrong with the rows that an actor sees; None of them means that it may not read."""
    if actor.is_masked and sample.relation.kind == "v" and rows is None:
        # The view reads masked columns, so masked readers cannot read it.
        return
    if expected is not None and (rows or 0) != expected:
        yield f"{sample.relation}: {named(actor)} sees {rows or 0:,} rows instead of {expected:,}"


def writing_faults(sample: Sample, actor: Actor, writes: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with the outcomes of the writes that an actor tried."""
    others = bool(sample.tenants) and bool(actor.tenant) and actor.tenant not in _tenants_of(sample)
    for write in [write for write, outcome in writes.items() if outcome == ALLOWED]:
        if not actor.is_system:
            yield f"{sample.relation}: {named(actor)} may {write} rows"
        elif write != "truncate" and sample.row is not None and sample.relation.kind != "v":
            if not actor.actor:
                yield f"{sample.relation}: {named(actor)} may {write} rows"
            elif others:
                yield f"{sample.relation}: {named(actor)} may {write} a row of another tenant"


def _tenants_of(sample: Sample) -> set[object]:
    values = sample.row[0] if sample.row else {}
    return {values.get(column) for column in sample.relation.tenant_columns}


def named(actor: Actor) -> str:
    """Return the actor with its tenant."""
    return f"{actor.name} ({actor.tenant})" if actor.tenant else actor.name
