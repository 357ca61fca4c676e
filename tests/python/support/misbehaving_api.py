"""An API on loopback that serves records in every way that dpe can page through, and misbehaves as configured."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

PAGE = 10


@dataclass
class Request:
    """A request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: str


@dataclass
class Answer:
    """An answer; `cut` bytes are missing at its end, and it comes after `slow` seconds. A header may have several lines."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str | list[str]] = field(default_factory=dict)
    cut: int = 0
    slow: float = 0


class Api:
    """Serves `records`. Each request uses the next of `faults`, which changes the answer; None causes no fault."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = [{"id": number, "changed_at": f"2024-01-01T00:{number:02}:00Z"} for number in range(35)]
        self.faults: list[Callable[[Answer], Answer] | None] = []
        self.requests: list[Request] = []
        self.tokens: list[str] = []
        self.token_body: bytes | None = None
        self.url = ""
        self.elsewhere = ""

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request."""
        self.requests.append(request)
        if request.path == "/token":
            self.tokens.append(f"token-{len(self.tokens) + 1}")
            if self.token_body is not None:
                return Answer(self.token_body)
            return _json({"access_token": self.tokens[-1], "expires_in": 3600})
        if (
            request.path.startswith("/secured")
            and request.headers.get("authorization") != f"Bearer {self.tokens[-1] if self.tokens else ''}"
        ):
            return Answer(status=401)
        answer = self._page(request)
        fault = self.faults.pop(0) if self.faults else None
        return fault(answer) if fault else answer

    def _page(self, request: Request) -> Answer:
        records = [record for record in self.records if record["changed_at"] >= request.query.get("since", "")]
        style = request.path.rsplit("/", 1)[-1]
        if style == "moved":
            return Answer(status=302, headers={"Location": f"{self.elsewhere}/records/all"})
        if style == "all":
            return _json(records)
        number = int(request.query.get("page", 1)) - 1 if style == "page" else int(request.query.get("at", 0))
        start = int(request.query.get("offset", 0)) if style == "offset" else number * PAGE
        found = records[start : start + PAGE]
        more = (number + 1) * PAGE < len(records)
        link = f"{self.url}/records/{style}?at={number + 1}"
        document = {"data": {"items": found}, "total": len(records), "next": link if more else None, "cursor": number + 1 if more else None}
        return _json(document, {"Link": f'<{link}>; rel="next"'} if more and style == "header" else {})


def _json(document: Any, headers: Mapping[str, str] = {}) -> Answer:
    return Answer(json.dumps(document).encode(), headers=dict(headers))


@contextmanager
def served(api: Api) -> Iterator[str]:
    """Serve an API, and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = api.answer(Request(self.command, parts.path, query, headers, self.rfile.read(length).decode()))
            time.sleep(answer.slow)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                for one in [value] if isinstance(value, str) else value:
                    self.send_header(name, one)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: len(answer.body) - answer.cut])
            if answer.cut:
                self.close_connection = True

        do_POST = do_HEAD = do_GET  # noqa: N815 the names that http.server looks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    """Run an API at two addresses, of two origins."""
    api = Api()
    with served(api) as url, served(api) as elsewhere:
        api.url, api.elsewhere = url, elsewhere
        yield api
