from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from conftest import Cluster

from dpe_cli import machine
from dpe_cli.errors import ServerError
from dpe_cli.server.embedded import system_user
from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.state import state_directory

ROOT = Path(__file__).parents[3]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")


@pytest.fixture(scope="module")
def shared(scratch: Path) -> Iterator[EmbeddedServer]:
    """Make a server for the tests that stop, kill and start it."""
    server = EmbeddedServer(scratch / "own")
    yield server
    server.stop()


@pytest.fixture
def running(shared: EmbeddedServer) -> EmbeddedServer:
    """Give that server, running."""
    shared.start()
    return shared


def _connect(server: EmbeddedServer) -> psycopg.Connection:
    return psycopg.connect(host=str(server.socket_dir), port=server.port, user="postgres", dbname="dpe", autocommit=True)


def _postmaster(server: EmbeddedServer) -> int:
    return int((server.data_directory / "postmaster.pid").read_text().split("\n")[0])


def test_a_server_is_started_once(running: EmbeddedServer) -> None:
    """Starting a running server does nothing, and returns that."""
    before = _postmaster(running)

    assert running.start() is False
    assert before == _postmaster(running)


def test_stopping_ends_it_and_says_whether_it_ran(running: EmbeddedServer) -> None:
    """A stopped server no longer listens."""
    assert running.stop() is True
    assert not running.is_running()
    assert running.stop() is False


def test_data_outlives_a_stop(running: EmbeddedServer) -> None:
    """Committed work is still there when the server is started again."""
    with _connect(running) as connection:
        connection.execute("create table kept as select 1 as kept")

    running.stop()
    assert running.start() is True

    with _connect(running) as connection:
        assert (1,) == connection.execute("select kept from kept").fetchone()
        connection.execute("drop table kept")


def test_a_killed_server_recovers(running: EmbeddedServer) -> None:
    """After kill -9, the pid file and the socket remain; the next start recovers what was committed."""
    with _connect(running) as connection:
        connection.execute("create table survivor as select 1")
    os.kill(_postmaster(running), signal.SIGKILL)
    _wait_until_gone(running)

    assert running.start() is True

    with _connect(running) as connection:
        assert (1,) == connection.execute("select count(*) from survivor").fetchone()
        connection.execute("drop table survivor")


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="where a process works is read from /proc")
def test_a_server_that_has_lost_its_socket_is_restarted(running: EmbeddedServer) -> None:
    """An earlier one in the same place removed the socket when it ended; committed work is still there."""
    with _connect(running) as connection:
        connection.execute("create table unreached as select 1")
    lost = _postmaster(running)
    (running.socket_dir / f".s.PGSQL.{running.port}").unlink()

    assert running.start() is True
    assert lost != _postmaster(running)
    with _connect(running) as connection:
        assert (1,) == connection.execute("select count(*) from unreached").fetchone()
        connection.execute("drop table unreached")

    (running.socket_dir / f".s.PGSQL.{running.port}").unlink()
    assert (True, False) == (running.stop(), running.stop())


def test_a_pid_file_of_an_unrelated_process_does_no_harm(running: EmbeddedServer) -> None:
    """After a restart of the machine a crashed server's pid may be another program's, which is left alone."""
    os.kill(_postmaster(running), signal.SIGKILL)
    _wait_until_gone(running)
    pid_file = running.data_directory / "postmaster.pid"
    with subprocess.Popen(["sleep", "60"]) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *pid_file.read_text().splitlines()[1:]]) + "\n")

        assert not running.is_running()
        assert running.start() is True

        assert stranger.poll() is None
        stranger.kill()


def test_processes_that_start_at_once_share_one_server(scratch: Path) -> None:
    """One makes the data directory and starts the server, the others wait for it."""
    directory = scratch / "at-once"
    program = "import sys; from pathlib import Path; from dpe_cli.server.embedded.server import EmbeddedServer;print(EmbeddedServer(Path(sys.argv[1])).start())"
    starting = [
        subprocess.Popen([sys.executable, "-c", program, str(directory)], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)
    ]

    answers = [process.communicate()[0].strip() for process in starting]
    EmbeddedServer(directory).stop()

    assert ["False", "False", "True"] == sorted(answers)


