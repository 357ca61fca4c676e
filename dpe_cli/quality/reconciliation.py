"""
Reconciliation: does each relation hold the records that its origin delivers, except those whose absence is explained?

Counts from the files of a source to staging, by the ledger; and from one relation to the next if a model declares it
(reconcile_config.py). Explained rows are counted again, from the rows that were delivered: a model's own report of what it omitted
would prove nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import psycopg
from psycopg import sql

from dpe_cli.errors import ServerError
from dpe_cli.load import staging_schema
from dpe_cli.project.model import Model
from dpe_cli.project.source import Source
from dpe_cli.quality.reconcile_config import KINDS, ReconciledModel
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.relations import refuse_code_of_others
from dpe_cli.server.server import server_message

ACTOR = "dpe validate"
RECORDS = "records"
# The three numbers come from three places: the records that were read, the rejects, and the rows in staging.
# A replayed record was read before, as the reject that it corrects.
_FILES = """
    select
        (
            select coalesce(sum(records_read), 0)
            from dpe.loads
            where relation = {name}
                and removed_at is null
                and not exists (select from dpe.rejects where replayed_load_id = loads.load_id)
        ),
        (
            select count(*)
            from dpe.rejects
            inner join dpe.loads using (load_id)
            left join dpe.loads as replay on replay.load_id = replayed_load_id and replay.removed_at is null
            where loads.relation = {name} and loads.removed_at is null and replay.load_id is null
        ),
        (select count(*) from {relation})
"""


@dataclass(frozen=True)
class Balance:
    """One quantity: `delivered` by the origin, `found` in the relation, and what became of the rest. `rules` explain it."""

    name: str
    quantity: str
    delivered: Decimal
    found: Decimal
    rejected: Decimal = Decimal(0)
    deduplicated: Decimal = Decimal(0)
    filtered: Decimal = Decimal(0)
    rules: tuple[str, ...] = ()

    @property
    def expected(self) -> Decimal:
        """How much has to be found."""
        return self.delivered - self.rejected - self.deduplicated - self.filtered

    @property
    def unexplained(self) -> Decimal:
        """The surplus; negative if something is missing."""
        return self.found - self.expected

    @property
    def holds(self) -> bool:
        """Whether everything is explained."""
        return self.unexplained == 0

    @property
    def fault(self) -> str:
        """A description of what does not add up."""
        what = "too many" if self.unexplained > 0 else "missing"
        return (
            f"{self.name}: {self.quantity}: {self.found:,} found where {self.expected:,} were expected; {abs(self.unexplained):,} {what} "
            "without an explanation, find out why or declare it in meta.reconcile"
        )


@dataclass
class Reconciliation:
    """All balances, and what could not be counted, with the reason."""

    balances: list[Balance] = field(default_factory=list)
    uncounted: dict[str, str] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """Descriptions of what does not add up."""
        return [
            *(f"{name}: {why}" for name, why in self.uncounted.items()),
            *(balance.fault for balance in self.balances if not balance.holds),
        ]


def unpublished(connection: Connection, models: Mapping[str, Model], built: Mapping[str, str]) -> dict[str, str]:
    """Return the built relations that still exist in the schema that they were built in: those that were not published."""
    with connection.transaction():
        return {
            unique_id: schema
            for unique_id, schema in built.items()
            if unique_id in models and _exists(connection, sql.Identifier(schema, models[unique_id].alias))
        }


def reconcile(
    loader: Connection, transformer: Connection, sources: Sequence[Source], declared: Sequence[ReconciledModel]
) -> Reconciliation:
    """Count everything: files as the loader, because the transformer cannot read rejects; models as the transformer."""
    files, models = reconcile_files(loader, sources), reconcile_models(transformer, declared)
    return Reconciliation(files.balances + models.balances, files.uncounted | models.uncounted)


def reconcile_files(connection: Connection, sources: Sequence[Source]) -> Reconciliation:
    """Compare what the files of each source delivered with staging. `connection` is the loader's."""
    result = Reconciliation()
    with contexts.reading_context(connection, actor=ACTOR):
        for source in sources:
            name = f"{source.external.delivered_by} → {source.name}"
            try:
                with connection.transaction():
                    if not _exists(connection, source.table.identifier):
                        result.uncounted[name] = f"was never extracted; run `dpe extract source:{source.name}`"
                        continue
                    # The owner of the schema could have put a relation of its own in the table's place.
                    staging_schema.refuse_replaced(connection, source.table)
                    result.balances.append(_count_files(connection, source, name))
            except psycopg.errors.WrongObjectType as error:
                result.uncounted[name] = f"cannot be counted ({server_message(error)})"
            except psycopg.errors.InsufficientPrivilege as error:
                opening = staging_schema.how_to_open(source.table.schema)
                result.uncounted[name] = f"cannot be counted ({server_message(error)}); {opening}"
            except ServerError as error:
                result.uncounted[name] = f"cannot be counted ({error})"
    return result


def reconcile_models(connection: Connection, declared: Sequence[ReconciledModel]) -> Reconciliation:
    """Count the reconciliations that models declare. `connection` is the transformer's."""
    result = Reconciliation()
    for reconciled in declared:
        try:
            # A context of its own: a wrong declaration must not stop the others.
            with contexts.reading_context(connection, actor=ACTOR):
                result.balances += _count_model(connection, reconciled)
        except psycopg.errors.UndefinedTable as error:
            result.uncounted[reconciled.name] = f"{server_message(error)}; run `dpe run {reconciled.model}`"
        except psycopg.Error as error:
            if connection.closed:
                what = f"the counting session has ended ({server_message(error)}); find out what ended it"
                raise ServerError(f"{reconciled.name}: {what}") from error
            result.uncounted[reconciled.name] = f"cannot be counted ({server_message(error)}); correct meta.reconcile of {reconciled.model}"
    return result


