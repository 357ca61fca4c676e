"""
The embedded PostgreSQL: a private server in a directory, with nothing to install and no access for other users.

    <directory>/data        the data directory; dpe.conf in it is rewritten at each start
    <directory>/socket      where the server listens; elsewhere if this path is too long for a socket
    <directory>/log         the server's log

The directory itself is locked while a process starts or stops the server.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpe_cli import machine
from dpe_cli.environment import for_program
from dpe_cli.errors import ServerError
from dpe_cli.server.embedded import settings
from dpe_cli.server.embedded.system_user import SystemUser, server_user
from dpe_cli.server.programs import wheel_programs

PORT = 5432
ADMINISTRATOR = "postgres"
DATABASE = "dpe"

LOG_LIMIT = 10 * settings.MEGABYTE
# Recovery after a crash replays up to max_wal_size.
START_SECONDS = 300
STOP_SECONDS = 120
# What a shell evaluates, or takes for the end, between double quotes.
_NOT_FOR_A_SHELL = frozenset('$`"\\\n')


class EmbeddedServer:
    """A PostgreSQL server in a directory; `bin_dir` replaces the wheel's programs with those of another PostgreSQL."""

    def __init__(self, directory: Path, bin_dir: Path | None = None) -> None:
        self.directory = directory.absolute()
        self.data_directory = self.directory / "data"
        self.log = self.directory / "log"
        self.port = PORT
        self._bin_dir = bin_dir

    @property
    def bin_dir(self) -> Path:
        """Where the server's programs are."""
        return self._bin_dir or wheel_programs()

    @property
    def socket_dir(self) -> Path:
        """The directory in which the running server listens, or will listen once started: the value for PGHOST."""
        status = self._pid_file()
        return Path(status[4]) if len(status) > 4 else self._wanted_socket_dir()

    def is_running(self) -> bool:
        """Return whether a server listens, by its socket: after a crash the pid file remains and may name an unrelated process."""
        if self.directory.exists() and not os.access(self.directory, os.X_OK):
            raise ServerError(f"{self.directory}: belongs to another user; run dpe as the user that made it, or remove it")
        path = self.socket_dir / f".s.PGSQL.{self.port}"
        try:
            # Anyone can make a directory in the temp dir, and dpe would connect to whatever server listens in it.
            if len(self._pid_file()) < 5 or self.socket_dir.lstat().st_uid != self.data_directory.stat().st_uid:
                return False
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        except OSError:
            return False
        return True

    def start(self) -> bool:
        """
        Start the server if it is not running, and return whether it had to be started.

        Makes its data directory if there is none, and waits until it accepts connections.
        """
        if self._is_ready():
            return False
        self._check_paths()
        with self._locked() as user:
            if self.is_running():
                self._wait_until_ready()
                return False
            if not self.data_directory.exists():
                self._initialise(user)
            self._check_version()
            user.take_over(self.data_directory)
            self._discard_stale_locks()
            self._stop_unreachable(user)
            self._configure(user)
            self._run_pg_ctl(user, "start", "-l", self.log, "-t", str(START_SECONDS))
            return True

    def stop(self) -> bool:
        """Stop the server and end its sessions; committed work is kept. Return whether it was running."""
        if not self.is_running() and not self._is_unreachable():
            return False
        with self._locked() as user:
            if self.is_running():
                self._run_pg_ctl(user, "stop", "-m", "fast", "-t", str(STOP_SECONDS))
            else:
                self._stop_unreachable(user)
        return True

    @contextmanager
    def _locked(self) -> Iterator[SystemUser]:
        """Keep other processes from starting or stopping the server; yield the user that it runs as."""
        user = server_user(self.directory)
        try:
            if self.directory.exists():
                user.take_over(self.directory)
            user.make_directory(self.directory)
            user.let_through(self.directory.parent)
            with machine.locked(self.directory):
                yield user
        except OSError as error:
            raise ServerError(f"{error.filename or self.directory}: {error.strerror}; the embedded PostgreSQL needs it") from error

    def _check_paths(self) -> None:
        """Refuse paths in which PostgreSQL's programs would execute something: they start each other through a shell."""
        for path in (self.directory, self.bin_dir):
            if not _NOT_FOR_A_SHELL.isdisjoint(str(path)):
                raise ServerError(f'{path}: has a character in its path that a shell evaluates ($, `, " or \\); rename that directory')

    def _initialise(self, user: SystemUser) -> None:
        """Make the data directory and the database under a temporary name, so that an unfinished one is never used."""
        for directory in (self.bin_dir, self.bin_dir.parent / "lib", self.bin_dir.parent / "share"):
            if directory.is_dir():
                user.let_through(directory.parent)
                user.let_read(directory)
        making = self.directory / "data.making"
        if making.exists():
            shutil.rmtree(making)
        # PostgreSQL 17 and later have their own C.UTF-8, the same on every machine; before that it is the system's.
        own_locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        locale = own_locale if self._program_version() >= 17 else ["--locale=C.UTF-8"]
        # Trust: only the owner of the socket's directory can reach the server, and a password would have to be kept in a
        # file next to it that the same owner can read.
        self._run(user, "initdb", "-D", making, "-U", ADMINISTRATOR, "--auth=trust", "--encoding=UTF8", *locale)
        with (making / "postgresql.conf").open("a") as configuration:
            configuration.write("\n# dpe's settings\ninclude = 'dpe.conf'\n")
        user.write(making / "dpe.conf", "# Written by dpe at each start of the server.\n")
        self._run(user, "postgres", "--single", "-D", making, "postgres", script=f"create database {DATABASE}\n")
        making.rename(self.data_directory)

    def _configure(self, user: SystemUser) -> None:
        """Write the settings, make the socket's directory, and rotate a long log."""
        socket_directory = self._wanted_socket_dir()
        user.make_directory(socket_directory)
        text = settings.settings(socket_directory=socket_directory, port=self.port, data_directory=self.data_directory)
        user.write(self.data_directory / "dpe.conf", text)
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.rename(self.log.with_suffix(".previous"))

    def _wanted_socket_dir(self) -> Path:
        """Return the socket's directory: next to the data or, if that path is too long, a private one in a shared directory."""
        preferred = self.directory / "socket"
        if self._is_short(preferred):
            return preferred
        name = f"dpe-{os.geteuid()}-{hashlib.blake2b(os.fsencode(self.directory), digest_size=8).hexdigest()}"
        # Root's runtime directory is closed to the user that the server runs as.
        runtime = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() != 0 else None
        for shared in (runtime, tempfile.gettempdir()):
            if shared and Path(shared).is_dir() and self._is_short(Path(shared, name)):
                return Path(shared, name)
        raise ServerError(f"{preferred}: the path is too long for a socket, and no directory is shorter; set TMPDIR to a short path")

    def _is_short(self, directory: Path) -> bool:
        return len(os.fsencode(directory / f".s.PGSQL.{self.port}")) <= machine.SOCKET_PATH_LIMIT

    def _check_version(self) -> None:
        data, program = (self.data_directory / "PG_VERSION").read_text().strip(), str(self._program_version())
        if data != program:
            raise ServerError(
                f"{self.data_directory}: was made by PostgreSQL {data}, and this is PostgreSQL {program}; "
                f"upgrade it with pg_upgrade, or remove {self.directory} to start from scratch"
            )

    def _program_version(self) -> int:
        program = str(self.bin_dir / "pg_ctl")
        answer = subprocess.run([program, "--version"], env=for_program(), capture_output=True, text=True, check=True).stdout
        return int(answer.split()[2].split(".")[0])

    def _pid_file(self) -> list[str]:
        """Return postmaster.pid's lines: pid, data directory, start time, port, socket directory, address, memory key, status."""
        try:
            return (self.data_directory / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _is_ready(self) -> bool:
        return self._pid_file()[7:8] == ["ready   "] and self.is_running()

    def _wait_until_ready(self) -> None:
        """Wait for a server that is still recovering and whose starter has gone."""
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if time.monotonic() > deadline:
                raise ServerError(f"{self.directory}: the server is not ready after {START_SECONDS} s; read {self.log}")
            time.sleep(0.1)

    def _discard_stale_locks(self) -> None:
        """
        Remove a crashed server's lock files if PostgreSQL would mistake them for a running server's and refuse to start.

        That happens when their pid now belongs to another program, as after a restart of the machine, or to a zombie
        process, as in a container without an init. Sessions that outlived a killed server still prevent a new one from
        starting: PostgreSQL checks for their shared memory too.
        """
        for lock in (self.socket_dir / f".s.PGSQL.{self.port}.lock", self.data_directory / "postmaster.pid"):
            pid = lock.read_text().partition("\n")[0] if lock.exists() else ""
            if pid.isdigit() and not machine.is_running(int(pid), "postgres"):
                lock.unlink()

    def _is_unreachable(self) -> bool:
        """Return whether the server runs but has lost its socket, for example because an earlier server here removed it on exit."""
        pid = next(iter(self._pid_file()), "")
        return pid.isdigit() and not self.is_running() and machine.is_server_of(int(pid), self.data_directory)

    def _stop_unreachable(self, user: SystemUser) -> None:
        if self._is_unreachable():
            self._run_pg_ctl(user, "stop", "-m", "fast", "-t", str(STOP_SECONDS))

    def _run_pg_ctl(self, user: SystemUser, action: str, *arguments: str | Path) -> None:
        message = ""
        # A killed server and its sessions take a moment to end.
        for patience in (0.2, 0.5, 1.0, 2.0, 5.0, 0.0):
            logged = self.log.stat().st_size if self.log.exists() else 0
            done = user.run([self.bin_dir / "pg_ctl", action, "-w", "-D", self.data_directory, *arguments], directory=self.directory)
            if done.returncode == 0:
                return
            with self.log.open(errors="replace") as log:
                log.seek(logged)
                message = log.read().strip() or done.stderr.strip() or done.stdout.strip()
            if "is still in use" not in message and "already exists" not in message:
                break
            time.sleep(patience)
            self._discard_stale_locks()
        lines = message.splitlines() or ["no reason given"]
        reason = next((line for line in lines if "FATAL" in line), lines[-1])
        raise ServerError(f"{self.directory}: the embedded PostgreSQL did not {action} ({reason.strip()}); read {self.log}")

    def _run(self, user: SystemUser, program: str, *arguments: str | Path, script: str | None = None) -> None:
        done = user.run([self.bin_dir / program, *arguments], directory=self.directory, script=script)
        if done.returncode != 0 or "FATAL" in done.stderr or "ERROR" in done.stderr:
            reason = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise ServerError(f"{self.directory}: {program} failed ({reason}); fix that, and try again")
