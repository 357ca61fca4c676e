"""
Requests to an API: repeated if that may help, rate-limited, and with credentials for this API only.

An answer is complete or counts for nothing: a page that is cut off, late or too long raises.
"""

from __future__ import annotations

import email.utils
import random
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import ModuleType
from typing import Any
from urllib.parse import urljoin, urlsplit

from dpe_cli import optional_packages
from dpe_cli.errors import InputError
from dpe_cli.safe_text.redaction import hide, redact, remember_issued
from dpe_cli.sources import secrets
from dpe_cli.sources.http import addresses, decoding, links
from dpe_cli.sources.http.connections import Connections
from dpe_cli.sources.json import parsing
from dpe_cli.sources.options.queries import Rest
from dpe_cli.sources.read.limited_calls import LateError
from dpe_cli.words import plural

_WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}
_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 5
# Seconds before the second attempt; each further pause is twice as long, up to the longest.
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
# An API may ask for longer pauses than that, but not for endless ones.
_LONGEST_RETRY_AFTER = 600.0
# A part of a file that is downloaded: large enough that a server which sends a byte now and then is noticed.
_PART_BYTES = 1024 * 1024
_LONGEST_TOKEN = 16 * 1024
_LONGEST_ENCODING = 40
WHOLE_NUMBER = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True)
class Page:
    """A complete answer: its body (None if it is 204, No Content), its address, and its Link headers."""

    body: bytes | None
    url: str
    links: tuple[str, ...] = ()

    @property
    def next_link(self) -> str | None:
        """
        The address that its Link headers name as the next page.

        Raises:
            ValueError: they are not valid, or name more than one.
        """
        return links.next_target(self.links, self.url)


