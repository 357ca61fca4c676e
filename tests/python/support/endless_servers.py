"""Servers on loopback that accept a connection, and then never come to an end, each in its own way."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# Answers a client, until it returns or the client is gone; the event is set when the test is over.
Answering = Callable[[socket.socket, threading.Event], None]

PAUSE = 0.05
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_SSL_REQUESTS = {80877103, 80877104}


@contextmanager
def serving(answer: Answering) -> Iterator[int]:
    """Serve each connection in a thread of its own, and yield the port."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(client: socket.socket) -> None:
            with client, suppress(OSError):
                answer(client, over)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()


def silent(_client: socket.socket, over: threading.Event) -> None:
    """Say nothing."""
    over.wait()


def repeating(start: bytes, part: bytes) -> Answering:
    """Answer each request with a start, and a part again and again, slowly."""

    def answer(client: socket.socket, over: threading.Event) -> None:
        client.recv(65536)
        client.sendall(start)
        while not over.wait(PAUSE):
            client.sendall(part)

    return answer


# Each of them used to restart a timeout, or to be no part of what it counts.
ENDLESS_ANSWERS = {
    "silence": silent,
    "interim answers": repeating(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "a header": repeating(b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
    "a body": repeating(_OK + b"Content-Length: 1000000000\r\n\r\n", b"["),
    "a name within a compressed body": repeating(
        _OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\na\r\n\x1f\x8b\x08\x08\0\0\0\0\0\x03\r\n", b"1\r\na\r\n"
    ),
    "an extension of a chunk": repeating(_OK + b"Transfer-Encoding: chunked\r\n\r\n1;a=", b"a"),
}


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


_LOGIN = (
    _message(b"R", struct.pack("!I", 0))
    + _message(b"S", b"server_version\x0018.0\0")
    + _message(b"S", b"client_encoding\0UTF8\0")
    + _message(b"S", b"standard_conforming_strings\0on\0")
    + _message(b"Z", b"I")
)


def postgres(part: bytes) -> Answering:
    """Let a client of PostgreSQL log in, and answer its first statement with a part again and again."""

    def answer(client: socket.socket, over: threading.Event) -> None:
        while struct.unpack("!I", client.recv(65536)[4:8])[0] in _SSL_REQUESTS:
            client.sendall(b"N")
        client.sendall(_LOGIN)
        while not over.wait(PAUSE):
            client.sendall(part)

    return answer


SILENT_POSTGRES = postgres(b"")
CHATTY_POSTGRES = postgres(_message(b"S", b"application_name\0a\0"))
