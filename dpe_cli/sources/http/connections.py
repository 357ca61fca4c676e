"""
The connections of an HTTP client, and calls that use them, each with a limit on how long it takes.

httpx's own timeouts restart with every byte: a header, a chunk's extension or interim answers (RFC 9110, section 15.2) could come for ever.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from dpe_cli.sources.http.addresses import InsideError, is_inside
from dpe_cli.sources.read.limited_calls import LateError, LimitedCalls

_P = ParamSpec("_P")
_T = TypeVar("_T")
_THIS_MACHINE = ("all://localhost", "all://127.0.0.1", "all://[::1]")


class Connections:
    """
    Connections whose calls take at most so many seconds each; after a late call, they are replaced by new ones.

    Unless they may lead inside, one to a private network is closed before a byte is sent.
    """

    def __init__(self, httpx: ModuleType, timeout: float, *, may_lead_inside: bool) -> None:
        self._may_lead_inside = may_lead_inside
        self._httpx = httpx
        self._timeout = timeout
        self._sockets: list[socket.socket] = []
        self._begin()

    def _begin(self) -> None:
        self._calls = LimitedCalls()
        # Its own limit comes after that of the call. Proxies do not apply to this machine.
        self._client: Any = self._httpx.Client(timeout=self._timeout + 1, follow_redirects=False, mounts=dict.fromkeys(_THIS_MACHINE))

    def run(self, seconds: float, function: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
        """
        Call a function that uses the connections.

        Raises:
            LateError: it did not return in time; its connection is closed.
        """
        try:
            return self._calls.run(seconds, function, *arguments, **options)
        except LateError:
            self._hang_up()
            self._calls.close()
            self._begin()
            raise

    @contextmanager
    def response(self, method: str, url: str, headers: Mapping[str, str]) -> Iterator[Any]:
        """
        Send a request, and yield the answer once its headers are there.

        Raises:
            LateError: they did not come in time.
            InsideError: its connection led into a private network.
        """
        client = self._client
        request = client.build_request(method, url, headers=headers, extensions={"trace": self._tracer(url)})
        found = self.run(self._timeout, client.send, request, stream=True)
        try:
            yield found
        finally:
            # If its body was late, the abandoned thread closes it.
            if client is self._client:
                found.close()

    def answer(self, method: str, url: str, *, most: int, **request: Any) -> tuple[Any, bytes]:
        """
        Return an answer with its body as it was sent, of which no more is read once it is longer than `most` bytes.

        Raises:
            InsideError: its connection led into a private network.
        """
        body = bytearray()
        with self._client.stream(method, url, extensions={"trace": self._tracer(url)}, **request) as response:
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > most:
                    break
            return response, bytes(body)

    def close(self) -> None:
        """Close them."""
        self._client.close()
        self._calls.close()

    def _tracer(self, url: str) -> Callable[[str, Mapping[str, Any]], None]:
        """Return a function that notes the sockets which httpcore opens for a request, and checks where each leads."""
        host = self._httpx.URL(url).raw_host.decode()
        is_direct = True

        def trace(event: str, info: Mapping[str, Any]) -> None:
            nonlocal is_direct
            if event.endswith("connect_tcp.started"):
                # The operator's proxy may be inside; it resolves the host by itself.
                is_direct = info["host"] == host
            elif event.endswith(("connect_tcp.complete", "start_tls.complete")):
                opened = info["return_value"].get_extra_info("socket")
                self._sockets = [known for known in self._sockets if known.fileno() >= 0] + [opened]
                if event.endswith("connect_tcp.complete") and is_direct and not self._may_lead_inside:
                    _check_peer(opened)

        return trace

    def _hang_up(self) -> None:
        """
        End the connections, so that the thread that waits for one gets an error, and closes it.

        If dpe closed them here, that thread could read from another connection that got the same number.
        """
        for known in self._sockets:
            with suppress(OSError):
                known.shutdown(socket.SHUT_RDWR)
        self._sockets = []


def _check_peer(opened: socket.socket) -> None:
    """
    Close a connection that leads inside: since it was checked, the name may have been resolved to another address (DNS rebinding).

    One that leads to an address of this machine's own, which may be in no private network, begins at the same address.

    Raises:
        InsideError: it does.
    """
    peer = opened.getpeername()[0]
    if is_inside(peer) or peer == opened.getsockname()[0]:
        opened.close()
        raise InsideError
