"""Where a notification comes from, so that its reader knows which of several pipelines it is about, and what to open."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dpe_cli.errors import DpeError
from dpe_cli.server.server import Server

_NAME = re.compile(r"""^name:\s*["']?(\w+)""", re.MULTILINE)


@dataclass(frozen=True)
class Origin:
    """The project, its database, and a page to open; None if unknown."""

    project: str | None = None
    database: str | None = None
    link: str | None = None


def find_origin(project_dir: Callable[[], Path], server: Callable[[], Server], link: str | None) -> Origin:
    """Return where a run's notification comes from, also if the project cannot be read, or the server cannot be reached."""
    project, database = None, None
    with suppress(DpeError, OSError, UnicodeDecodeError):
        directory = project_dir()
        project = directory.name
        if named := _NAME.search((directory / "dbt_project.yml").read_text(encoding="utf-8")):
            project = named[1]
    with suppress(DpeError):
        database = server().database
    return Origin(project, database, link or _of_ci_job())


def _of_ci_job() -> str | None:
    """Return the page of the CI job that this is (GitLab, Jenkins, GitHub Actions); None if it is not one."""
    variables = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, run = (os.environ.get(name) for name in variables)
    of_github = f"{server}/{repository}/actions/runs/{run}" if server and repository and run else None
    return os.environ.get("CI_JOB_URL") or os.environ.get("BUILD_URL") or of_github