def test_an_unfinished_data_directory_is_made_again(scratch: Path) -> None:
    """A process that was killed while it made the data directory does not leave an incomplete server."""
    server = EmbeddedServer(scratch / "half")
    (server.directory / "data.making").mkdir(parents=True)
    (server.directory / "data.making" / "PG_VERSION").write_text("18\n")

    server.start()

    with _connect(server) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    server.stop()


def test_only_its_owner_reaches_the_socket(any_cluster: Cluster) -> None:
    """The socket is in a directory that only its owner may enter, and the server listens on no network address."""
    server = any_cluster.embedded
    with any_cluster.template.connect("admin") as connection:
        addresses = connection.execute("show listen_addresses").fetchone()

    assert addresses == ("",)
    assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((server.socket_dir / f".s.PGSQL.{server.port}").stat().st_mode) == 0o700


def test_the_server_has_no_secret_of_dpes(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that can run programs on the server, like a superuser, could read its environment."""
    monkeypatch.setenv("SHOP_TOKEN", "another program's")
    monkeypatch.setenv("DPE_LOADER_PASSWORD", "dpe's own")
    server = EmbeddedServer(scratch / "without")
    server.start()
    with _connect(server) as connection:
        connection.execute("create temporary table variables (line text)")
        connection.execute("copy variables from program 'env'")
        names = {str(line).partition("=")[0] for (line,) in connection.execute("select line from variables")}
    server.stop()

    assert "PGDATA" in names
    assert set() == names & {"SHOP_TOKEN", "DPE_LOADER_PASSWORD", "HOME", "USER"}


@as_root
def test_another_user_is_kept_out(any_cluster: Cluster) -> None:
    """Trust authentication is safe because the operating system keeps other users out."""
    path = str(any_cluster.embedded.socket_dir / f".s.PGSQL.{any_cluster.embedded.port}")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
            status = 0
        except PermissionError:
            status = 13
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 13


def test_the_server_is_durable_and_the_same_everywhere(any_cluster: Cluster) -> None:
    """Committed work survives a crash; text, times and messages do not depend on the machine."""
    expected = {
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "wal_level": "minimal",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
        "lc_messages": "C",
        "log_error_verbosity": "terse",
    }
    with any_cluster.template.connect("admin") as connection:
        found = {name: connection.execute("select current_setting(%s)", [name]).fetchone() for name in expected}
        upper = connection.execute("select upper('ä')").fetchone()
        # The tests' own servers have ALTER SYSTEM turn it off.
        written = connection.execute(
            "select setting from pg_file_settings where name = 'fsync' and sourcefile not like '%postgresql.auto.conf'"
        ).fetchall()

    assert {name: (value,) for name, value in expected.items()} == found
    assert ("Ä",) == upper
    assert [("on",)] == written


def test_memory_is_sized_within_bounds(any_cluster: Cluster) -> None:
    """The server uses at most 1 GB for itself, and allows several gigabytes of WAL between checkpoints if the disk can spare them."""
    with any_cluster.template.connect("admin") as connection:
        shared_buffers = connection.execute("select pg_size_bytes(current_setting('shared_buffers'))").fetchone()
        max_wal_size = connection.execute("select pg_size_bytes(current_setting('max_wal_size'))").fetchone()

    assert shared_buffers is not None
    assert shared_buffers[0] <= 2**30
    assert max_wal_size is not None
    assert max_wal_size[0] >= 2**30


def test_parallel_queries_leave_the_session_a_core(any_cluster: Cluster) -> None:
    """On two cores, two workers and the waiting session would be one too many."""
    with any_cluster.template.connect("admin") as connection:
        workers = connection.execute("select current_setting('max_parallel_workers_per_gather')::integer").fetchone()

    assert (max(1, min(2, machine.cores() - 1)),) == workers


def test_a_long_path_gets_a_socket_elsewhere(scratch: Path) -> None:
    """A socket's path has a limit that a project's path does not have."""
    server = EmbeddedServer(scratch / ("long-" * 30) / "postgres")

    server.start()

    try:
        assert len(str(server.socket_dir / ".s.PGSQL.5432")) <= 100
        assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
        with _connect(server) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    finally:
        server.stop()
        shutil.rmtree(server.socket_dir)


@pytest.mark.parametrize("name", ["$(touch made)", "`touch made`", '"; touch made; "', "back\\slash"])
def test_a_path_that_a_shell_would_execute_is_refused(tmp_path: Path, name: str) -> None:
    """PostgreSQL's programs start each other through a shell, and a directory may have come from elsewhere with its name."""
    server = EmbeddedServer(tmp_path / name / "postgres")

    with pytest.raises(ServerError, match=r"has a character in its path that a shell evaluates .*; rename that directory"):
        server.start()

    assert [] == [*tmp_path.rglob("*")]


def test_a_directory_that_someone_else_made_for_the_socket_is_refused(scratch: Path) -> None:
    """In the temp dir anyone can make a directory with the name that we want, and access what is in it."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a directory in another's name")
    server = EmbeddedServer(scratch / ("else-" * 30) / "postgres")
    taken = server.socket_dir
    taken.mkdir()
    os.chown(taken, 65534, 65534)

    try:
        with pytest.raises(ServerError, match="is not a directory of the user"):
            server.start()
    finally:
        taken.rmdir()


def test_data_of_another_major_version_is_refused(shared: EmbeddedServer) -> None:
    """The message names both versions and what to do."""
    shared.start()
    shared.stop()
    version = shared.data_directory / "PG_VERSION"
    version.write_text("16\n")

    try:
        with pytest.raises(ServerError, match=r"was made by PostgreSQL 16, and this is PostgreSQL 18; upgrade it"):
            shared.start()
    finally:
        version.write_text("18\n")


def test_a_server_that_cannot_start_says_why(shared: EmbeddedServer) -> None:
    """The reason comes from the server's log, which the message names."""
    shared.start()
    shared.stop()
    extra = shared.data_directory / "postgresql.auto.conf"
    before = extra.read_text()
    extra.write_text("shared_preload_libraries = 'no_such_library'\n")

    try:
        with pytest.raises(ServerError, match=r"did not start \(.*no_such_library.*\); read .*/log"):
            shared.start()
    finally:
        extra.write_text(before)


@as_root
def test_root_runs_it_as_another_user(running: EmbeddedServer) -> None:
    """PostgreSQL refuses to run as root, so the server gets a user of its own."""
    owner = Path(f"/proc/{_postmaster(running)}").stat().st_uid

    assert owner != 0
    assert owner == running.data_directory.stat().st_uid


@as_root
def test_directories_above_the_data_become_searchable_only(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If root's directories are closed, the server's user gets to pass through them, but neither list nor read them."""
    closed = scratch / "closed"
    closed.mkdir(mode=0o700)

    system_user.server_user(scratch / "none").let_through(closed)

    assert stat.S_IMODE(closed.stat().st_mode) == 0o701
    assert f"{closed}: search permission (o+x) given" in capsys.readouterr().err


@as_root
def test_root_leaves_a_users_server_to_that_user(scratch: Path) -> None:
    """Root runs the server of another user's project as that user."""
    directory = scratch / "theirs"
    directory.mkdir()
    os.chown(directory, 65534, 65534)

    assert system_user.server_user(directory).uid == 65534


def test_what_dpe_makes_is_kept_out_of_version_control(tmp_path: Path) -> None:
    """`.dpe` ignores its whole content."""
    directory = state_directory(tmp_path)

    assert tmp_path / ".dpe" == directory
    assert (directory / ".gitignore").read_text() == "*\n"


def _wait_until_gone(server: EmbeddedServer) -> None:
    deadline = time.monotonic() + 10
    while server.is_running() and time.monotonic() < deadline:
        time.sleep(0.01)


# Finds or creates a user once all processes are ready.
FINDS_USER = """
import sys, time
from pathlib import Path
from dpe_cli.server.embedded import system_user
system_user.NAME = sys.argv[1]
time.sleep(max(0, float(sys.argv[2]) - time.time()))
print(system_user.server_user(Path("/nonexistent")))
"""


@as_root
@pytest.mark.skipif(shutil.which("useradd") is None, reason="useradd is not installed")
def test_processes_that_need_a_user_at_once_get_the_same() -> None:
    """Whichever creates it: otherwise, one would start its server as a user that another one has replaced."""
    name = f"dpe-test-{os.getpid()}"
    command = [sys.executable, "-c", FINDS_USER, name, str(time.time() + 1)]
    try:
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        found = [process.communicate()[0].strip() for process in processes]
        now = pwd.getpwnam(name)
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)

    assert [f"SystemUser(name='{name}', uid={now.pw_uid}, gid={now.pw_gid})"] * 4 == found
