"""Sessions of the database: which of them hold a relation, and which are in the way of others."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.errors import Diagnostic

from dpe_cli.server.connection import Connection
from dpe_cli.server.server import NARROW_SEARCH_PATH

_MOST_NAMED = 5
# A relation's indexes and the sequences that its columns own move with it, and a reader can lock these alone: nextval() locks a
# sequence before it checks the privilege. A prepared transaction has no session; its own identifier is locked with the rest. Locks on
# catalogs that all databases share have the database 0.
_HOLDERS = """
    with

    parts (relation_id, part_id) as (

        select wanted.relation_id, wanted.relation_id
        from unnest(%(relations)s::bigint[]::oid[]) as wanted (relation_id)
        union
        select indrelid, indexrelid
        from pg_index
        where indrelid = any(%(relations)s::bigint[]::oid[])
        union
        select refobjid, objid
        from pg_depend
        inner join pg_class as owned on pg_depend.objid = owned.oid
        where classid = 'pg_class'::regclass
            and refclassid = 'pg_class'::regclass
            and refobjid = any(%(relations)s::bigint[]::oid[])
            and deptype in ('a', 'i')
            and owned.relkind = 'S'

    )

    select distinct
        parts.relation_id::bigint,
        format('%%I.%%I', nspname, relname),
        coalesce(activity.usename, prepared.owner, '')::text,
        pg_locks.pid,
        coalesce(activity.application_name, ''),
        coalesce(activity.xact_start, prepared.prepared),
        prepared.gid,
        concat_ws(' ', pg_locks.pid, pg_locks.virtualtransaction),
        exists (
            select
            from pg_locks as asked
            where asked.pid = pg_locks.pid and asked.relation = pg_locks.relation and not asked.granted
        ),
        -- A session without a role is autovacuum's, which locks the table that it works on in this way.
        case when activity.usename is null and prepared.gid is null then (
            select format('%%I.%%I, which belongs to %%I,', its_schema.nspname, its_table.relname, pg_get_userbyid(its_table.relowner))
            from pg_locks as its_lock
            inner join pg_class as its_table on its_lock.relation = its_table.oid
            inner join pg_namespace as its_schema on its_table.relnamespace = its_schema.oid
            where its_lock.pid = pg_locks.pid
                and its_lock.mode = 'ShareUpdateExclusiveLock'
                and its_lock.granted
                and its_table.relkind in ('r', 'm', 't')
            order by its_table.relkind = 't', its_table.oid
            limit 1
        ) end
    from parts
    inner join pg_locks on parts.part_id = pg_locks.relation
    inner join pg_class on pg_locks.relation = pg_class.oid
    inner join pg_namespace on relnamespace = pg_namespace.oid
    left join pg_stat_activity as activity on pg_locks.pid = activity.pid
    left join pg_locks as of_transaction
        on pg_locks.pid is null
        and of_transaction.pid is null
        and of_transaction.locktype = 'transactionid'
        and of_transaction.virtualtransaction = pg_locks.virtualtransaction
    left join pg_prepared_xacts as prepared on of_transaction.transactionid = prepared.transaction
    where pg_locks.database in (0, (select oid from pg_database where datname = current_database()))
        and (pg_locks.granted or pg_locks.pid = any(%(waiting)s::bigint[]))
        and pg_locks.pid is distinct from pg_backend_pid()
    order by 4, 2
"""
# What sessions wait for (given by number, or by application and this login), and which others block them: those that hold it, or queued
# for it before. What is not a relation has the number 0, and so does the session of a prepared transaction.
_BLOCKING = """
    with

    waiting as (

        select pid
        from pg_stat_activity
        where datname = current_database()
            and (pid = any(%(pids)s::integer[]) or (usename = session_user and application_name ~ %(application)s))

    )

    select
        coalesce(pg_locks.relation, 0)::bigint,
        blocking.pid
    from waiting
    inner join pg_locks on waiting.pid = pg_locks.pid and not pg_locks.granted
    cross join lateral unnest(pg_blocking_pids(waiting.pid)) as blocking (pid)
    where blocking.pid not in (select pid from waiting)
