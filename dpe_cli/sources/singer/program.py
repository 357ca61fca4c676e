"""Programs that are Singer taps: found, run, listened to, and ended when nobody reads them any more."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from dpe_cli.errors import InputError
from dpe_cli.sources.singer.tap_log import TapLog

TAPS = Path(".dpe") / "taps"

_DIRECTORY = "dpe-tap-"
_SECONDS_TO_LOCK = 10
_SECONDS_TO_END = 60
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def find(tap: str, executable: str | None, *, project_dir: Path, where: str) -> Path:
    """
    Return a tap's program: the one that is named, the one of a virtual environment in .dpe/taps, or the one on PATH.

    Raises:
        InputError: there is none.
    """
    own = project_dir / TAPS / tap
    if executable is not None:
        named = project_dir / executable if os.sep in executable else Path(shutil.which(executable) or executable)
        if not os.access(named, os.X_OK) or named.is_dir():
            raise InputError(f"{where}: there is no program {executable}; correct `executable`")
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
    """A tap's program, run in the project's directory, with this environment and no other."""

    def __init__(self, path: Path, *, project_dir: Path, where: str, environment: Mapping[str, str]) -> None:
        # It is run from another directory than dpe is.
        self._path = path.absolute()
        self._project_dir = project_dir
        self._where = where
        self._environment = environment

    @contextmanager
    def run(self, arguments: Sequence[str]) -> Iterator[Running]:
        """
        Run it. However the block is left, the tap and what it started do not outlive it.

        Raises:
            InputError: it cannot be run.
        """
        with _ending.postponed():
            running = self._started(arguments)
            try:
                _ending.go_on()
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
            raise InputError(f"{self._where}: {self._path} cannot be run ({error.strerror}); install the tap anew") from error
        return Running(process, where=self._where)


@contextmanager
def private_directory() -> Iterator[Path]:
    """Make a directory for a tap's secrets that goes with the block; what a killed dpe left of that kind goes first."""
    for left in Path(tempfile.gettempdir()).glob(f"{_DIRECTORY}*"):
        _remove_left_behind(left)
    with tempfile.TemporaryDirectory(prefix=_DIRECTORY) as name:
        # Held as long as this process lives, and by no tap.
        descriptor = os.open(name, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(descriptor)


def _remove_left_behind(directory: Path) -> None:
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        # Another user's, or gone.
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between its making and its locking, another run's may look as if it were nobody's.
        if time.time() - os.fstat(descriptor).st_mtime > _SECONDS_TO_LOCK:
            shutil.rmtree(directory, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


@contextmanager
def cleared_up() -> Iterator[None]:
    """
    Let SIGTERM and SIGHUP, by which schedulers and terminals end dpe, end the block as an exception does, and as SIGINT does.

    No tap is left behind, and no file of secrets.
    """
    is_main = threading.current_thread() is threading.main_thread()
    taken = {number: signal.getsignal(number) for number in _ENDING_SIGNALS} if is_main else {}
    taken = {number: handler for number, handler in taken.items() if handler in {signal.SIG_DFL, signal.default_int_handler}}
    for number in taken:
        signal.signal(number, _ending.take)
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)


class _Ending:
    """What a signal that ends dpe does: it raises, but not while a tap is being started that nobody could stop yet."""

    def __init__(self) -> None:
        self._is_postponed = False
        self._came: int | None = None

    def take(self, number: int, _frame: object) -> None:
        """Take a signal."""
        self._came = number
        if not self._is_postponed:
            self.go_on()

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Let no signal end the block before it says so, or fails."""
        self._is_postponed = True
        try:
            yield
        finally:
            self.go_on()

    def go_on(self) -> None:
        """Let signals end dpe: one that came meanwhile at once."""
        self._is_postponed = False
        number, self._came = self._came, None
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if number is not None:
            sys.exit(128 + number)


_ending = _Ending()


def signal_name(number: int) -> str:
    """Return what a signal is called."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Running:
    """A tap that runs. What it logs is kept as far as an error may need it."""

    def __init__(self, process: subprocess.Popen[bytes], *, where: str) -> None:
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        self.output: IO[bytes] = process.stdout
        self._process = process
        self._where = where
        self._log = TapLog(process.stderr, where=where)

    def check_end(self) -> None:
        """
        Wait for its end, once it has written everything.

        Raises:
            InputError: it failed, was killed, or does not end.
        """
        try:
            status = self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired as error:
            raise self._failed(f"has written everything and does not end within {_SECONDS_TO_END} seconds") from error
        if status < 0:
            raise self._failed(f"was killed by {signal_name(-status)}")
        if status:
            raise self._failed(f"failed with exit status {status}")

    def stop(self) -> None:
        """Kill it and whatever it started, where they still run."""
        # The group outlives the tap that began it, where that left others behind.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.output.close()
        self._log.wait()

    def _failed(self, how: str) -> InputError:
        self._log.wait()
        said = self._log.last_lines()
        words = "".join(f"\n    {line}" for line in said)
        advice = "its last words tell why:" if said else "it does not say why; try it by hand"
        return InputError(f"{self._where}: the tap {how}, and nothing is loaded; {advice}{words}")
