"""A file that is far away, as its place describes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True)
class Found:
    """A file that is far away: what the ledger calls it, its size in bytes, its version, and what fetches it."""

    location: str
    size: int
    version: str | None
    fetch: Callable[[IO[bytes]], None]
