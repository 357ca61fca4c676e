"""The demo's second pipeline: its API with all its faults, and how its sources are made."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import httpx
import pytest
from support import demo_project
from support.demo_project import REPOSITORY, SECRET

from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server

OBSERVATIONS = 26_115
PAGES = 11
EXTRACT = ("extract", "source:met.observations")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the project with only the weather sources, and less patience for an API that is gone."""
    declared = "models/staging/met/_met__sources.yml"
    directory = demo_project.copy(tmp_path_factory.mktemp("project"), ["dbt_project.yml", "profiles.yml", "macros", declared])
    sources = directory / declared
    patient = sources.read_text(encoding="utf-8")
    sources.write_text(patient.replace("path: observations\n", "path: observations\n          attempts: 3\n"), encoding="utf-8")
    return directory


def _observations(server: Server) -> tuple[int, int, int]:
    """Return the number of visible observations, of different ones, and of rows in the ledger."""
    with server.connect("admin") as connection, admin_context(connection, "auditor"):
        if connection.execute("select to_regclass('staging.observations')").fetchone() == (None,):
            return 0, 0, 0
        [(rows, different)] = connection.execute(
            "select count(*), count(distinct (origin, observed_at)) from staging.observations"
        ).fetchall()
        [(loaded,)] = connection.execute("select coalesce(sum(rows_loaded), 0) from dpe.loads where removed_at is null").fetchall()
    return int(str(rows)), int(str(different)), int(str(loaded))


# One fault per requested page; each is followed by a retry, which succeeds.
FAULTS = ["2:429", "4:500", "6:half", "8:again", "10:expired"]


def test_temporary_faults_of_the_api_are_repaired(project: Path, server: Server, tmp_path: Path) -> None:
    """Too many requests, an error, half a page, a repeated page, an expired token: dpe retries, and loads every record once."""
    with demo_project.weather_api(tmp_path / "log", FAULTS) as api:
        extracted = demo_project.dpe_here(project, server, *EXTRACT, **api.variables)

    assert (0, PAGES + len(FAULTS)) == (extracted.returncode, api.pages_asked_for), extracted.stderr
    assert 2 == api.tokens_asked_for
    assert (OBSERVATIONS, OBSERVATIONS, OBSERVATIONS) == _observations(server)


def test_an_api_that_dies_halfway_leaves_nothing(project: Path, server: Server, tmp_path: Path) -> None:
    """One clear message, and no rows; once it is back, every record is loaded once, and then none again."""
    with demo_project.weather_api(tmp_path / "log", ["6:dies"]) as api:
        died = demo_project.dpe_here(project, server, *EXTRACT, **api.variables)
    assert (1, 6, False) == (died.returncode, api.pages_asked_for, "Traceback" in died.stderr)
    assert re.search(r"\$\{WEATHER_API_URL\}/observations: the connection failed .* \(3 attempts\); nothing was loaded", died.stderr)
    assert (0, 0, 0) == _observations(server)

    with demo_project.weather_api(tmp_path / "log") as api:
        again, once_more = (demo_project.dpe_here(project, server, *EXTRACT, **api.variables) for _ in range(2))
    assert ["26,115 rows loaded from 1 source", "0 rows loaded from 1 source"] == [
        done.stdout.partition(" in ")[0] for done in (again, once_more)
    ]
    assert (OBSERVATIONS, OBSERVATIONS, OBSERVATIONS) == _observations(server)


