"""Checks of the present state: counts against the ledger, row-level security from the catalog, specs against the rules, and more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dpe_cli.access import checks
from dpe_cli.access.visibility import Visibility
from dpe_cli.errors import ServerError
from dpe_cli.load import staging_schema
from dpe_cli.project.model import Model
from dpe_cli.project.source import Source
from dpe_cli.quality import coverage, spec_differences
from dpe_cli.quality.coverage import RuleTest
from dpe_cli.quality.freshness import Freshness
from dpe_cli.quality.reconciliation import Reconciliation
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import columns_of
from dpe_cli.server.server import server_message
from dpe_cli.specs.spec import Spec
from dpe_cli.words import plural

ACTOR = "dpe validate"


# Each load with its rows in the ledger and in staging, and rows without a load.
_LOADS = """
    select
        coalesce(load_id, _load_id),
        coalesce(location, 'a load that is not in the ledger'),
        coalesce(rows_loaded, 0),
        coalesce(present, 0)
    from (select load_id, location, rows_loaded from dpe.loads where relation = {name} and removed_at is null) as known
    full join (select _load_id, count(*) as present from {relation} group by _load_id) as found on load_id = _load_id
    order by 1
"""


@dataclass(frozen=True)
class Check:
    """A check and its faults; it holds if there are none. Warnings do not make it fail."""

    name: str
    detail: str
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether it has no faults."""
        return not self.faults


def check_counts(connection: Connection, sources: Sequence[Source]) -> Check:
    """Check that staging holds, for each load, exactly the rows that the ledger says were loaded."""
    faults: list[str] = []
    total = 0
    with contexts.reading_context(connection, actor=ACTOR):
        for source in sources:
            relation = source.table.identifier
            try:
                with connection.transaction():
                    if not columns_of(connection, relation):
                        faults.append(f"{source.name}: was never extracted; run `dpe extract source:{source.name}`")
                        continue
                    staging_schema.refuse_replaced(connection, source.table)
                    query = sql.SQL(_LOADS).format(name=sql.Literal(source.table.relation), relation=relation)
                    counted = connection.execute(query).fetchall()
            except psycopg.errors.WrongObjectType as error:
                faults.append(f"{source.name}: cannot be counted ({server_message(error)})")
                continue
            except psycopg.errors.InsufficientPrivilege as error:
                opening = staging_schema.how_to_open(source.table.schema)
                faults.append(f"{source.name}: cannot be counted ({server_message(error)}); {opening}")
                continue
            except ServerError as error:
                faults.append(f"{source.name}: cannot be counted ({error})")
                continue
            for load_id, location, loaded, present in counted:
                total += int(str(present))
                if loaded != present:
                    faults.append(
                        f"{source.name}: load {load_id} ({in_message(str(location))}): rows in the ledger: {loaded:,}, "
                        f"in staging: {present:,}; find out who changed them, then run `dpe extract --full-refresh source:{source.name}`"
                    )
    tables = plural(len(sources), "staging table")
    return Check("counts", f"{plural(total, 'row')} in {tables} match the ledger", tuple(faults))


def check_reconciliation(found: Reconciliation) -> Check:
    """Check that every difference between the records delivered to a relation and those it holds is explained."""
    balances = len(found.balances)
    named = "balance reconciles" if balances == 1 else "balances reconcile"
    return Check("reconciliation", f"{balances:,} {named} exactly", tuple(found.faults))


def check_freshness(found: Sequence[Freshness]) -> Check:
    """Check that every source with a declared freshness was loaded recently enough."""
    return Check(
        "freshness",
        f"recent enough: {plural(len(found), 'source')} with a declared freshness" if found else "no source declares its freshness",
        tuple(freshness.said for freshness in found if freshness.status == "error"),
        tuple(freshness.said for freshness in found if freshness.status == "warn"),
    )


def check_protection(
    connection: Connection, schemas: Sequence[str], *, judged: Sequence[str] | None = None, unreadable: Sequence[str] = ()
) -> Check:
    """
    Check the roles and the protection of the relations in the schemas (`dpe rls check`).

    If only some of the schemas are `judged`, faults of relations in the others do not count; objects outside of all schemas that
    bypass the policies do. `unreadable` is as in checks.check().
    """
    found = checks.check(connection, schemas, judged=judged, unreadable=unreadable)
    with connection.transaction():
        row = connection.execute(
            """
            select count(*)
            from pg_class
            inner join pg_namespace on relnamespace = pg_namespace.oid
            where relkind in ('r', 'p', 'v') and nspname = any(%s)
            """,
            [list(schemas if judged is None else judged)],
        ).fetchone()
    return Check(
        "row-level security",
        f"{row[0] if row else 0:,} relations are protected, by {len(checks.checks())} checks of the catalog",
        tuple(str(finding) for finding in found if finding.severity == "error"),
        tuple(str(finding) for finding in found if finding.severity == "warning"),
    )


def check_coverage(
    tests: Sequence[RuleTest], specs: Sequence[Spec], *, sources: Collection[str], models: Mapping[str, Sequence[Model]]
) -> Check:
    """Check that the project has and declares what specs say: a test for each rule, and each source and model, by name."""
    declared = [model for named in models.values() for model in named]
    faults = [
        *coverage.rules_without_test(tests, specs),
        *coverage.missing_from_project(specs, sources, models),
        *spec_differences.different_from_specs(tests, specs, declared),
    ]
    rules = sum(len(spec.rules) for spec in specs)
    detail = f"every rule of {', '.join(spec.ticket for spec in specs)} has a test ({rules:,})" if specs else "no specs"
    return Check("spec coverage", detail, tuple(faults))


def check_rules(tests: Sequence[RuleTest], specs: Sequence[Spec]) -> Check:
    """Check that each test of a rule has the metadata that rules require, and that its rule is in a spec."""
    faults = [*coverage.tests_without_spec(tests, specs), *coverage.incomplete_tests(tests)]
    return Check("rules", f"every test of a rule has an owner, a reason and a place in a spec ({len(tests):,})", tuple(faults))


def check_visibility(visible_rows: Sequence[Visibility]) -> Check:
    """Check that every role sees exactly its own rows."""
    faults = [
        f"{visible.relation}: {visible.who} cannot read it ({visible.problem}); correct the model"
        if visible.problem is not None
        else f"{visible.relation}: {visible.who} sees {visible.rows:,} rows instead of {visible.expected:,}; check its policies and grants"
        for visible in visible_rows
        if visible.problem is not None or visible.rows != visible.expected
    ]
    counts = plural(len(visible_rows), "row count")
    return Check("who sees what", f"{counts} of published tables, each measured by acting as the role", tuple(faults))
