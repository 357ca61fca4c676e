"""Checks of what is there: counts against the ledger, row-level security from the catalog, specs against the rules, and more."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dpe_cli import rls, rls_check
from dpe_cli.errors import ServerError
from dpe_cli.freshness import Freshness
from dpe_cli.project import Project, Rule, Source
from dpe_cli.reconciliation import Reconciliation
from dpe_cli.report import plural
from dpe_cli.spec import Spec

Connection = psycopg.Connection[tuple[object, ...]]

ACTOR = "dpe validate"

DIMENSIONS = ("completeness", "uniqueness", "validity", "accuracy", "consistency", "timeliness")

# Each load with its rows in the ledger and in staging, and rows of no load.
_LOADS = """
    select
        coalesce(load_id, _load_id),
        coalesce(location, 'no load that the ledger knows'),
        coalesce(rows_loaded, 0),
        coalesce(present, 0)
    from (select load_id, location, rows_loaded from dpe.loads where source = {source} and removed_at is null) as known
    full join (select _load_id, count(*) as present from {relation} group by _load_id) as found on load_id = _load_id
    order by 1
"""


@dataclass(frozen=True)
class Check:
    """One thing that was checked, and what was found wrong with it; nothing where it holds. Warnings fail nothing."""

    name: str
    detail: str
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


@dataclass(frozen=True)
class Sight:
    """
    How many rows of a published relation someone sees, measured by acting as them; `expected` is how many they should.

    `problem` is what the server said where they cannot read it for another reason than a privilege.
    """

    relation: str
    who: str
    rows: int
    expected: int
    problem: str | None = None


# The tenants of a relation with their numbers of rows, most first. A row may belong to several; those of nobody are left out.
_TENANTS = """
    select
        tenant,
        count(*) as rows
    from {relation} as protected
    cross join lateral (select distinct unnest(array[{columns}]::text[]) as tenant) as tenants
    where tenant <> ''
    group by tenant
    order by 2 desc, 1
