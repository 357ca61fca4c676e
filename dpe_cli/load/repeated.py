"""Records that were delivered again: they leave their slices, and a slice that held nothing else is not attached at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dpe_cli.blocks.contract import StagingTable
from dpe_cli.errors import ExtractError
from dpe_cli.load import staging
from dpe_cli.load.ledger import Load
from dpe_cli.load.staging import Slice
from dpe_cli.server.connection import Connection


@dataclass(frozen=True)
class Outcome:
    """The loads of an extract without repeated records, how far it read, and the slices that have nothing else."""

    loads: list[Load]
    cursor: str | None
    empty: list[Slice]


class EmptySlicesError(Exception):
    """
    Nothing stays of some slices. Their extract is published again, without them.

    Dropping an attached slice would wait for every reader of the table.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


def empty_slices(connection: Connection, table: StagingTable, filled: Sequence[Slice], loads: Sequence[Load]) -> list[Slice]:
    """Return the attached slices without rows; none can be if no load has repeated records."""
    if not any(load.records_repeated for load in loads):
        return []
    return [slice_ for slice_ in filled if not staging.visible_rows(connection, table, [slice_.slice_id])]


def check_rows(connection: Connection, table: StagingTable, filled: Sequence[Slice], loads: Sequence[Load]) -> None:
    """
    Compare the rows of the slices that were attached with the loads.

    Raises:
        ExtractError: they differ.
    """
    visible = sum(staging.visible_rows(connection, table, [slice_.slice_id for slice_ in filled]).values())
    expected = sum(load.rows_loaded for load in loads)
    if visible != expected:
        raise ExtractError(
            f"{table.source}: {expected:,} rows are new, but {visible:,} are in staging; nothing was loaded, please report this"
        )
