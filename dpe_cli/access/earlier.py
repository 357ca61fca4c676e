"""
Transactions that began before access was revoked or given an earlier end: what they show of the access list is what it said then.

A session can export the snapshot of its transaction, and any other session of the database can import it as long as that transaction is
open (PostgreSQL documentation, "Snapshot Synchronization Functions"): also a new session of the role whose access was changed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from dpe_cli.server import sessions
from dpe_cli.server.connection import Connection
from dpe_cli.server.patience import Waiting
from dpe_cli.server.server import Server
from dpe_cli.server.sessions import Session
from dpe_cli.words import plural

_LOOK_SECONDS = 0.1
_ROUNDS = 3
# A transaction without backend_xmin has no snapshot, and takes a new one with its next statement. A snapshot whose oldest transaction is
# later than the changing one is newer. A login that may not see the snapshots of others sees which sessions have a transaction, no more.
_EARLIER = """
    select
        pid,
        usename::text,
        coalesce(application_name, ''),
        xact_start
    from pg_stat_activity
    where datname = current_database()
        and pid <> pg_backend_pid()
        and usename is not null
        and case
            when state is not null
                then backend_type = 'client backend'
                    and xact_start < statement_timestamp()
                    and age(backend_xmin) >= age(%(changed_by)s::text::xid)
            else exists (
                select
                from pg_locks
                where pg_locks.pid = pg_stat_activity.pid and locktype = 'virtualxid' and granted
            )
        end
    order by xact_start, pid
"""


@dataclass(frozen=True)
class EarlierSession:
    """A session whose transaction began before a change of the access list; `since` is None if the login may not know it."""

    pid: int
    role: str
    application: str
    since: datetime | None

    def __str__(self) -> str:
        """Name it."""
        since = f" since {self.since:%Y-%m-%d %H:%M:%S}" if self.since else ""
        return f"{Session(self.pid, self.role, self.application)}{since}"


def of(server: Server, changed_by: str, waiting: Waiting) -> list[EarlierSession]:
    """
    Return the sessions that have a snapshot from before a committed transaction, given by its number.

    With an ender, those that still have it after END_AFTER_SECONDS are ended.
    """
    with server.connect("admin", autocommit=True) as connection:
        found = _found(connection, changed_by)
        if waiting.ender is None:
            return found
        until = time.monotonic() + sessions.END_AFTER_SECONDS
        while found and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
            found = _found(connection, changed_by)
        if found:
            waiting.say(f"Ending {plural(len(found), 'session')} whose transactions began before the change of the access list.")
        # Meanwhile, other sessions can import their snapshots.
        for _ in range(_ROUNDS):
            if found:
                waiting.ender.end({session.pid for session in found})
                found = _found(connection, changed_by)
        return found


def _found(connection: Connection, changed_by: str) -> list[EarlierSession]:
    return [EarlierSession(*row) for row in connection.execute(_EARLIER, {"changed_by": changed_by})]
