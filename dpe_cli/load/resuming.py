"""Where queries resume: from the position that the last extract left in the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from dpe_cli.blocks.inputs import QueryInput
from dpe_cli.load import ledger, positions
from dpe_cli.load.inputs import LoadRequest
from dpe_cli.server.connection import Connection


def cursor(connection: Connection, request: LoadRequest) -> str | None:
    """Return how far a source was read, in the caller's transaction; None if it was not, or if it cannot resume from there."""
    increment = request.increment
    found = ledger.cursor(connection, request.table.relation)
    if found and increment and not positions.is_end(connection, found, increment.data_type):
        return None
    return found


def begin(connection: Connection, request: LoadRequest, queries: Sequence[QueryInput], position: str | None) -> str | None:
    """Tell queries to resume from a position, or earlier if extracts overlap; None: at the start. Return where that is."""
    increment = request.increment
    after = position
    if after is not None and increment and increment.overlap:
        connection.execute("select set_config('timezone', 'UTC', true)")
        after = positions.earlier(connection, after, increment.data_type, increment.overlap)
    for query in queries:
        query.begin(after)
    return after
