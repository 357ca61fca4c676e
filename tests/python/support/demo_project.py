"""The project itself in its own directory, and the weather API that it loads from, as the demo starts it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from dpe_cli.cli import main
from dpe_cli.server.server import Server

REPOSITORY = Path(__file__).parents[3]
PROJECT_FILES = (
    "dbt_project.yml",
    "profiles.yml",
    "packages.yml",
    "package-lock.yml",
    "models",
    "seeds",
    "specs",
    "data",
    "tests/singular",
    "demo/macros",
)
SECRET = "s3cr3t-of-the-test"


def copy(directory: Path, names: Sequence[str] = PROJECT_FILES) -> Path:
    """Copy parts of the repository into a directory: by default the project."""
    for name in names:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, directory / name)
        else:
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, directory / name)
    return directory


def variables_of(server: Server, **variables: str) -> dict[str, str]:
    """Return the environment of a shell that works in the test's server as its administrator."""
    connection = {"PGHOST": server.host, "PGPORT": str(server.port), "PGDATABASE": server.database, "PGUSER": server.admin_user}
    return {**os.environ, **connection, **variables}


def dpe(directory: Path, server: Server, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run dpe as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "dpe_cli", *arguments],
        cwd=directory,
        env=variables_of(server, **variables),
        capture_output=True,
        text=True,
        check=False,
    )


def dpe_here(directory: Path, server: Server, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run dpe in this process."""
    return run_here(directory, *arguments, **variables_of(server, **variables))


def run_here(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run dpe in this process, which takes two seconds less: another one would import dbt again."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.chdir(directory)
        status = main.run(arguments)
    return subprocess.CompletedProcess(["dpe", *arguments], status, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class WeatherApi:
    """The demo's API on a port of its own. `log` has a line per request."""

    url: str
    log: Path

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables for it."""
        return {"WEATHER_API_URL": self.url, "WEATHER_API_CLIENT_SECRET": SECRET}

    @property
    def pages_asked_for(self) -> int:
        """How often a page was requested."""
        return self.log.read_text(encoding="utf-8").count('"GET /observations')

    @property
    def tokens_asked_for(self) -> int:
        """How often a token was requested."""
        return self.log.read_text(encoding="utf-8").count('"POST /token')


@contextmanager
def weather_api(log: Path, faults: Sequence[str] = ()) -> Iterator[WeatherApi]:
    """Run the API; `faults` are names of faults that `serve --fault` accepts."""
    command = [sys.executable, str(REPOSITORY / "demo" / "weather_api.py"), "serve", *(f"--fault={fault}" for fault in faults)]
    environment = {**os.environ, "WEATHER_API_URL": "http://127.0.0.1:0", "WEATHER_API_CLIENT_SECRET": SECRET}
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            yield WeatherApi(process.stdout.readline().split()[-1], log)
        finally:
            process.kill()