"""
# Sessions that block others, but hold no relation that these wait for: they changed a row, for example.
_IN_THE_WAY = """
    select
        0,
        '',
        coalesce(activity.usename, '')::text,
        activity.pid,
        coalesce(activity.application_name, ''),
        activity.xact_start,
        null,
        concat_ws(' ', activity.pid, pg_locks.virtualtransaction),
        false,
        null
    from pg_stat_activity as activity
    left join pg_locks on activity.pid = pg_locks.pid and pg_locks.locktype = 'virtualxid' and pg_locks.granted
    where activity.pid = any(%s)
    order by activity.pid
"""
# The first session in the way of each that waits: those before it wait for that one themselves.
_FIRST_IN_THE_WAY = """
    with recursive chain (pid, blocking_pid, length) as (

        select asked.pid, blocking.pid, 1
        from unnest(%s::integer[]) as asked (pid)
        cross join lateral unnest(pg_blocking_pids(asked.pid)) as blocking (pid)
        union
        select chain.pid, blocking.pid, chain.length + 1
        from chain
        cross join lateral unnest(pg_blocking_pids(chain.blocking_pid)) as blocking (pid)
        where chain.length < 10

    )

    select distinct on (chain.pid)
        chain.pid,
        chain.blocking_pid,
        coalesce(activity.usename, '')::text,
        coalesce(activity.application_name, '')
    from chain
    left join pg_stat_activity as activity on chain.blocking_pid = activity.pid
    order by chain.pid, chain.length desc, chain.blocking_pid
"""


@dataclass(frozen=True)
class Session:
    """A session of another login."""

    pid: int
    role: str
    application: str

    def __str__(self) -> str:
        """Name it."""
        return f"{self.role or 'a session'} ({', '.join(filter(None, (f'process {self.pid}', _quoted(self.application))))})"


@dataclass(frozen=True)
class Holder:
    """
    A transaction that holds a lock on a relation; a prepared one has no `pid`. `since` is None if the login may not know it.

    `relation` is empty if the transaction blocks another one in a different way. It may only wait for the relation itself
    (`is_waiting`). `works_on` is the table, with its owner, that a session of autovacuum works on. `held_up_by` is the first session in
    the way of this one.
    """

    relation_id: int
    relation: str
    role: str
    pid: int | None
    application: str
    since: datetime | None
    prepared_as: str | None
    transaction: str
    is_waiting: bool = False
    works_on: str | None = None
    held_up_by: Session | None = None

    def __str__(self) -> str:
        """Name the role, the session and the relation."""
        since = f"since {self.since:%Y-%m-%d %H:%M:%S}" if self.since else ""
        session = f"process {self.pid}" if self.prepared_as is None else f"prepared transaction {self.prepared_as!r}"
        details = ", ".join(filter(None, (session, since, _quoted(self.application))))
        who = self.role or (f"autovacuum of {self.works_on}" if self.works_on else "a session")
        what = f"{'waits for' if self.is_waiting else 'holds'} {self.relation}" if self.relation else "is in the way"
        return f"{who} ({details}) {what}{f', held up by {self.held_up_by}' if self.held_up_by else ''}"

    @property
    def is_known(self) -> bool:
        """Whether it belongs to a login; autovacuum, too, holds relations for a while."""
        return bool(self.role)

    @property
    def remedy(self) -> str:
        """How to release the relation."""
        if self.prepared_as is None:
            return "End that session"
        statement = sql.SQL("rollback prepared {}").format(sql.Literal(self.prepared_as)).as_string()
        return f"Commit or roll back that transaction (`{statement}`)"


def holders(connection: Connection, relations: Collection[int], *, waiting: Collection[int] = ()) -> list[Holder]:
    """
    Return the other transactions that hold a lock on relations (given by oid), on their indexes or on sequences that they own.

    Processes in `waiting` count even if they only wait for the lock themselves.
    """
    found = connection.execute(_HOLDERS, {"relations": list(relations), "waiting": list(waiting)})
    return [Holder(*row) for row in found]


def blocking(connection: Connection, *, pids: Collection[int] = (), application: str | None = None) -> list[Holder]:
    """Return what blocks sessions: those with these numbers, and those of the connection's login whose application matches a pattern."""
    found = [
        (int(str(relation)), int(str(pid)))
        for relation, pid in connection.execute(_BLOCKING, {"pids": list(pids), "application": application})
    ]
    blockers = {pid for _, pid in found}
    known = [
        holder
        for holder in holders(connection, {relation for relation, _ in found if relation}, waiting=blockers)
        if (holder.pid or 0) in blockers
    ]
    others = blockers - {holder.pid for holder in known} - {0}
    known += [Holder(*row) for row in connection.execute(_IN_THE_WAY, [list(others)])]
    first = {
        int(str(pid)): Session(int(str(first_pid)), str(role), str(application))
        for pid, first_pid, role, application in connection.execute(_FIRST_IN_THE_WAY, [list(blockers)])
    }
    return [replace(holder, held_up_by=first.get(holder.pid or 0)) for holder in known]


