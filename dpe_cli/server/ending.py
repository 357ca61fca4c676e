"""Ends sessions that are in the way."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import psycopg

from dpe_cli.errors import ServerError
from dpe_cli.server.connection import Connection
from dpe_cli.server.server import LOGINS, Server
from dpe_cli.server.sessions import Session

_ENDING_MILLISECONDS = 5_000


_TO_END = """
    select
        pid,
        coalesce(usename, '')::text,
        application_name
    from pg_stat_activity
    where pid = any(%s)
        and datname = current_database()
        and pid <> pg_backend_pid()
        and coalesce(backend_type, 'client backend') = 'client backend'
        and usename <> all(%s)
        and not (usename = %s and application_name ~ '^dpe( |$)')
        and coalesce(backend_start < %s, true)
    order by pid
"""


# Whether a session may end those of other roles: directly, or after SET ROLE pg_signal_backend (the transformer inherits nothing).
_MAY_END = "select pg_has_role('pg_signal_backend', 'usage'), pg_has_role('pg_signal_backend', 'member')"


class Ender:
    """Ends blocking sessions, as the transformer or else as the administrator. Records which it ended, and why not others."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.ended: list[Session] = []
        self.refusals: list[str] = []

    def end(self, pids: Collection[int], *, began_before: datetime | None = None) -> None:
        """End these sessions, except dpe's own and any that is known to have begun later, and wait for their end."""
        remaining = set(pids)
        self.refusals.clear()
        for role in ("transformer", "admin"):
            if not remaining:
                return
            self.refusals.clear()
            try:
                with self._server.connect(role, autocommit=True, application_name="dpe end-sessions") as connection:
                    if _may_end(connection) or role == "admin":
                        remaining = self._end(connection, remaining, began_before)
            except ServerError as error:
                self.refusals.append(str(error))

    def _end(self, connection: Connection, pids: Collection[int], began_before: datetime | None) -> set[int]:
        """Return those that still exist."""
        remaining = set()
        wanted = [list(pids), list(LOGINS.values()), self._server.admin_user, began_before]
        for pid, role, application in connection.execute(_TO_END, wanted).fetchall():
            session = Session(int(str(pid)), str(role), str(application))
            try:
                [(is_gone,)] = connection.execute("select pg_terminate_backend(%s, %s)", [session.pid, _ENDING_MILLISECONDS]).fetchall()
            except psycopg.errors.InsufficientPrivilege as error:
                reason = error.diag.message_primary
                self.refusals.append(
                    f"{session} cannot be ended ({reason}); run `grant pg_signal_backend to dpe_transformer`, or end it as a superuser"
                )
                remaining.add(session.pid)
            else:
                if is_gone:
                    self.ended.append(session)
                else:
                    self.refusals.append(f"{session} was asked to end, but has not ended yet")
        return remaining


def _may_end(connection: Connection) -> bool:
    """Return whether a session may end those of other roles, after switching to the role that may."""
    [(may, may_become)] = connection.execute(_MAY_END).fetchall()
    if not may and may_become:
        try:
            connection.execute("set role pg_signal_backend")
        except psycopg.errors.InsufficientPrivilege:
            return False
    return bool(may or may_become)
