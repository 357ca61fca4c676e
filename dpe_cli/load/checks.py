"""Checks of an extract: each record that was read is loaded or rejected, each loaded row is visible, and one tenant's rows stay its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from dpe_cli.blocks.contract import StagingTable
from dpe_cli.blocks.inputs import Input
from dpe_cli.errors import ExtractError, RepeatedKeyError
from dpe_cli.load import staging
from dpe_cli.load.inputs import Uniqueness
from dpe_cli.load.ledger import Load
from dpe_cli.load.writers import Written
from dpe_cli.safe_text.redaction import excerpt
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.server.connection import Connection
from dpe_cli.words import plural

_SHOWN_KEYS = 5
_LONGEST_VALUE = 63


def reconcile(
    table: StagingTable,
    inputs: Mapping[int, Input],
    read: Mapping[int, int],
    written: Sequence[Written],
    missing: Mapping[int, Sequence[str]],
) -> list[Load]:
    """
    Return the loads, by number of records; `read` counts the records that were read of each, `missing` has the columns it lacked.

    Raises:
        ExtractError: a record was neither loaded nor rejected.
    """
    rows: Counter[int] = Counter()
    rejected: Counter[int] = Counter()
    for slice_ in written:
        rows.update(slice_.rows)
        rejected.update(slice_.rejected)
    for load_id, input_ in inputs.items():
        if read[load_id] != rows[load_id] + rejected[load_id]:
            raise ExtractError(
                f"{table.source}, {in_message(input_.location)}: {read[load_id]:,} records were read, but {rows[load_id]:,} loaded and "
                f"{rejected[load_id]:,} rejected; nothing was loaded, please report this"
            )
    return [
        Load(
            load_id,
            input_.location,
            input_.content_hash(),
            input_.size,
            read[load_id],
            rows[load_id],
            rejected[load_id],
            version=input_.version,
            columns_missing=missing.get(load_id, ()),
        )
        for load_id, input_ in inputs.items()
    ]


def check_visible(table: StagingTable, written: Sequence[Written], loads: Sequence[Load], *, tenant_id: str | None) -> None:
    """
    Check that the loader, in its context and under the parent's policies, sees exactly the rows it loaded.

    Raises:
        ExtractError: it does not.
    """
    seen: Counter[int] = Counter()
    for slice_ in written:
        seen.update(slice_.visible)
    for load in loads:
        if seen[load.load_id] != load.rows_loaded:
            hidden = load.rows_loaded - seen[load.load_id]
            if tenant_id is not None:
                raise ExtractError(
                    f"{table.source}, {in_message(load.location)}: {hidden:,} of {load.rows_loaded:,} rows do not belong to tenant "
                    f"{tenant_id}; nothing was loaded, correct the delivery or extract it for all tenants"
                )
            raise ExtractError(
                f"{table.source}, {in_message(load.location)}: {hidden:,} of {load.rows_loaded:,} rows are not visible to the loader "
                f"through the policies of {table.schema}.{table.name}; nothing was loaded, "
                "drop the policies that dpe did not create"
            )


def check_unique(connection: Connection, table: StagingTable, slice_ids: Sequence[int], key: Sequence[str], unique: Uniqueness) -> None:
    """
    Check, in the transaction that attaches slices, that no key occurs twice.

    Raises:
        RepeatedKeyError: one does; some are listed on lines of their own.
    """
    within = list(slice_ids) if unique.within == "extract" else None
    count, keys = staging.repeated_keys(connection, table, within, key, most=_SHOWN_KEYS)
    if count:
        head = (
            f"{table.source}: {plural(count, 'key')} ({', '.join(key)}) came with more than one record; nothing was loaded, {unique.advice}"
        )
        shown = [f"  {', '.join('null' if value is None else excerpt(value, _LONGEST_VALUE) for value in values)}" for values in keys]
        raise RepeatedKeyError("\n".join([head, *shown]))


def check_tenant(table: StagingTable, *, replaces: bool) -> None:
    """
    Refuse an extract for one tenant if it could not be limited to that tenant.

    Raises:
        ExtractError: it replaces the table, or the table has no tenant.
    """
    if replaces:
        raise ExtractError(
            f"{table.source}: an extract for one tenant cannot replace the table, because the other tenants' rows would be lost; "
            "extract it for all tenants"
        )
    if table.tenant_column is None:
        raise ExtractError(
            f"{table.source}: an extract for one tenant needs the tenant of each row; declare `rls: {{tenant_column: …}}` "
            f"in the source's meta ({table.declared_at}), or extract it for all tenants"
        )
