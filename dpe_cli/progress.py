"""The interface through which work reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, Protocol


class Progress(Protocol):
    """Shows how far the work is."""

    def say(self, text: str) -> None:
        """Show a line."""

    def task(
        self, name: str, total: int | None = None, *, unit: Literal["bytes", "rows", "steps"] = "steps"
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Show a task; yields the function that adds what was done."""
