"""What an extract would do, found out like the extract itself does before it loads; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dpe_cli.blocks import reading
from dpe_cli.blocks.inputs import Input, QueryInput
from dpe_cli.load import claims, ledger, locks, prepare, resuming
from dpe_cli.load.inputs import Known, LoadRequest, distinct, planned
from dpe_cli.load.prepare import Staging
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection

ACTOR = "dpe run --plan"


@dataclass(frozen=True)
class Foresight:
    """
    What an extract would do: load `loads` inputs, which may include some that were loaded before, as all of a replaced source.

    The content of `new` and `changed` files was never loaded; `changed` ones have names of files that were. `moved` files were loaded under
    other names. A query is loaded each time, `after` a position if it resumes from one.
    """

    staging: Staging
    loads: int
    new: int
    changed: int
    moved: int
    after: str | None


def foresee(connect: Callable[[], Connection] | None, request: LoadRequest, inputs: Sequence[Input], *, full_refresh: bool) -> Foresight:
    """
    Compare inputs with what is in staging; `connect` returns a connection of the loader, None if the database does not exist yet.

    Raises:
        ContractError: the contract and the staging table disagree, or another project loads the table.
        InputError: an input cannot be read.
        ServerError: the loader may not create the table, or the server gave up.
    """
    staging, known, after = ("new", [], None) if connect is None else _compare(connect, request, inputs, full_refresh=full_refresh)
    with reading.searching(request.table.source):
        plan = planned(inputs, known, request, full_refresh=full_refresh)
        unknown = {input_.location for input_ in distinct(plan.new, known)}
    changed = {load.location for load in known if load.load_id in plan.changed}
    changed |= unknown & {load.location for load in known if load.load_id not in plan.moved}
    return Foresight(
        staging=staging,
        loads=len(plan.new),
        new=len(unknown - changed),
        changed=len(changed),
        moved=len(plan.moved),
        after=after,
    )


def _compare(
    connect: Callable[[], Connection], request: LoadRequest, inputs: Sequence[Input], *, full_refresh: bool
) -> tuple[Staging, list[Known], str | None]:
    """Compare the contract with the staging table, and read from the ledger what is loaded, in transactions that are rolled back."""
    table = request.table
    queries = [input_ for input_ in inputs if isinstance(input_, QueryInput)]
    replaces = full_refresh or request.disposition == "replace"
    with locks.reporting_server_errors(table), connect() as connection, contexts.system_context(connection, actor=ACTOR):
        locks.limit_waiting(connection)
        with connection.transaction(force_rollback=True):
            claims.check(connection, table)
            staging = prepare.foresee(connection, table, may_rebuild=full_refresh)
        known = ledger.known_inputs(connection, table.relation)
        position = None if replaces or not queries else resuming.cursor(connection, request)
        return staging, known, resuming.begin(connection, request, queries, position)
