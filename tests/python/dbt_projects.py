"""Writes dbt projects for the tests, with the repository's own configuration and macros."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from textwrap import dedent
from typing import Literal

REPOSITORY = Path(__file__).parents[2]
# What makes a project dpe's: how it connects, and which hooks protect what it builds.
CONFIGURATION = ("dbt_project.yml", "profiles.yml", "macros")


def write(directory: Path, files: Mapping[str, str]) -> Path:
    """Write files into a directory, by their paths, and return it."""
    for path, text in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return directory


def make(directory: Path, files: Mapping[str, str]) -> Path:
    """Write a project with the repository's configuration and macros, and return its directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in CONFIGURATION:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, directory / name)
        else:
            shutil.copy(REPOSITORY / name, directory / name)
    return write(directory, files)


class Silence:
    """Shows no progress, and remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        """Remember a line."""
        self.said.append(text)

    def task(
        self, name: str, total: int | None = None, *, unit: Literal["bytes", "rows", "steps"] = "steps"
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Let work be done."""
        del name, total, unit
        return nullcontext(lambda _amount: None)
