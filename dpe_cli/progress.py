"""How work reports its progress, whatever shows it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, Protocol


class Progress(Protocol):
    """What shows how far the work is."""

    def say(self, text: str) -> None:
        """Show a line."""

    def task(
        self, name: str, total: int | None = None, *, unit: Literal["bytes", "rows", "steps"] = "steps"
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Show a piece of work; gives the function that adds what was done."""
