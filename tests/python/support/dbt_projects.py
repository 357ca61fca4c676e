"""Writes dbt projects for the tests, with the repository's own configuration and macros."""

from __future__ import annotations

import atexit
import inspect
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from textwrap import dedent
from types import FrameType, SimpleNamespace
from typing import Literal

from dbt_common import behavior_flags

from dpe_cli.project import dbt
from dpe_cli.project.project import Project
from dpe_cli.server.relations import NEXT
from support import dbt_parsing

REPOSITORY = Path(__file__).parents[3]


def _frames() -> Iterator[tuple[FrameType]]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield (frame,)
        frame = frame.f_back


# At each start, dbt asks 36 times for the stack of calls with its lines of source, to look at the first frames only. Under pytest the
# stack is deep, so that takes a fifth of a second.
setattr(behavior_flags, "inspect", SimpleNamespace(stack=_frames, getmodule=inspect.getmodule))  # noqa: B010 it is a module to mypy
# The parts of a dpe project: how it connects, and the hooks that protect what it builds.
CONFIGURATION = ("dbt_project.yml", "profiles.yml", "macros")


def write(directory: Path, files: Mapping[str, str]) -> Path:
    """Write files into a directory, by their paths, and return it."""
    for path, text in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return directory


def make(directory: Path, files: Mapping[str, str]) -> Path:
    """
    Write a project with the repository's configuration and macros, and return its directory.

    dbt has already parsed these macros once for the session, and the result is copied to where dbt looks for it.
    """
    dbt_parsing.reuse_across_databases()
    _configure(directory)
    for target, parsed in _parsed_macros().items():
        (directory / target).mkdir(parents=True, exist_ok=True)
        shutil.copy(parsed, directory / target)
    return write(directory, files)


def _configure(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in CONFIGURATION:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, directory / name)
        else:
            shutil.copy(REPOSITORY / name, directory / name)


@cache
def _parsed_macros() -> dict[str, Path]:
    """Return dbt's parsed state, by the target directories of dpe's projects; dbt parses again if the variables differ."""
    directory = Path(tempfile.mkdtemp(prefix="dpe-macros-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    project = directory / "project"
    _configure(project)
    parsed = {}
    for name, variables in (("plain", {}), ("next", {"dpe_schema_suffix": NEXT})):
        target = directory / name
        dbt.invoke(["parse", "--target-path", str(target)], Project(project).dbt_options_with(variables))
        parsed[name] = target / "partial_parse.msgpack"
    manifests = Project(project)._parser._path.parent.relative_to(project)
    return {"target": parsed["plain"], str(manifests): parsed["plain"], ".dpe/next": parsed["next"]}


class Silence:
    """Shows no progress, and collects the messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def say(self, text: str) -> None:
        """Collect a line."""
        self.messages.append(text)

    def task(
        self, name: str, total: int | None = None, *, unit: Literal["bytes", "rows", "steps"] = "steps"
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Show nothing."""
        del name, total, unit
        return nullcontext(lambda _amount: None)