def _count_files(connection: Connection, source: Source, name: str) -> Balance:
    row = connection.execute(sql.SQL(_FILES).format(name=sql.Literal(source.table.relation), relation=source.table.identifier)).fetchone()
    delivered, rejected, found = map(_number, row or (0, 0, 0))
    return Balance(name, RECORDS, delivered=delivered, found=found, rejected=rejected)


def _count_model(connection: Connection, reconciled: ReconciledModel) -> list[Balance]:
    """Count both ends and every explanation, each in one scan."""
    explaining = [explanation.relation for explanation in reconciled.explanations if explanation.relation is not None]
    quarantines = [reconciled.quarantine.relation] if reconciled.quarantine is not None else []
    for relation in (reconciled.origin_relation, reconciled.model_relation, *explaining, *quarantines):
        refuse_code_of_others(connection, relation)
    there = [sql.Identifier(name) for name in reconciled.sums]
    here = [sql.Identifier(name) for name in reconciled.sums.values()]
    counted_here = sql.SQL("sum({})").format(sql.Identifier(reconciled.count_column)) if reconciled.count_column else sql.SQL("count(*)")
    found = _totals(connection, reconciled.model_relation, counted_here, here)
    omitted: dict[str, list[Decimal]] = {}
    delivered = [Decimal(0)] * len(found)
    for kind, *totals in connection.execute(_explanations_query(reconciled, there)):
        numbers = list(map(_number, totals))
        delivered = [before + number for before, number in zip(delivered, numbers, strict=True)]
        if kind is not None:
            omitted[str(kind)] = numbers
    for explanation in reconciled.explanations:
        if explanation.relation is not None:
            omitted[explanation.kind] = _totals(connection, explanation.relation, sql.SQL("count(*)"), there)
    none = [Decimal(0)] * len(found)
    rules = tuple(explanation.rule for explanation in reconciled.explanations if explanation.rule)
    if reconciled.quarantine is not None:
        kept = _totals(connection, reconciled.quarantine.relation, counted_here, here)
        omitted["rejected"] = [before + more for before, more in zip(omitted.get("rejected", none), kept, strict=True)]
        rules += reconciled.quarantine.rules
    balances = [
        Balance(
            reconciled.name,
            quantity,
            delivered=delivered[index],
            found=found[index],
            rejected=omitted.get("rejected", none)[index],
            deduplicated=omitted.get("deduplicated", none)[index],
            filtered=omitted.get("filtered", none)[index],
            rules=rules,
        )
        for index, quantity in enumerate([RECORDS, *(f"sum of {name}" for name in reconciled.sums)])
    ]
    return balances if reconciled.is_counted else balances[1:]


def _explanations_query(reconciled: ReconciledModel, columns: Sequence[sql.Identifier]) -> sql.Composed:
    """Return the query for the origin's counts and sums, by why rows are not in the model; null for rows that should be."""
    cases: list[sql.Composable] = []
    first_rows: sql.Composable = sql.SQL("null::bigint")
    for explanation in sorted(reconciled.explanations, key=lambda explanation: KINDS.index(explanation.kind)):
        if explanation.where is not None:
            # SQL by the project's own authors, like their models.
            condition = sql.SQL(explanation.where)
            cases.append(sql.SQL("when ({}) then {}").format(condition, sql.Literal(explanation.kind)))
        elif explanation.by:
            others = sql.SQL("case {} end").format(sql.SQL(" ").join(cases)) if cases else sql.SQL("null::text")
            order = sql.SQL("order by {}").format(sql.SQL(", ".join(explanation.order_by))) if explanation.order_by else sql.SQL("")
            first_rows = sql.SQL("row_number() over (partition by {others}, {by} {order})").format(
                others=others, by=sql.SQL(", ").join(map(sql.Identifier, explanation.by)), order=order
            )
            cases.append(sql.SQL("when _dpe_place > 1 then {}").format(sql.Literal(explanation.kind)))
    return sql.SQL(
        """
        select _dpe_explanation, count(*){sums}
        from (
            select numbered.*, {explanation} as _dpe_explanation
            from (select delivered.*, {place} as _dpe_place from {relation} as delivered) as numbered
        ) as explained
        group by _dpe_explanation
        """
    ).format(
        sums=_sums(columns),
        explanation=sql.SQL("case {} end").format(sql.SQL(" ").join(cases)) if cases else sql.SQL("null::text"),
        place=first_rows,
        relation=reconciled.origin_relation,
    )


def _totals(connection: Connection, relation: sql.Identifier, count: sql.Composable, columns: Sequence[sql.Identifier]) -> list[Decimal]:
    row = connection.execute(sql.SQL("select {}{} from {}").format(count, _sums(columns), relation)).fetchone()
    return list(map(_number, row or ()))


def _sums(columns: Sequence[sql.Identifier]) -> sql.Composed:
    # As numeric: the sum of floating-point numbers depends on their order.
    return sql.SQL("").join(sql.SQL(", sum({}::numeric)").format(column) for column in columns)


def _exists(connection: Connection, relation: sql.Identifier) -> bool:
    return connection.execute("select to_regclass(%s) is not null", [relation.as_string(connection)]).fetchone() == (True,)


def _number(value: object) -> Decimal:
    """Return a count or a sum; a sum of no rows is null."""
    return Decimal(0) if value is None else Decimal(str(value))
