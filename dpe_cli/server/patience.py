"""
Patience: a transaction that needs locks tries again until no session is in its way. The sessions that stay are named and, if wanted, ended.

Each attempt waits less than deadlock_timeout for a lock. So it gives up before another session does, releases all of its locks, and no
session can make it the victim of a deadlock. Only autovacuum is waited for longer: it gives way to a session that has waited for that time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self, TypeVar

import psycopg

from dpe_cli.errors import ServerError
from dpe_cli.server import sessions
from dpe_cli.server.connection import Connection
from dpe_cli.server.ending import Ender
from dpe_cli.server.sessions import Holder, Stays

T = TypeVar("T")

# Less and more than deadlock_timeout, which is 1 s by default.
LOCK_TIMEOUT = "400ms"
_LONGER = "2s"
# Of the attempts of a persistent transaction, one in so many waits longer.
_LONGER_EVERY = 3
_limit: ContextVar[str] = ContextVar("limit", default=LOCK_TIMEOUT)
BLOCKED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
# Another session wrote the same row of the catalog, and has committed. PostgreSQL neither translates the message nor has a code for it.
_WRITTEN_BY_ANOTHER = "tuple concurrently updated"
# How long a statement that is not tried again waits for a lock.
LIMIT_SECONDS = 60.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
# How often is looked at what blocks a transaction that is tried again, and a statement that waits for LIMIT_SECONDS.
_LOOK_SECONDS = 0.1
_LOOK_AT_LIMITED_SECONDS = 0.25


@dataclass(frozen=True)
class Waiting:
    """For how long to wait for sessions; an `ender` ends those that stay, `say` gets a line that names them."""

    seconds: float = 60.0
    ender: Ender | None = None
    say: Callable[[str], None] = lambda _text: None


WITHOUT_ENDING = Waiting()


class BlockedError(Exception):
    """Sessions did not release what a transaction needs; the message names them."""

    def __init__(self, waited: float, holders: Sequence[Holder], ender: Ender | None = None) -> None:
        refusals = "".join(f"; {refusal}" for refusal in ender.refusals) if ender else ""
        self.named = sessions.describe(holders)
        super().__init__(f"after {waited:.0f} s {self.named} still{refusals}")
        # What to do about it, without a full stop.
        self.remedies = sessions.remedies(holders, otherwise="End that session")


class Watch:
    """Observes, in a thread and a session of its own, which transactions block a session; `say` gets a line on each that stays."""

    def __init__(
        self, connection: Connection, say: Callable[[str], None] = lambda _text: None, *, look_seconds: float = _LOOK_SECONDS
    ) -> None:
        self._connection = connection
        self._say = say
        self._look_seconds = look_seconds
        self._pid = connection.info.backend_pid
        self._seen: dict[str, Holder] = {}
        self._mutex = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._observe, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def take(self) -> list[Holder]:
        """Return the transactions that blocked the session since the last call."""
        with self._mutex:
            seen, self._seen = list(self._seen.values()), {}
        return seen

    def _observe(self) -> None:
        # If the server ends this session, it can name no one; the work itself does not need it.
        stays = Stays()
        reported: set[str] = set()
        # Work that ends before the first look needs no second session.
        if self._over.wait(self._look_seconds):
            return
        with suppress(psycopg.Error), sessions.observing(self._connection) as second:
            while True:
                found = sessions.blocking(second, pids=[self._pid])
                for holder in stays.of(found):
                    if holder.transaction not in reported:
                        reported.add(holder.transaction)
                        self._say(f"Waiting: {holder}.")
                with self._mutex:
                    for holder in found:
                        self._seen.setdefault(holder.transaction, holder)
                if self._over.wait(self._look_seconds):
                    return


def limit_waiting(connection: Connection) -> None:
    """Limit how long the open transaction waits for each lock, so that it can be tried again."""
    connection.execute("select set_config('lock_timeout', %s, true)", [_limit.get()])


def patiently(
    connection: Connection,
    attempt: Callable[[], T],
    waiting: Waiting,
    *,
    purpose: str,
    is_persistent: bool = False,
    blocked: tuple[type[Exception], ...] = BLOCKED,
    also: Callable[[], Sequence[Holder]] = lambda: (),
) -> T:
    """
    Try a transaction of a connection, again and again while it fails with one of the errors in `blocked`.

    It is also tried again if another session has just written a row of the catalog that it writes.

    If it `is_persistent`, some attempts wait longer, so that sessions whose short transactions overlap do not keep it waiting. That makes
    others wait for it, too.

    The transaction calls limit_waiting() before it takes locks. `purpose` completes "Waiting to". `also` returns holders that are known
    otherwise, if no session was seen blocking the transaction.

    Raises:
        BlockedError: it did not succeed in time.
    """
    failures: tuple[type[Exception], ...] = (*blocked, psycopg.InternalError)
    started = time.monotonic()
    pause = _FIRST_PAUSE
    has_said = False
    attempts = 0
    stays = Stays()
    holders: list[Holder] = []
    with ExitStack() as stack:
        watch: Watch | None = None
        while True:
            attempts += 1
            # Autovacuum has no role.
            is_longer = any(not holder.is_known for holder in holders) or (is_persistent and attempts % _LONGER_EVERY == 0)
            token = _limit.set(_LONGER if is_longer else LOCK_TIMEOUT)
            try:
                return attempt()
            except failures as error:
                if isinstance(error, psycopg.InternalError) and error.diag.message_primary != _WRITTEN_BY_ANOTHER:
                    raise
                now = time.monotonic()
                holders = (watch.take() if watch else []) or list(also()) or holders
                staying = stays.of(holders)
                if waiting.ender is not None:
                    waiting.ender.end({holder.pid for holder in staying if holder.pid})
                if watch is None:
                    watch = stack.enter_context(Watch(connection))
                elif now - started > waiting.seconds:
                    raise BlockedError(now - started, holders, waiting.ender) from error
                if now - started > sessions.END_AFTER_SECONDS and holders and not has_said:
                    waiting.say(f"Waiting to {purpose}: {sessions.describe(holders)}.")
                    has_said = True
            finally:
                _limit.reset(token)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


@contextmanager
def limited(connection: Connection, say: Callable[[str], None] = lambda _text: None) -> Iterator[None]:
    """
    Limit how long each statement of a session waits for a lock, until the session ends; `say` gets a line on each that blocks it.

    Raises:
        ServerError: one waited for too long; it names what blocked it.
    """
    with Watch(connection, say, look_seconds=_LOOK_AT_LIMITED_SECONDS) as watch:
        connection.execute("select set_config('lock_timeout', %s, false)", [f"{LIMIT_SECONDS:.0f}s"])
        connection.commit()
        try:
            yield
        except BLOCKED as error:
            holders = watch.take()
            remedies = sessions.remedies(holders, otherwise="Wait for it to end")
            raise ServerError(
                f"database {connection.info.dbname}: {sessions.describe(holders)} for too long; the checks did not end. "
                f"{remedies}, then run again",
                retryable=True,
            ) from error
