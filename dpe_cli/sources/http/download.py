"""Files on the web: their size and version before they are fetched, and their content."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import IO

from dpe_cli.errors import InputError
from dpe_cli.sources.http.client import WHOLE_NUMBER, Client
from dpe_cli.sources.options.files import Files
from dpe_cli.sources.options.queries import Rest
from dpe_cli.sources.read.remote_file import RemoteFile

_SECONDS_TO_ANSWER = 60.0


class Download:
    """Fetches one file from the web."""

    def __init__(self, options: Files) -> None:
        self._options = options
        location = options.location
        asking = Rest(
            location=location,
            file_format="rest",
            disposition="replace",
            allow_private_addresses=options.allow_private_addresses,
            timeout=min(options.timeout, _SECONDS_TO_ANSWER),
        )
        self._client = Client(asking, where=location)

    def file(self) -> RemoteFile:
        """
        Return the file, after one request for its size and version.

        Raises:
            InputError: it cannot be fetched.
        """
        known: dict[str, str] = {}
        # A server need not answer HEAD; GET will report whatever else is wrong.
        with suppress(InputError):
            self._client.stream(lambda headers, _chunks: known.update(headers), method="HEAD", timeout=self._options.timeout)
        announced = known.get("content-length", "")
        size = int(announced) if WHOLE_NUMBER.fullmatch(announced) else -1
        if size < 0:
            # Compressed in transit, or generated while it is sent: only the received bytes tell its size.
            with tempfile.TemporaryFile() as copy:
                self.fetch(copy)
                size = copy.tell()
        return RemoteFile(self._options.location, size, _version(known), self.fetch)

    def fetch(self, copy: IO[bytes]) -> str | None:
        """
        Write the file, from its start at each attempt, and return its version.

        Raises:
            InputError: it cannot be fetched.
        """
        fetched: dict[str, str] = {}

        def write(headers: Mapping[str, str], chunks: Iterator[bytes]) -> None:
            fetched.clear()
            fetched.update(headers)
            copy.seek(0)
            copy.truncate()
            for chunk in chunks:
                copy.write(chunk)
            copy.flush()

        self._client.stream(write, method="GET", timeout=self._options.timeout)
        return _version(fetched)


def _version(headers: Mapping[str, str]) -> str | None:
    """Return the version of a file: a weak ETag does not distinguish every byte (RFC 9110, section 8.8.1)."""
    etag = headers.get("etag")
    return etag.strip('"') if etag and not etag.startswith("W/") else None
