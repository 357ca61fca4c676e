"""Post JSON to a webhook, in bounded time, without its address in any error."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from dpe_cli.errors import UsageError


@dataclass(frozen=True)
class Patience:
    """How often a webhook is tried, the seconds it has each time, and the first pause; each later pause is twice as long."""

    attempts: int = 3
    timeout: float = 5.0
    pause: float = 1.0


class UndeliveredError(Exception):
    """The webhook did not accept it; the message does not contain its address."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final


def check_url(url: str) -> None:
    """
    Check that an address can be posted to.

    Raises:
        UsageError: it cannot; the message does not contain the address, which is a secret.
    """
    try:
        parts = urlsplit(url)
        is_complete = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_complete = False
    if not is_complete or any(character.isspace() or not character.isprintable() for character in url):
        raise UsageError("--notify: is not an http:// or https:// address; copy the webhook's whole address")


def post(url: str, document: dict[str, Any], patience: Patience) -> None:
    """
    Post a document, more than once if that may help.

    Raises:
        UndeliveredError: it was not accepted, or is not JSON.
    """
    try:
        body = json.dumps(document, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UndeliveredError(f"it cannot be written as JSON ({type(error).__name__})", is_final=True) from None
    pause = patience.pause
    for attempt in range(1, patience.attempts + 1):
        try:
            _post_in_time(url, body, patience.timeout)
        except UndeliveredError as error:
            if error.is_final or attempt == patience.attempts:
                raise UndeliveredError(f"{error} ({attempt} {'attempt' if attempt == 1 else 'attempts'})") from None
            time.sleep(pause)
            pause *= 2
        else:
            return


def _post_in_time(url: str, body: bytes, timeout: float) -> None:
    """
    Post once, in a thread that is abandoned when its time is over.

    A socket's timeout restarts with each byte, and looking up a name has none.
    """
    failures: list[UndeliveredError] = []

    def attempt() -> None:
        try:
            _post_once(url, body, timeout)
        except UndeliveredError as error:
            failures.append(error)

    thread = threading.Thread(target=attempt, name="dpe notify", daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        raise UndeliveredError(f"no answer within {timeout:g} s")
    if failures:
        raise failures[0]


def _post_once(url: str, body: bytes, timeout: float) -> None:
    parts = urlsplit(url)
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "dpe"}
    if parts.username is not None:
        # urllib does not accept credentials in an address.
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
    request = urllib.request.Request(address, data=body, headers=headers, method="POST")  # noqa: S310 check_url() lets http(s) pass only
    try:
        with _OPENER.open(request, timeout=timeout):
            return
    except urllib.error.HTTPError as error:
        error.close()
        is_temporary = error.code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code == HTTPStatus.TOO_MANY_REQUESTS
        raise UndeliveredError(f"it answered {error.code}", is_final=not is_temporary) from None
    except Exception as cause:  # noqa: BLE001 whatever it is, its words may hold the address
        reason = cause.reason if isinstance(cause, urllib.error.URLError) else cause
        raise UndeliveredError(_in_words(reason, timeout)) from None


def _in_words(reason: object, timeout: float) -> str:
    """Explain why the webhook did not answer, in our own words: the libraries' may contain the address."""
    match reason:
        case TimeoutError():
            return f"no answer within {timeout:g} s"
        case ConnectionRefusedError():
            return "the connection was refused"
        case socket.gaierror():
            return "its name cannot be resolved"
        case ssl.SSLError():
            return "its certificate, or its TLS, is not accepted"
        case ConnectionError():
            return "the connection was lost"
        case _:
            return f"it cannot be reached ({type(reason).__name__})"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Treats a redirect as the answer: a redirected POST would arrive without its body, or at an address that the user did not give."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""


_OPENER = urllib.request.build_opener(_NoRedirect)
