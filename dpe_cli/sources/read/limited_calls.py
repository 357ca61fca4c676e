"""
Calls of libraries that wait for others, with a limit on how long each call takes.

The timeouts of libraries restart with every byte, leave out parts of a protocol (a greeting, a header, a name that is resolved), or
do not exist. So such calls run in a thread of their own, which is abandoned when its time is over.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Calls = queue.SimpleQueue[Callable[[], Any] | None]
_Results = queue.SimpleQueue[tuple[Any, BaseException | None]]


class LateError(Exception):
    """A call took longer than it may."""


class LimitedCalls:
    """Makes calls one after the other, all in the same thread, because some libraries bind what they return to a thread."""

    def __init__(self) -> None:
        self.is_late = False
        self._calls: _Calls = queue.SimpleQueue()
        self._results: _Results = queue.SimpleQueue()
        # A process does not wait for it at its end.
        self._thread = threading.Thread(target=_work, args=[self._calls, self._results], name="dpe source", daemon=True)
        self._end = weakref.finalize(self, self._calls.put, None)

    def run(self, seconds: float, function: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
        """
        Call a function, and return what it returns.

        Raises:
            LateError: it did not return in time; it may still be running, and no further call is made.
        """
        if self.is_late:
            raise LateError
        if not self._thread.is_alive():
            self._thread.start()
        self._calls.put(lambda: function(*arguments, **options))
        try:
            result, error = self._results.get(timeout=min(seconds, threading.TIMEOUT_MAX))
        except BaseException as reason:
            # Also if the user interrupts it: the thread is still waiting.
            self.is_late = True
            if isinstance(reason, queue.Empty):
                raise LateError from None
            raise
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the thread, once it has returned from its call."""
        self._end()


def _work(calls: _Calls, results: _Results) -> None:
    while (call := calls.get()) is not None:
        try:
            result: tuple[Any, BaseException | None] = call(), None
        # Raised again where the function was called.
        except BaseException as error:  # noqa: BLE001
            result = None, error
        del call
        results.put(result)
        del result
