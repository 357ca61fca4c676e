"""Checks of what is there: counts against the ledger, row-level security from the catalog, specs against the rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dpe_cli import rls
from dpe_cli.project import Project, Source
from dpe_cli.spec import Spec

Connection = psycopg.Connection[tuple[object, ...]]

ACTOR = "dpe validate"

# The schemas in which everything is dpe's or dbt's, and has to be protected.
_UNPROTECTED = """
    select
        format('%%I.%%I', nspname, relname),
        case
            when relkind = 'm' then 'is a materialized view, which no policy protects'
            when relkind = 'v' then 'is a view with its owner''s rights; set security_invoker'
            when not relrowsecurity then 'has row-level security off'
            when not relforcerowsecurity then 'does not force row-level security on its owner'
            else 'has no policy, though it is no slice'
        end
    from pg_class
    inner join pg_namespace on pg_namespace.oid = relnamespace
    where nspname = any(%s)
        and (
            relkind = 'm'
            or (relkind = 'v' and not coalesce('security_invoker=true' = any(reloptions), false))
            or (
                relkind in ('r', 'p')
                and (
                    not relrowsecurity
                    or not relforcerowsecurity
                    or not (relispartition or relname ~ '__[0-9]+_[0-9]+$' or exists (select from pg_policy where polrelid = pg_class.oid))
                )
            )
        )
    order by 1
"""


@dataclass(frozen=True)
class Check:
    """One thing that was checked, and what was found wrong with it; nothing where it holds."""

    name: str
    detail: str
    faults: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


@dataclass(frozen=True)
class Sight:
    """How many rows of a published relation someone sees, measured by acting as them; `expected` is how many they should."""

    relation: str
    who: str
    rows: int
    expected: int


def check_counts(connection: Connection, sources: Sequence[Source]) -> Check:
    """Check that staging holds exactly the rows that the ledger says were loaded, and that each load adds up."""
    faults: list[str] = []
    total = 0
    with rls.system_context(connection, actor=ACTOR):
        for source in sources:
            relation = source.table.identifier
            if not _exists(connection, relation):
                faults.append(f"{source.name}: was never extracted; run `dpe extract source:{source.name}`")
                continue
            loaded = _count(
                connection,
                sql.SQL("select coalesce(sum(rows_loaded), 0)::bigint from dpe.loads where source = {} and removed_at is null").format(
                    sql.Literal(source.name)
                ),
            )
            present = _count(connection, sql.SQL("select count(*) from {}").format(relation))
            total += present
            if loaded != present:
                faults.append(
                    f"{source.name}: the ledger has {loaded:,} rows loaded, {source.table.schema}.{source.table.name} {present:,}"
                )
    return Check("counts", f"{total:,} rows in {len(sources)} staging tables are those of the ledger", tuple(faults))


def check_protection(connection: Connection, schemas: Sequence[str]) -> Check:
    """Check that every relation in the schemas is under forced row-level security with a policy, or a view of its invoker."""
    with connection.transaction():
        rows = connection.execute(_UNPROTECTED, [list(schemas)]).fetchall()
        total = _count(
            connection,
            sql.SQL(
                "select count(*) from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace "
                "where relkind in ('r', 'p', 'v', 'm') and nspname = any({})"
            ).format(sql.Literal(list(schemas))),
        )
    return Check("row-level security", f"{total:,} relations are protected", tuple(f"{name}: {fault}" for name, fault in rows))


def check_coverage(project: Project, specs: Sequence[Spec]) -> Check:
    """Check that what specs ask for is there: each rule has a test, each source and model exists; and no rule is in no spec."""
    tested = {rule.rule_id for rule in project.rules}
    faults: list[str] = []
    for spec in specs:
        name = spec.path.name
        faults += [f"{name}: rule {rule} has no test; give a test this id in its meta" for rule in spec.rules if rule not in tested]
        faults += [
            f"{name}: source {source} is not in the project; declare it"
            for source in spec.front_matter.sources
            if source not in project.sources
        ]
        faults += [
            f"{name}: model {model} is not in the project; write it" for model in spec.front_matter.models if model not in project.models
        ]
        ticket = f"{spec.ticket}-"
        faults += [
            f"{name}: rule {rule} has a test but is not in the spec; describe it there"
            for rule in sorted(tested)
            if rule.startswith(ticket) and rule not in spec.rules
        ]
    rules = sum(len(spec.rules) for spec in specs)
    return Check("spec coverage", f"{rules} rules of {', '.join(spec.ticket for spec in specs) or 'no spec'} have tests", tuple(faults))


def check_sights(sights: Sequence[Sight]) -> Check:
    """Check that nobody sees more or less than their own rows."""
    faults = [
        f"{sight.relation}: {sight.who} sees {sight.rows:,} rows instead of {sight.expected:,}"
        for sight in sights
        if sight.rows != sight.expected
    ]
    return Check("who sees what", f"{len(sights)} views of published tables, each measured by acting as its reader", tuple(faults))


def measure_sights(connection: Connection, project: Project) -> list[Sight]:
    """
    Count what tenants, a stranger and the owner without a context see of each published relation that has tenants.

    The tenants are those with the most, a middling number and the fewest rows. `connection` is the transformer's.
    """
    sights: list[Sight] = []
    for model in project.models.values():
        if model.tenant_column is None or not model.is_published:
            continue
        relation = sql.Identifier(model.schema, model.alias)
        name = f"{model.schema}.{model.alias}"
        with rls.system_context(connection, actor=ACTOR):
            if not _exists(connection, relation):
                continue
            tenants = connection.execute(
                sql.SQL("select {column}::text, count(*) from {relation} group by 1 order by 2 desc, 1").format(
                    column=sql.Identifier(model.tenant_column), relation=relation
                )
            ).fetchall()
        count = sql.SQL("select count(*) from {}").format(relation)
        for index in sorted({0, len(tenants) // 2, len(tenants) - 1}) if tenants else []:
            tenant, expected = tenants[index]
            with rls.tenant_context(connection, str(tenant)):
                sights.append(Sight(name, str(tenant), _count(connection, count), int(str(expected))))
        with rls.stranger_context(connection):
            sights.append(Sight(name, "a stranger", _count(connection, count), 0))
        with connection.transaction():
            sights.append(Sight(name, "its owner, no context", _count(connection, count), 0))
    return sights


def _exists(connection: Connection, relation: sql.Identifier) -> bool:
    row = connection.execute("select to_regclass(%s) is not null", [relation.as_string(connection)]).fetchone()
    return row == (True,)


def _count(connection: Connection, query: sql.Composed) -> int:
    row = connection.execute(query).fetchone()
    return int(str(row[0])) if row else 0