"""


def check_counts(connection: Connection, sources: Sequence[Source]) -> Check:
    """Check that staging holds, for each load, exactly the rows that the ledger says were loaded."""
    faults: list[str] = []
    total = 0
    with rls.system_context(connection, actor=ACTOR):
        for source in sources:
            relation = source.table.identifier
            if not columns_of(connection, relation):
                faults.append(f"{source.name}: was never extracted; run `dpe extract source:{source.name}`")
                continue
            for load_id, location, loaded, present in connection.execute(
                sql.SQL(_LOADS).format(source=sql.Literal(source.name), relation=relation)
            ):
                total += int(str(present))
                if loaded != present:
                    faults.append(
                        f"{source.name}: load {load_id} ({location}): rows in the ledger: {loaded:,}, in staging: {present:,}; "
                        f"find out who changed them, then run `dpe extract --full-refresh source:{source.name}`"
                    )
    tables = plural(len(sources), "staging table")
    return Check("counts", f"{plural(total, 'row')} in {tables} are those of the ledger", tuple(faults))


def check_reconciliation(found: Reconciliation) -> Check:
    """Check that every difference between what one place delivers and the next one holds is explained."""
    quantities = len(found.balances)
    named = "quantity of a hop is" if quantities == 1 else "quantities of hops are"
    return Check("reconciliation", f"{quantities:,} {named} explained to the last record", tuple(found.faults))


def check_freshness(found: Sequence[Freshness]) -> Check:
    """Check that every source with a declared freshness was loaded lately enough."""
    return Check(
        "freshness",
        f"recent enough: {plural(len(found), 'source')} with a declared freshness" if found else "no source declares its freshness",
        tuple(one.said for one in found if one.status == "error"),
        tuple(one.said for one in found if one.status == "warn"),
    )


def check_protection(connection: Connection, schemas: Sequence[str], *, judged: Sequence[str] | None = None) -> Check:
    """
    Check that nothing is wrong with the protection of what is in the schemas, and with the roles (`dpe rls check`).

    Where only some of the schemas are `judged`, faults of relations in the others do not count; what leads past the policies from
    outside of all of them does.
    """
    found = rls_check.check(connection, schemas, judged=judged)
    with connection.transaction():
        row = connection.execute(
            "select count(*) from pg_class where relkind in ('r', 'p', 'v') and relnamespace::regnamespace::text = any(%s)",
            [list(schemas if judged is None else judged)],
        ).fetchone()
    return Check(
        "row-level security",
        f"{row[0] if row else 0:,} relations are protected, by {len(rls_check.checks())} checks of the catalog",
        tuple(str(one) for one in found if one.severity == "error"),
        tuple(str(one) for one in found if one.severity == "warning"),
    )


def check_coverage(project: Project, specs: Sequence[Spec]) -> Check:
    """Check that what specs ask for is there: each rule has a test, each source and model is in the project."""
    tested = {rule.rule_id for rule in project.rules}
    faults: list[str] = []
    for spec in specs:
        name, wanted = spec.path.name, spec.front_matter
        faults += [f"{name}: rule {rule} has no test; give a test this id in its meta" for rule in spec.rules if rule not in tested]
        faults += [f"{name}: source {one} is not in the project; declare it" for one in wanted.sources if one not in project.sources]
        faults += [f"{name}: model {one} is not in the project; write it" for one in wanted.models if one not in project.models]
    rules = sum(len(spec.rules) for spec in specs)
    return Check(
        "spec coverage", f"every rule of {', '.join(spec.ticket for spec in specs) or 'no spec'} has a test ({rules:,})", tuple(faults)
    )


def check_rules(rules: Sequence[Rule], specs: Sequence[Spec]) -> Check:
    """Check that each test of a rule says what rules say, and that its rule is in a spec."""
    described = {rule for spec in specs for rule in spec.rules}
    faults: list[str] = []
    for rule in rules:
        where = f"{rule.test}: rule {rule.rule_id}"
        missing = [name for name, value in (("owner", rule.owner), ("because", rule.because)) if not value]
        if rule.rule_id not in described:
            faults.append(f"{where} is in no spec; describe it in its ticket's")
        if missing:
            faults.append(f"{where} has no {' and no '.join(missing)}; say so in the test's meta")
        if rule.dimension not in DIMENSIONS:
            faults.append(f"{where} has the dimension {rule.dimension or 'none'}; choose one of {', '.join(DIMENSIONS)}")
    return Check("rules", f"every test of a rule has an owner, a reason and a place in a spec ({len(rules):,})", tuple(faults))


def check_sights(sights: Sequence[Sight]) -> Check:
    """Check that nobody sees more or less than their own rows."""
    faults = [
        f"{sight.relation}: {sight.who} cannot read it ({sight.problem}); correct the model"
        if sight.problem is not None
        else f"{sight.relation}: {sight.who} sees {sight.rows:,} rows instead of {sight.expected:,}; look at its policies and grants"
        for sight in sights
        if sight.problem is not None or sight.rows != sight.expected
    ]
    return Check("who sees what", f"{len(sights)} views of published tables, each measured by acting as its reader", tuple(faults))


def measure_sights(connection: Connection, project: Project) -> list[Sight]:
    """
    Count what tenants, a stranger and the owner without a context see of each published relation that has tenants.

    The tenants are those with the most, a middling number and the fewest rows. `connection` is the transformer's.
    """
    sights: list[Sight] = []
    for model in project.models.values():
        if not model.tenant_columns or not model.is_published:
            continue
        relation = sql.Identifier(model.schema, model.alias)
        name = f"{model.schema}.{model.alias}"
        try:
            with rls.system_context(connection, actor=ACTOR):
                if not columns_of(connection, relation):
                    continue
                tenants = count_by_tenant(connection, relation, model.tenant_columns) or []
        except psycopg.Error as error:
            sights.append(Sight(name, "the transformer", 0, 0, _said(connection, error)))
            continue
        count = sql.SQL("select count(*) from {}").format(relation)
        for index in sorted({0, len(tenants) // 2, len(tenants) - 1}) if tenants else []:
            tenant, expected = tenants[index]
            sights.append(_sight(connection, name, tenant, count, expected, rls.tenant_context(connection, tenant)))
        sights.append(_sight(connection, name, "a stranger", count, 0, rls.stranger_context(connection)))
        sights.append(_sight(connection, name, "its owner, no context", count, 0, connection.transaction()))
    return sights


def count_by_tenant(connection: Connection, relation: sql.Identifier, columns: Sequence[str]) -> list[tuple[str, int]] | None:
    """
    Return the tenants that any of `columns` names with their numbers of rows, as the session sees them; most rows first.

    None for a version of the relation that does not have the columns yet: the model got them since it was built.
    """
    if not columns_of(connection, relation).issuperset(columns):
        return None
    return [(str(tenant), int(str(count))) for tenant, count in connection.execute(tenants_query(relation, columns))]


def tenants_query(relation: sql.Identifier, columns: Sequence[str]) -> sql.Composed:
    """Return the query for the tenants that any of `columns` names and their numbers of rows (`tenant`, `rows`), most rows first."""
    return sql.SQL(_TENANTS).format(columns=sql.SQL(", ").join(map(sql.Identifier, columns)), relation=relation)


def columns_of(connection: Connection, relation: sql.Identifier) -> set[str]:
    """Return the names of a relation's columns; none where there is no such relation."""
    rows = connection.execute(
        "select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
        [relation.as_string(connection)],
    ).fetchall()
    return {str(name) for (name,) in rows}


def _sight(
    connection: Connection, relation: str, who: str, query: sql.Composed, expected: int, context: AbstractContextManager[object]
) -> Sight:
    """Count what one sees in a context; who may not read at all, as of a view on a table that is private, sees nothing."""
    try:
        with context:
            row = connection.execute(query).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return Sight(relation, who, 0, expected)
    except psycopg.Error as error:
        return Sight(relation, who, 0, expected, _said(connection, error))
    return Sight(relation, who, int(str(row[0])) if row else 0, expected)


def _said(connection: Connection, error: psycopg.Error) -> str:
    """Return what the server said of a query; where the connection is gone with it, nothing more can be measured."""
    if connection.closed:
        raise ServerError(f"database {connection.info.dbname}: ended the session that measures ({error}); look for what ends it") from error
    return error.diag.message_primary or type(error).__name__
