"""Servers on loopback that invent names without end: one of files, by SFTP, and an object store."""

from __future__ import annotations

import importlib
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAMES_PER_PAGE = 300
# The code of a page of names (draft-ietf-secsh-filexfer-02, section 3).
_CMD_NAME = 104


@dataclass
class Invented:
    """How many pages of names were sent so far."""

    port: int
    pages: int = 0


@contextmanager
def endless_sftp() -> Iterator[Invented]:
    """Serve directories that never end, to any user with any password."""
    paramiko = importlib.import_module("paramiko")
    invented = Invented(0)
    subsystem, directories, doorman = _sftp_classes(paramiko, invented)
    key = paramiko.ECDSAKey.generate()
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    transport = paramiko.Transport(server.accept()[0])
                    stack.callback(transport.close)
                    transport.add_server_key(key)
                    transport.set_subsystem_handler("sftp", subsystem, directories)
                    transport.start_server(server=doorman())

        threading.Thread(target=accept, daemon=True).start()
        invented.port = server.getsockname()[1]
        yield invented


def _sftp_classes(paramiko: Any, invented: Invented) -> tuple[Any, Any, Any]:
    """Return the classes of a server: its subsystem, its file system, and who lets users in."""

    def attributes(name: str, mode: int) -> Any:
        found = paramiko.SFTPAttributes()
        found.filename, found.st_mode = name, mode
        found.st_size = found.st_uid = found.st_gid = found.st_atime = found.st_mtime = 0
        return found

    class Doorman(paramiko.ServerInterface):  # type: ignore[misc]
        def check_auth_password(self, _user: str, _password: str) -> int:
            return int(paramiko.AUTH_SUCCESSFUL)

        def check_channel_request(self, _kind: str, _channel: int) -> int:
            return int(paramiko.OPEN_SUCCEEDED)

    class Directories(paramiko.SFTPServerInterface):  # type: ignore[misc]
        def list_folder(self, _path: str) -> list[Any]:
            return []

        def stat(self, path: str) -> Any:
            return attributes(path, 0o40755)

    class Subsystem(paramiko.SFTPServer):  # type: ignore[misc]
        def _read_folder(self, request_number: int, _folder: object) -> None:
            page = paramiko.Message()
            page.add_int(request_number)
            page.add_int(NAMES_PER_PAGE)
            for number in range(NAMES_PER_PAGE):
                name = f"{invented.pages}_{number}.csv"
                page.add_string(name)
                page.add_string(name)
                attributes(name, 0o100644)._pack(page)
            invented.pages += 1
            self._send_packet(_CMD_NAME, page)

    return Subsystem, Directories, Doorman


@contextmanager
def endless_bucket() -> Iterator[Invented]:
    """Serve a bucket whose list of objects always has another page."""
    invented = Invented(0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            invented.pages += 1
            objects = "".join(
                f"<Contents><Key>in/{invented.pages}_{number}.csv</Key><Size>1</Size><ETag>x</ETag>"
                "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
                for number in range(NAMES_PER_PAGE)
            )
            body = (
                '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>lake</Name>'
                f"<IsTruncated>true</IsTruncated><NextContinuationToken>{invented.pages}</NextContinuationToken>{objects}</ListBucketResult>"
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        invented.port = server.server_port
        try:
            yield invented
        finally:
            server.shutdown()
