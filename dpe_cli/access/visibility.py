"""
How many rows each actor sees, from the cells of a measurement: as a table, and compared with what it should see.

Policies decide what it sees: macros/rls/postgres__rls_predicate.sql for models, load/policies.py for staging.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dpe_cli.access.actors import NO_CONTEXT, NO_TENANT, ONE_TENANT
from dpe_cli.access.matrix import Cell
from dpe_cli.project.model import Model

_OWNER = "the transformer"


@dataclass(frozen=True)
class Visibility:
    """
    How many rows of a published relation a role sees, measured by acting as it; `expected` is how many it should see.

    `problem` is the server's message if it cannot read the relation for a reason other than a missing privilege.
    """

    relation: str
    who: str
    rows: int
    expected: int
    problem: str | None = None


def of_models(cells: Sequence[Cell], models: Iterable[Model], target: str) -> list[Visibility]:
    """
    Return what tenants, a stranger and the owner without a context see of each model with tenants that was measured.

    Models that the target publishes to no reader are not among them.
    """
    wanted = {f"{model.schema}.{model.alias}" for model in models if model.tenant_columns and model.readers_in(target)}
    measured = [name for name in dict.fromkeys(cell.relation for cell in cells) if name in wanted]
    return [visible for relation in measured for visible in _of_relation(cells, relation)]


def _of_relation(cells: Sequence[Cell], relation: str) -> Iterator[Visibility]:
    found = {(cell.actor, cell.tenant): cell for cell in cells if cell.relation == relation}
    if problem := found[_OWNER, ""].problem:
        yield Visibility(relation, _OWNER, 0, 0, problem)
        return
    wanted = {tenant: cell for (actor, tenant), cell in found.items() if actor == "a tenant" and tenant != NO_TENANT}
    wanted |= {"a stranger": found["a stranger", ""], "its owner, no context": found[f"{_OWNER}{NO_CONTEXT}", ""]}
    yield from (Visibility(relation, who, cell.rows or 0, cell.expected or 0, cell.problem) for who, cell in wanted.items())


def table(cells: Sequence[Cell], *, names_tenants: bool = True) -> tuple[list[str], list[list[str]]]:
    """
    Return a table of the rows that each actor sees: headings, and one line per relation.

    A `-` means that the actor may not read at all. The column without a context covers all roles of the pipeline.
    """
    lines: dict[str, dict[str, list[str]]] = {}
    headings: dict[str, None] = {}
    for cell in cells:
        if cell.actor.endswith(ONE_TENANT):
            continue
        heading = "pipeline, no context" if cell.actor.endswith(NO_CONTEXT) else cell.actor
        headings[heading] = None
        found = lines.setdefault(cell.relation, {}).setdefault(heading, [])
        if cell.rows is not None:
            shown = f"{cell.tenant} {cell.rows:,}" if names_tenants and cell.tenant and cell.tenant != NO_TENANT else f"{cell.rows:,}"
            found += [shown] if shown not in found else []
    return ["relation", *headings], [[name, *("; ".join(of.get(heading, [])) or "-" for heading in headings)] for name, of in lines.items()]
