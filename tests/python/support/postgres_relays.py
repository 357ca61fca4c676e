"""Relays to a PostgreSQL server: a source's server that lies, to psycopg or to psql."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from support.databases import Crm
from support.endless_servers import Answering

_ASK_FOR_PASSWORD = b"R" + struct.pack("!II", 8, 3)


def url_of(crm: Crm, port: int) -> str:
    """Return the URL of a database behind a relay on this port."""
    return f"postgresql://postgres@127.0.0.1:{port}/{crm.engine.url.database}?sslmode=disable&gssencmode=disable"


def relay(crm: Crm, change: Callable[[bytes], bytes] = lambda said: said) -> Answering:
    """Pass a connection on to the server, and change what it says."""
    query = crm.engine.url.query

    def answer(client: socket.socket, _over: threading.Event) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(f"{query['host']}/.s.PGSQL.{query['port']}")
            threading.Thread(target=_pass_on, args=[client, server], daemon=True).start()
            while said := server.recv(65536):
                client.sendall(change(said))

    return answer


def asking_for_passwords(told: list[bytes]) -> Answering:
    """Ask for a password, in plain text, and note it."""

    def answer(client: socket.socket, _over: threading.Event) -> None:
        if client.recv(65536):
            client.sendall(_ASK_FOR_PASSWORD)
            told.append(client.recv(65536))

    return answer


def to_psql(answer: Answering, *, otherwise: Answering) -> Answering:
    """Answer psql so, and other programs in another way."""

    def choose(client: socket.socket, over: threading.Event) -> None:
        start = client.recv(65536, socket.MSG_PEEK)
        (answer if b"application_name\0psql\0" in start else otherwise)(client, over)

    return choose


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    with suppress(OSError):
        while said := client.recv(65536):
            server.sendall(said)
        server.shutdown(socket.SHUT_WR)