def test_the_secret_is_in_the_env_file_and_nowhere_else(project: Path, server: Server, tmp_path: Path) -> None:
    """Not in the manifest, the state, the logs, the ledger or messages."""
    dotenv = project / ".env"
    with demo_project.weather_api(tmp_path / "log") as api:
        dotenv.write_text("".join(f"{name}={value}\n" for name, value in api.variables.items()), encoding="utf-8")
        try:
            extracted = demo_project.dpe(project, server, *EXTRACT)
            refused = demo_project.dpe(project, server, *EXTRACT, "--full-refresh", WEATHER_API_CLIENT_SECRET="none-of-mine")
            holders = [path for path in project.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
        finally:
            dotenv.unlink()
    assert (0, [dotenv]) == (extracted.returncode, holders), extracted.stderr
    assert (1, True) == (refused.returncode, "its token endpoint answered 401" in refused.stderr), refused.stderr

    output = "".join([extracted.stdout, extracted.stderr, refused.stdout, refused.stderr, (tmp_path / "log").read_text(encoding="utf-8")])
    with server.connect("admin") as connection, admin_context(connection, "auditor"):
        output += str(
            connection.execute("select to_jsonb(e), to_jsonb(l) from dpe.extracts e left join dpe.loads l using (extract_id)").fetchall()
        )
    assert [] == [secret for secret in (SECRET, "none-of-mine") if secret in output]


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """Give the parts of a clone that the API needs, with a free port in its .env; stop the API at the end."""
    directory = demo_project.copy(tmp_path / "clone", ["demo", "data/nyc_flights/weather.csv.gz"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (directory / ".env").write_text(f"WEATHER_API_URL=http://127.0.0.1:{port}\nWEATHER_API_CLIENT_SECRET=any\n", encoding="utf-8")
    yield directory
    _api(directory, "stop")


def _api(clone: Path, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(clone / "demo" / "weather_api.py"), command]
    return subprocess.run(program, env={**os.environ, **variables}, capture_output=True, text=True, check=False)


def _running(clone: Path) -> tuple[str, str]:
    pid, url = (clone / ".dpe" / "weather_api.pid").read_text(encoding="utf-8").split()
    return pid, url


def test_the_api_is_started_once(clone: Path) -> None:
    """Starting it again changes nothing; stopped, it is gone, and stopping it again is not an error."""
    started, (pid, url), again = _api(clone, "start"), _running(clone), _api(clone, "start")
    assert (0, 0, (pid, url)) == (started.returncode, again.returncode, _running(clone)), started.stderr + again.stderr
    assert int(pid) == httpx.get(f"{url}/health").json()["pid"]

    assert (0, 0) == (_api(clone, "stop").returncode, _api(clone, "stop").returncode)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")


def test_a_new_clone_uses_a_free_port(clone: Path) -> None:
    """Another clone may have the usual one; an existing .env is kept."""
    shutil.copy(REPOSITORY / ".env.example", clone)
    example = (clone / ".env.example").read_text(encoding="utf-8")
    (clone / ".env").unlink()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (clone / ".env.example").write_text(example.replace(":8102", f":{port}"), encoding="utf-8")
        assert 0 == _api(clone, "configure").returncode

        [chosen] = re.findall(r"^WEATHER_API_URL=http://127.0.0.1:(\d+)$", (clone / ".env").read_text(encoding="utf-8"), re.MULTILINE)
        assert port < int(chosen) < port + 100
    assert 0o600 == stat.S_IMODE((clone / ".env").stat().st_mode)
    written = (clone / ".env").read_text(encoding="utf-8")
    _api(clone, "configure")
    assert written == (clone / ".env").read_text(encoding="utf-8")


def test_two_clones_that_start_at_once_use_two_ports(clone: Path, tmp_path: Path) -> None:
    """Both found the same port free; the one that comes second writes another one into its .env, where dpe reads it."""
    other = tmp_path / "other"
    shutil.copytree(clone, other, symlinks=True)
    before = (clone / ".env").read_text(encoding="utf-8")
    try:
        with ThreadPoolExecutor() as starting:
            started = list(starting.map(_api, (clone, other), ("start", "start")))

        assert [0, 0] == [done.returncode for done in started], [done.stderr for done in started]
        urls = {_running(place)[1] for place in (clone, other)}
        assert 2 == len(urls)
        assert {re.sub("http://.*", url, before) for url in urls} == {
            (place / ".env").read_text(encoding="utf-8") for place in (clone, other)
        }
        assert 1 == sum("; .env has the new address now" in done.stdout for done in started)
    finally:
        _api(other, "stop")


def test_a_port_that_is_taken_is_named(clone: Path) -> None:
    """With what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = _api(clone, "start", WEATHER_API_URL=f"http://127.0.0.1:{port}")
    expected = (
        f"Error: weather API: cannot listen on port {port} of 127.0.0.1 (Address already in use); stop the program that listens there, "
    )
    assert (1, expected + "or write another port into WEATHER_API_URL in .env\n") == (refused.returncode, refused.stderr)


def test_the_sample_makes_the_file_and_the_register(tmp_path: Path) -> None:
    """Nothing in them is invented: the script derives the committed files from the flights and the weather."""
    folder = REPOSITORY / "data" / "departure_weather"
    subprocess.run([sys.executable, str(folder / "make.py"), str(tmp_path)], check=True)

    def content(directory: Path) -> tuple[object, object]:
        departures = duckdb.read_parquet(str(directory / "hourly_departures.parquet"))
        with sqlite3.connect(directory / "stations.sqlite") as register:
            return (departures.columns, departures.fetchall()), register.execute("select * from stations").fetchall()

    assert content(folder) == content(tmp_path)
