"""The content of the demo's weather API: hourly observations, page by page, for clients with a token."""

from __future__ import annotations

import csv
import gzip
import hmac
import json
import os
import secrets
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

OBSERVATIONS = Path(__file__).parents[1] / "data" / "nyc_flights" / "weather.csv.gz"
CLIENT_ID = "dpe"
PAGE_RECORDS = 2500
TOKEN_SECONDS = 60
# The ways to misbehave that tests can request.
FAULTS = ("429", "500", "half", "again", "expired", "dies")

# The API's names for the columns of the file, and its formats of their values.
TEXTS = {"origin": "origin", "time_hour": "observed_at"}
NUMBERS = {
    "temp": "temperature_fahrenheit",
    "dewp": "dew_point_fahrenheit",
    "humid": "relative_humidity_percent",
    "wind_dir": "wind_direction_degrees",
    "wind_speed": "wind_speed_mph",
    "wind_gust": "wind_gust_mph",
    "precip": "precipitation_inches",
    "pressure": "pressure_millibars",
    "visib": "visibility_miles",
}


def observations() -> list[dict[str, object]]:
    """Return the observations of all airports, oldest first."""
    with gzip.open(OBSERVATIONS, "rt", encoding="utf-8") as lines:
        records = [
            {name: row[column] for column, name in TEXTS.items()}
            | {"local_date": f"{int(row['year'])}-{int(row['month']):02}-{int(row['day']):02}", "local_hour": int(row["hour"])}
            | {name: None if row[column] == "NA" else float(row[column]) for column, name in NUMBERS.items()}
            for row in csv.DictReader(lines)
        ]
    return sorted(records, key=lambda record: (str(record["observed_at"]), str(record["origin"])))


@dataclass
class Service:
    """The service's data, credentials and faults, these by the number of the requested page."""

    secret: str
    records: list[dict[str, object]]
    faults: dict[int, str] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    asked: int = 0
    before: bytes = b""

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        """Issue a token to a client that knows the secret (RFC 6749, section 4.4)."""
        is_known = form.get("client_id") == CLIENT_ID and hmac.compare_digest(form.get("client_secret", "").encode(), self.secret.encode())
        if form.get("grant_type") != "client_credentials" or not is_known:
            return 401, {"error": "invalid_client"}
        token = secrets.token_urlsafe()
        self.tokens[token] = time.monotonic() + TOKEN_SECONDS
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}

    def may_ask(self, authorization: str) -> bool:
        """Return whether a header has a token that has not expired."""
        return self.tokens.get(authorization.removeprefix("Bearer "), 0) > time.monotonic()

    def page(self, query: dict[str, str]) -> bytes:
        """Return the page for `since` and `cursor`: observations, their total number, and the address of the next page."""
        since = datetime.fromisoformat(query.get("since", "0001-01-01T00:00:00Z")).astimezone(UTC)
        start = int(query.get("cursor", 0))
        first = bisect_left(self.records, f"{since:%Y-%m-%dT%H:%M:%SZ}", key=lambda record: str(record["observed_at"]))
        wanted = self.records[first:]
        end = start + PAGE_RECORDS
        following = "/observations?" + urlencode(query | {"cursor": end}) if end < len(wanted) else None
        return json.dumps({"observations": wanted[start:end], "total": len(wanted), "next": following}).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers requests."""

    protocol_version = "HTTP/1.1"
    service: Service

    def do_POST(self) -> None:
        """Issue a token."""
        form = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self._answer(*self.service.token(_single(form)) if self.path == "/token" else (404, {"error": "not_found"}))

    def do_GET(self) -> None:
        """Serve a page, or identify the service."""
        parts = urlsplit(self.path)
        if parts.path == "/health":
            self._answer(200, {"service": "weather", "pid": os.getpid()})
        elif parts.path == "/observations":
            self._page(_single(parts.query))
        else:
            self._answer(404, {"error": "not_found"})

    def _page(self, query: dict[str, str]) -> None:
        service = self.service
        service.asked += 1
        fault = service.faults.pop(service.asked, None)
        if fault == "expired":
            service.tokens.clear()
        if not service.may_ask(self.headers.get("Authorization", "")):
            self._answer(401, {"error": "invalid_token"})
        elif fault in {"429", "500"}:
            self._answer(int(fault), {"error": "again"}, {"Retry-After": "1"} if fault == "429" else {})
        else:
            try:
                page = service.before if fault == "again" else service.page(query)
            except ValueError as error:
                self._answer(400, {"error": f"invalid_request: {error}"})
                return
            service.before = page
            self._send(200, page, {}, length=len(page) // 2 if fault in {"half", "dies"} else None)
            if fault == "dies":
                os._exit(1)

    def _answer(self, status: int, document: dict[str, object], headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(document).encode(), headers or {})

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, length: int | None = None) -> None:
        """Send an answer, or its first `length` bytes and then hang up."""
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:length])
        self.wfile.flush()
        self.close_connection = self.close_connection or length is not None


def _single(query: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(query).items()}