def describe(found: Sequence[Holder]) -> str:
    """List who holds what, each transaction once."""
    each = list({holder.transaction: str(holder) for holder in reversed(found)}.values())[::-1]
    more = [f"{len(each) - _MOST_NAMED} more"] if len(each) > _MOST_NAMED else []
    return "; ".join([*each[:_MOST_NAMED], *more]) or "a session holds a relation"


def remedies(found: Sequence[Holder], *, otherwise: str) -> str:
    """Return what releases the relations, each remedy once and without the last full stop; `otherwise` if no one is known to hold them."""
    return " ".join(dict.fromkeys(f"{holder.remedy}." for holder in found)).removesuffix(".") or otherwise


class Stays:
    """
    Tells which transactions stay in the way.

    A session that returns again and again does not count as one that stays: each of its transactions is a new one.
    """

    def __init__(self) -> None:
        self._first_seen: dict[str, float] = {}

    def of(self, found: Sequence[Holder]) -> list[Holder]:
        """Return those of these transactions that were in the way END_AFTER_SECONDS ago, too."""
        now = time.monotonic()
        return [holder for holder in found if now - self._first_seen.setdefault(holder.transaction, now) >= END_AFTER_SECONDS]


def _quoted(application: str) -> str:
    """Quote the name that a session gives its application, which could read like another session."""
    return repr(application) if application else ""


@contextmanager
def observing(connection: Connection) -> Iterator[Connection]:
    """Open a second session of the same login, which observes the first one."""
    info = connection.info
    with psycopg.connect(info.dsn, password=info.password or None, autocommit=True, prepare_threshold=None) as second:
        second.execute(NARROW_SEARCH_PATH.encode())
        yield second


@contextmanager
def last_words(connection: Connection) -> Iterator[None]:
    """
    Make the error for a lost connection include why the server ended the session.

    A message between two statements arrives as a notice, or stays in the connection; the next statement's error does not
    contain it (libpq, "Notice Processing" and PQerrorMessage).

    Raises:
        psycopg.OperationalError: the connection is lost.
    """
    messages: list[str] = []

    def note(notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "FATAL" and notice.message_primary:
            messages.append(notice.message_primary)

    connection.add_notice_handler(note)
    try:
        yield
    except psycopg.OperationalError as error:
        if error.sqlstate or not connection.broken:
            raise
        # Messages received before the end may not have been processed yet.
        connection.pgconn.is_busy()
        if connection.pgconn.error_message:
            messages += connection.pgconn.get_error_message().splitlines()[:1]
        raise psycopg.OperationalError(messages[0] if messages else str(error)) from error
    finally:
        connection.remove_notice_handler(note)


# How long a transaction has to block before its session is ended, if that is wanted.
END_AFTER_SECONDS = 5.0
