"""Keep the number of slices small, because many small deliveries would make planning slow for every query on the table."""

from __future__ import annotations

from psycopg import sql

from dpe_cli.blocks.contract import StagingTable
from dpe_cli.errors import BusyError, ExtractError, LockLostError
from dpe_cli.load import locks, policies, prepare, staging
from dpe_cli.load.staging import Slice
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.lock_rows import Lock
from dpe_cli.server.patience import BLOCKED

MOST_SLICES = 64
# The largest slices are left alone, so that the bulk of a table is not rewritten again and again.
LARGEST_KEPT = 16


def compact(connection: Connection, table: StagingTable, extract_id: int, lock: Lock, *, actor: str) -> int:
    """
    Merge the smaller slices of a table into one if there are too many; return how many were merged.

    Readers see the same rows before, during and after. The merged slice takes number 0 of `extract_id`; rows
    keep their `_load_id`. If others hold the table, or the source's lock is lost, it is left to the next extract.

    Raises:
        ExtractError: the merged slice does not hold exactly the rows of those it replaces.
    """
    try:
        # For every tenant, whichever one the extract was opened for: a narrower context would lose the others' rows.
        with contexts.system_context(connection, actor=actor):
            locks.join(connection, table, lock)
            locks.limit_waiting(connection)
            return _compact(connection, table, extract_id)
    except (*BLOCKED, LockLostError, BusyError):
        return 0


def _compact(connection: Connection, table: StagingTable, extract_id: int) -> int:
    attached = staging.slices(connection, table, attached=True)
    if len(attached) <= MOST_SLICES:
        return 0
    # These rows must not change between being copied and being dropped: undo waits for this lock.
    connection.execute(sql.SQL("lock table {} in share update exclusive mode").format(table.identifier))
    if {policy.name for policy in policies.present(connection, table)} != {policy.name for policy in policies.declared(connection, table)}:
        # A policy added by hand could hide rows from the copying.
        return 0
    small = _by_size(connection, attached)[:-LARGEST_KEPT]
    merged = Slice(table, extract_id, 0)
    prepare.create_slice(connection, merged, with_load_id=True, ignored_columns=0)
    columns = sql.SQL(", ").join(map(sql.Identifier, [*(column.name for column in table.columns), "_load_id"]))
    expected = staging.visible_rows(connection, table, [slice_.slice_id for slice_ in small])
    connection.execute(
        sql.SQL("insert into {merged} ({columns}) select {columns} from {table} where _slice_id = any(%s)").format(
            merged=merged.identifier, columns=columns, table=table.identifier
        ),
        [[slice_.slice_id for slice_ in small]],
    )
    staging.seal(connection, merged, load_id=None, ignored_columns=0)
    for slice_ in small:
        staging.drop_slice(connection, slice_)
    staging.attach(connection, merged)
    if staging.visible_rows(connection, table, [merged.slice_id]) != expected:
        raise ExtractError(f"{table.source}: compaction would have changed the rows; nothing was changed, please report this")
    return len(small)


def _by_size(connection: Connection, slices: list[Slice]) -> list[Slice]:
    rows = connection.execute(
        """
        select relname, pg_relation_size(pg_class.oid)
        from pg_class
        where relname = any(%s) and relnamespace = (select oid from pg_namespace where nspname = %s)
        """,
        [[slice_.name for slice_ in slices], slices[0].table.schema],
    ).fetchall()
    sizes = {name: int(str(size)) for name, size in rows}
    return sorted(slices, key=lambda slice_: sizes[slice_.name])
