"""A webhook: a real HTTP server on this machine, with the answers that each test configures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

PATH = "/services/T0/B0/very-secret-path"


@dataclass
class Webhook:
    """A server that answers with each of `answers` in turn, then with 200; None hangs."""

    url: str = ""
    answers: list[int | None] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    end: Event = field(default_factory=Event)

    @property
    def posted(self) -> list[dict[str, Any]]:
        """What was posted, in order."""
        return [json.loads(body) for _, _, body in self.requests]


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """Run a webhook."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.requests.append((self.path, dict(self.headers), body))
            answer = hook.answers.pop(0) if hook.answers else 200
            if answer is None:
                hook.end.wait(10)
                return
            self.send_response(answer)
            if answer == 302:
                self.send_header("Location", hook.url)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.url = f"http://127.0.0.1:{server.server_port}{PATH}"
    Thread(target=server.serve_forever, daemon=True).start()
    yield hook
    hook.end.set()
    server.shutdown()
    server.server_close()
