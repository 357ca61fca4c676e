"""One of the checks of `dpe rls check`, for tests that ask only for its findings: all of them take four times as long."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
from psycopg import sql

from dpe_cli.access import checks
from dpe_cli.server.connection import Connection

_QUERY_OF_ALL = checks._query.__wrapped__
# Each argument has to be used.
_ALL_ARGUMENTS = sql.SQL(
    " union all select null, null, null, null"
    " where $1::text[] is null and $2::text[] is null and $3::text[] is null and $4::text[] is null and $5::text[] is null"
)


def findings(
    connection: Connection, check_id: str, schemas: Sequence[str], *, judged: Sequence[str] | None = None, unreadable: Sequence[str] = ()
) -> list[checks.Finding]:
    """Return what a check finds, as `checks.check` does for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "_query", lambda: _query(check_id))
        return checks.check(connection, schemas, judged=judged, unreadable=unreadable)


@cache
def _query(check_id: str) -> sql.Composed:
    [wanted] = [check for check in checks.checks() if check.check_id == check_id]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "checks", lambda: (wanted,))
        return _QUERY_OF_ALL() + _ALL_ARGUMENTS
