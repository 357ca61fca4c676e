"""Writes dbt projects for the tests, which use the package dpe as any other project does."""

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

from dbt_common import behavior_flags, tests

from dpe_cli.project import dbt, package
from dpe_cli.project.project import Project
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
# dbt's own tests parse each template once per process, too.
tests.enable_test_caching()
# The name of the projects, and what they have before a test adds its models.
NAME = "shops"
READERS = "{readers: {dev: [dpe_reader, dpe_masked_reader]}}"
CONFIGURATION = {
    "dbt_project.yml": f"""
        name: {NAME}
        version: 0.1.0
        profile: dpe
        flags:
          send_anonymous_usage_stats: false
          warn_error_options: {{silence: [UnusedResourceConfigPath]}}
        dispatch:
          - macro_namespace: dbt
            search_order: [dpe, {NAME}, dbt]
        models:
          +persist_docs: {{relation: true, columns: true}}
          +meta: {READERS}
          {NAME}:
            raw: {{+materialized: view, +schema: raw}}
            core: {{+materialized: view, +schema: core}}
            finance: {{+materialized: table, +schema: finance, +meta: {{rls: required}}, +contract: {{enforced: true}}}}
        seeds:
          +persist_docs: {{relation: true, columns: true}}
          +meta: {READERS}
          {NAME}: {{+schema: core}}
        snapshots:
          +persist_docs: {{relation: true, columns: true}}
          +meta: {READERS}
          {NAME}: {{+schema: core}}
        data_tests:
          {NAME}: {{+schema: quality}}
        """,
    "packages.yml": f"""
        packages:
          - local: {package.PLACE}
        """,
    # Schemas have the names that models give them, without the target's as a prefix.
    "macros/generate_schema_name.sql": """
        {% macro generate_schema_name(custom_schema_name, node) -%}
        {{ custom_schema_name or target.schema }}
        {%- endmacro %}
        """,
}


def write(directory: Path, files: Mapping[str, str]) -> Path:
    """Write files into a directory, by their paths, and return it."""
    for path, text in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return directory


def make(directory: Path, files: Mapping[str, str]) -> Path:
    """
    Write a project that uses the package dpe, and return its directory.

    dbt has already parsed the package once for the session, and the result is copied to where dbt looks for it.
    """
    dbt_parsing.reuse_across_databases()
    configure(directory)
    for target, parsed in _parsed_package().items():
        (directory / target).mkdir(parents=True, exist_ok=True)
        shutil.copy(parsed, directory / target)
    return write(directory, files)


def configure(directory: Path) -> None:
    """Write the project's configuration, and install the package."""
    write(directory, CONFIGURATION)
    (directory / "profiles.yml").write_text(profiles(), encoding="utf-8")
    install_package(directory)


def profiles() -> str:
    """Return the repository's profiles.yml, which any project with the profile `dpe` can use."""
    return (REPOSITORY / "profiles.yml").read_text(encoding="utf-8")


def install_package(directory: Path) -> None:
    """Install the package as `dbt deps` does, in a fraction of the time."""
    package.keep(directory)
    (directory / "dbt_packages").mkdir(exist_ok=True)
    (directory / "dbt_packages" / package.NAME).symlink_to(package.DIRECTORY, target_is_directory=True)
    # From dbt 1.12 on, the packages have to be those that `dbt deps` locked, if it has locked any.
    (directory / "package-lock.yml").unlink(missing_ok=True)


@cache
def _parsed_package() -> dict[str, Path]:
    """Return dbt's parsed state, by the target directories of dpe's projects."""
    directory = Path(tempfile.mkdtemp(prefix="dpe-package-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    project = directory / "project"
    configure(project)
    dbt.invoke(["parse", "--target-path", str(directory)], Project(project).dbt_options)
    parsed = directory / "partial_parse.msgpack"
    manifests = Project(project).parsed_directory.relative_to(project)
    return {"target": parsed, str(manifests): parsed}


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
