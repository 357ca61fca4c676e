"""A remote file, as its place describes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True)
class RemoteFile:
    """
    A remote file: its name in the ledger, its size in bytes, its version, and the function that fetches it.

    That function returns the version of what it fetched, None if it cannot tell.
    """

    location: str
    size: int
    version: str | None
    fetch: Callable[[IO[bytes]], str | None]