class AgainError(Exception):
    """An answer that may be better at another attempt; `after` is how many seconds the API asks to wait."""

    def __init__(self, why: str, *, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class Client:
    """Sends requests to one API. `where` is what messages call it."""

    def __init__(self, options: Rest, *, where: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._httpx: ModuleType = optional_packages.needed("httpx", by=where)
        self._options = options
        self._where = where
        self._sleep = sleep
        self._connections = Connections(self._httpx, options.timeout, may_lead_inside=options.allow_private_addresses)
        self._token: str | None = None
        self._last = 0.0
        self._origin = addresses.origin(self.base)
        self._headers = {name: self._filled(value, name) for name, value in options.headers.items()}

    @property
    def base(self) -> str:
        """
        The address of the endpoint.

        Raises:
            InputError: the environment does not define it, or it is not an address.
        """
        base = secrets.filled(self._options.location, where=self._where, in_url=True)
        base = f"{base.rstrip('/')}/{self._options.path.lstrip('/')}" if self._options.path else base
        if not addresses.is_address(base):
            raise self.refused("with the environment's values it is not an http:// or https:// address")
        return base

    def close(self) -> None:
        """Close its connections."""
        self._connections.close()

    def page(self, url: str, params: Mapping[str, Any], read: Callable[[Page], None]) -> None:
        """
        Get a page and read it, starting again each time that either fails in a way that another attempt may fix.

        Raises:
            InputError: it could not be fetched or read.
        """
        self._attempt(lambda: read(self._get(url, params)))

    def _attempt(self, once: Callable[[], None]) -> None:
        """Call `once`, repeatedly if that may help."""
        pause = _FIRST_PAUSE
        for attempt in range(1, self._options.attempts + 1):
            try:
                once()
            except AgainError as error:
                if attempt == self._options.attempts:
                    raise self.refused(f"{error} ({plural(attempt, 'attempt')})") from error
                # Clients that failed together should not all return at the same time.
                self._sleep(error.after if error.after is not None else pause * random.uniform(0.5, 1))  # noqa: S311 not a secret
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return

    def stream(self, take: Callable[[Mapping[str, str], Iterator[bytes]], None], *, method: str, timeout: float) -> None:
        """
        Pass on an answer as it arrives: its headers, and its body as it was sent; from the start at each attempt.

        `timeout` is how many seconds each part of the body may take.

        Raises:
            InputError: it could not be fetched.
        """

        def once() -> None:
            url = self.base
            for _ in range(_MOST_REDIRECTS + 1):
                self._check_address(url)
                try:
                    with self._connections.response(method, url, {"Accept-Encoding": "identity", "User-Agent": "dpe"}) as response:
                        if response.status_code not in _REDIRECTS:
                            self._check_status(response.status_code, response.headers, url)
                            take(response.headers, self._parts(response.iter_raw(), timeout))
                            return
                        url = self.joined(url, response.headers.get("location", ""))
                except addresses.InsideError as error:
                    raise self._leads_inside(url) from error
                except LateError as error:
                    raise AgainError(f"no answer came within {self._options.timeout:g} s") from error
                except (self._httpx.TransportError, UnicodeError) as error:
                    raise self._failed(error) from error
            raise self.refused(f"it redirects more than {_MOST_REDIRECTS} times")

        self._attempt(once)

    def _parts(self, chunks: Iterator[bytes], timeout: float) -> Iterator[bytes]:
        """Yield a body in parts that may each take as long as `timeout`."""

        def part() -> bytes:
            taken = bytearray()
            while len(taken) < _PART_BYTES and (chunk := next(chunks, None)) is not None:
                taken += chunk
            return bytes(taken)

        try:
            while taken := self._connections.run(timeout, part):
                yield taken
        except LateError as error:
            raise AgainError(f"its next {_PART_BYTES:,} bytes took longer than {timeout:g} s") from error

    def refused(self, why: str) -> InputError:
        """Return the error that says why the API cannot be read, without secrets."""
        return InputError(f"{self._where}: {redact(why)}; nothing was loaded, extract again later, or correct the external block")

    def _get(self, url: str, params: Mapping[str, Any]) -> Page:
        refreshed = False
        redirects = 0
        while True:
            status, headers, body, link_headers = self._ask(url, params)
            if status in _REDIRECTS and "location" in headers:
                redirects += 1
                if redirects > _MOST_REDIRECTS:
                    raise self.refused(f"it redirects more than {_MOST_REDIRECTS} times")
                url, params = self.joined(url, headers["location"]), {}
            elif status == HTTPStatus.UNAUTHORIZED and self._token and not refreshed:
                # The token expired early.
                self._token, refreshed = None, True
            else:
                if status != HTTPStatus.NO_CONTENT:
                    self._check_status(status, headers, url)
                # Links are relative to the address with its parameters; a key among these is added later.
                address = str(self._httpx.URL(url).copy_merge_params(_query(params))) if params else url
                return Page(None if status == HTTPStatus.NO_CONTENT else body, address, link_headers)

    def _check_status(self, status: int, headers: Mapping[str, str], url: str) -> None:
        if status in _WORTH_ANOTHER_TRY:
            raise AgainError(f"it answered {status}", after=_retry_after(headers.get("retry-after")))
        if status != HTTPStatus.OK:
            raise self.refused(f"it answered {status} to {urlsplit(url).path}")

    def joined(self, url: str, link: str) -> str:
        """
        Resolve a link on a page.

        Raises:
            InputError: it leads from https to http, or is not an address.
        """
        try:
            target = urljoin(url, link)
        except ValueError as error:
            raise self.refused("its link is not a valid address") from error
        if not target.startswith(("http://", "https://")):
            raise self.refused("it links to something that is not an http:// or https:// address")
        if url.startswith("https://") and target.startswith("http://"):
            raise self.refused("it leads from https to http")
        if not addresses.is_address(target):
            raise self.refused("its link is not a valid address")
        return target

    def _ask(self, url: str, params: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes, tuple[str, ...]]:
        """Send one request; credentials, headers included, go only to the API's own origin."""
        self._check_address(url)
        headers: dict[str, str] = {"Accept": "application/json", "Accept-Encoding": decoding.ACCEPTED, "User-Agent": "dpe"}
        query = _query(params)
        auth = None
        if addresses.origin(url) == self._origin:
            headers |= self._headers
            auth = self._authorise(headers, query)
        self._wait()
        # Parameters already in the address are kept.
        # As bytes, because httpx accepts only ASCII text in headers.
        as_bytes = {name: value.encode() for name, value in headers.items()}
        return self._send("GET", str(self._httpx.URL(url).copy_merge_params(query)), headers=as_bytes, auth=auth)

    def _send(self, method: str, url: str, **request: Any) -> tuple[int, Mapping[str, str], bytes, tuple[str, ...]]:
        most = self._options.max_page_bytes
        try:
            response, body = self._connections.run(self._options.timeout, self._connections.answer, method, url, most=most, **request)
        except addresses.InsideError as error:
            raise self._leads_inside(url) from error
        except LateError as error:
            raise AgainError(f"a page took longer than {self._options.timeout:g} s") from error
        except (self._httpx.TransportError, UnicodeError) as error:
            raise self._failed(error) from error
        encoding = response.headers.get("content-encoding", "")
        if response.status_code == HTTPStatus.OK:
            try:
                body = decoding.decoded(body, encoding, most=most) if len(body) <= most else body
            except decoding.EncodingError as error:
                raise self.refused(
                    f"its page is encoded as {hide(encoding)[:_LONGEST_ENCODING]!r}; dpe reads gzip or deflate, one at a time"
                ) from error
            except ValueError as error:
                raise AgainError(f"a page cannot be decompressed ({error})") from error
        if len(body) > most:
            raise self.refused(f"a page is longer than {most:,} bytes; ask for smaller ones")
        return response.status_code, response.headers, body, tuple(response.headers.get_list("link"))

    def _failed(self, error: Exception) -> Exception:
        # httpx parses each redirect, and its error quotes the invalid part of the address, which may be part of a secret.
        if "location header" in str(error) or isinstance(error, UnicodeError):
            return self.refused("its link is not a valid address")
        return AgainError(f"the connection failed ({type(error).__name__}: {error})")

    def _authorise(self, headers: dict[str, str], query: dict[str, str]) -> Any:
        auth = self._options.auth
        if auth is None:
            return None
        match auth.type:
            case "bearer":
                headers["Authorization"] = f"Bearer {self._filled(auth.token, 'token')}"
            case "http_basic":
                return self._httpx.BasicAuth(self._filled(auth.username), self._filled(auth.password, "password"))
            case "api_key":
                place = headers if auth.location == "header" else query
                place[self._filled(auth.name)] = self._filled(auth.api_key, "api_key")
            case _:
                self._token = self._token or self._new_token()
                headers["Authorization"] = f"Bearer {self._token}"
        return None

    def _new_token(self) -> str:
        """Request a token (RFC 6749, section 4.4)."""
        auth = self._options.auth
        assert auth is not None  # noqa: S101
        url = self._filled(auth.access_token_url)
        if not addresses.is_address(url):
            raise self.refused("access_token_url is not an http:// or https:// address")
        self._check_address(url)
        data = {
            "grant_type": "client_credentials",
            **{name: self._filled(value, name) for name, value in auth.access_token_request_data.items()},
        }
        credentials = {"client_id": self._filled(auth.client_id), "client_secret": self._filled(auth.client_secret, "client_secret")}
        status, _, body, _ = self._send(
            "POST", url, data=data | credentials, headers={"Accept": "application/json", "Accept-Encoding": decoding.ACCEPTED}
        )
        if status in _WORTH_ANOTHER_TRY:
            raise AgainError(f"its token endpoint answered {status}")
        try:
            token = parsing.parse(body).get("access_token")
        except (ValueError, AttributeError):
            token = None
        if status != HTTPStatus.OK or not isinstance(token, str) or not token or not is_text(token):
            raise self.refused(f"its token endpoint answered {status} without an access_token")
        if len(token) > _LONGEST_TOKEN:
            # It would be searched for in each message.
            size = f"{len(token):,} characters, more than {_LONGEST_TOKEN:,}"
            raise self.refused(f"its token endpoint answered with an access_token of {size}")
        remember_issued(token)
        return token

    def _filled(self, text: str | None, option: str = "") -> str:
        return secrets.filled(text or "", where=self._where, option=option)

    def _wait(self) -> None:
        if self._options.requests_per_second:
            pause = self._last + 1 / self._options.requests_per_second - time.monotonic()
            if pause > 0:
                self._sleep(pause)
            self._last = time.monotonic()

    def _check_address(self, url: str) -> None:
        """Refuse internal addresses, which anyone who controls an API's redirects could reach otherwise."""
        if self._options.allow_private_addresses:
            return
        host = urlsplit(url).hostname
        try:
            leads_inside = self._connections.run(self._options.timeout, addresses.leads_inside, url)
        except LateError as error:
            raise AgainError(f"the name {host} was not resolved within {self._options.timeout:g} s") from error
        except (socket.gaierror, UnicodeError) as error:
            raise AgainError(f"the name {host} cannot be resolved") from error
        if leads_inside:
            raise self._leads_inside(url)

    def _leads_inside(self, url: str) -> InputError:
        host = urlsplit(url).hostname
        return self.refused(f"{host} is in a private network, or is this machine; set allow_private_addresses: true if that is intended")


def is_text(text: str) -> bool:
    """Return whether a text can be sent: JSON may have half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _query(params: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in params.items()}


def _retry_after(value: str | None) -> float | None:
    """Return the seconds in a Retry-After header, in either of its forms (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if WHOLE_NUMBER.fullmatch(value.strip()):
        return min(float(value), _LONGEST_RETRY_AFTER)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(moment - time.time(), 0.0), _LONGEST_RETRY_AFTER)
