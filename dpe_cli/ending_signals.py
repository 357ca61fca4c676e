"""The signals with which schedulers, terminals and people end dpe: each leaves what is being done with an exception, in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Windows has no SIGHUP; dpe has to start there to say that it does not run there.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name))


class EndedError(SystemExit):
    """
    SIGTERM or SIGHUP asked dpe to end; `exit_status` is 128 + the signal's number, as in a shell.

    A SystemExit, because dbt and psycopg cancel the server's query for these and for KeyboardInterrupt only.
    """

    def __init__(self, number: int) -> None:
        self.exit_status = 128 + number
        self.signal_name = signal_name(number)
        super().__init__(self.exit_status)

    def __str__(self) -> str:
        return f"ended by {self.signal_name}"


class _Handler:
    def __init__(self) -> None:
        self._is_postponed = False
        self._came: int | None = None

    def take(self, number: int, _frame: object) -> None:
        """Handle a signal."""
        self._came = number
        if not self._is_postponed:
            self.go_on()

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Defer signals until the block calls `go_on`, or fails."""
        self._is_postponed = True
        try:
            yield
        finally:
            self.go_on()

    def go_on(self) -> None:
        """Allow signals again, and raise for a deferred one at once."""
        self._is_postponed = False
        number, self._came = self._came, None
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if number is not None:
            raise EndedError(number)


_handler = _Handler()
# Defers signals, for example while a process is starting that could not be stopped yet.
postponed, go_on = _handler.postponed, _handler.go_on


@contextmanager
def raised() -> Iterator[None]:
    """
    Let the signals leave the block with EndedError or KeyboardInterrupt.

    A signal that is ignored, as SIGHUP is under nohup, or handled by somebody else, stays so. Does nothing outside the main thread, which
    alone can handle signals (Python documentation, "signal").
    """
    is_main = threading.current_thread() is threading.main_thread()
    taken = {number: signal.getsignal(number) for number in _SIGNALS} if is_main else {}
    taken = {number: handler for number, handler in taken.items() if handler in {signal.SIG_DFL, signal.default_int_handler}}
    for number in taken:
        signal.signal(number, _handler.take)
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)


def signal_name(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
