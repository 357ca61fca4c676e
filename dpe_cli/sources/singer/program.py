"""Programs of Singer taps: find them, run them, read their output, and end them when it is no longer read."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from dpe_cli import ending_signals, machine
from dpe_cli.errors import InputError
from dpe_cli.sources.read import pipes
from dpe_cli.sources.singer.tap_log import TapLog

TAPS = Path(".dpe") / "taps"

_DIRECTORY = "dpe-tap-"
_SECONDS_TO_LOCK = 10
_SECONDS_TO_END = 60


def find(tap: str, executable: str | None, *, project_dir: Path, where: str) -> Path:
    """
    Return a tap's program: the one given, the one of a virtual environment in .dpe/taps, or the one on PATH.

    Raises:
        InputError: there is none.
    """
    own = project_dir / TAPS / tap
    if executable is not None:
        named = project_dir / executable if os.sep in executable else Path(shutil.which(executable) or executable)
        if not os.access(named, os.X_OK) or named.is_dir():
            raise InputError(f"{where}: the program {executable} does not exist; correct `executable`")
        return named
    if os.access(own / "bin" / tap, os.X_OK):
        return own / "bin" / tap
    if found := shutil.which(tap):
        return Path(found)
    place = TAPS / tap
    raise InputError(
        f"{where}: {tap} is not installed; in the project's directory, run: python3 -m venv {place} && {place}/bin/pip install {tap}"
    )


class Program:
    """A tap's program, run in the project's directory, with exactly this environment."""

    def __init__(self, path: Path, *, project_dir: Path, where: str, environment: Mapping[str, str]) -> None:
        # It runs in another directory than dpe.
        self._path = path.absolute()
        self._project_dir = project_dir
        self._where = where
        self._environment = environment

    @contextmanager
    def run(self, arguments: Sequence[str]) -> Iterator[Running]:
        """
        Run it. However the block ends, the tap and the processes it started do not outlive it.

        Raises:
            InputError: it cannot be run.
        """
        with ending_signals.postponed():
            running = self._started(arguments)
            try:
                ending_signals.go_on()
                yield running
            finally:
                running.stop()

    def _started(self, arguments: Sequence[str]) -> Running:
        try:
            process = subprocess.Popen(
                [self._path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._project_dir,
                env=self._environment,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise InputError(f"{self._where}: {self._path} cannot be run ({error.strerror}); reinstall the tap") from error
        return Running(process, where=self._where)


@contextmanager
def private_directory() -> Iterator[Path]:
    """Create a directory for a tap's secrets that lasts as long as the block; first remove those that a killed dpe left."""
    for left in Path(tempfile.gettempdir()).glob(f"{_DIRECTORY}*"):
        _remove_left_behind(left)
    # Locked as long as this process lives; taps do not inherit the lock.
    with tempfile.TemporaryDirectory(prefix=_DIRECTORY) as name, machine.locked(Path(name)):
        yield Path(name)


def _remove_left_behind(directory: Path) -> None:
    # Another run uses it, it belongs to another user, or it is already removed.
    with suppress(OSError), machine.locked(directory, waits=False):
        # A directory that another run has just created, but not yet locked, would look abandoned.
        if time.time() - directory.stat().st_mtime > _SECONDS_TO_LOCK:
            shutil.rmtree(directory, ignore_errors=True)


class Running:
    """A running tap. Its log is kept as far as an error may need it."""

    def __init__(self, process: subprocess.Popen[bytes], *, where: str) -> None:
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        self._output: IO[bytes] = process.stdout
        self._process = process
        self._where = where
        self._log = TapLog(process.stderr, where=where)

    def output(self, *, timeout: float) -> Iterator[bytes]:
        """
        Yield what it writes.

        Raises:
            InputError: it wrote nothing for `timeout` seconds, whatever it logged.
        """
        try:
            yield from pipes.chunks(self._output.fileno(), timeout=timeout)
        except pipes.SilentError as error:
            raise self._failed(f"wrote nothing for {timeout:g} seconds (its `timeout`)", is_running=True) from error

    def check_end(self) -> None:
        """
        Wait for its end, once all its output was read.

        Raises:
            InputError: it failed, was killed, or does not end.
        """
        try:
            status = self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired as error:
            raise self._failed(f"closed its output but did not end within {_SECONDS_TO_END} seconds") from error
        if status < 0:
            raise self._failed(f"was killed by {ending_signals.signal_name(-status)}")
        if status:
            raise self._failed(f"failed with exit status {status}")

    def stop(self) -> None:
        """Kill it and the processes it started, if they are still running."""
        # The process group outlives the tap if the tap left others running.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()
        self._log.wait()

    def _failed(self, how: str, *, is_running: bool = False) -> InputError:
        if not is_running:
            self._log.wait()
        log = self._log.last_lines()
        words = "".join(f"\n    {line}" for line in log)
        advice = "last lines of its log:" if log else "it logged nothing; run it by hand"
        return InputError(f"{self._where}: the tap {how}, and nothing was loaded; {advice}{words}")
