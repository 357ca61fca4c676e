"""Run a loader in its own process, and measure its time, CPU and memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_SAMPLE_SECONDS = 0.05
_KIB = 1024 if sys.platform == "linux" else 1  # the unit of ru_maxrss


@dataclass(frozen=True)
class Measured:
    """One run: how it ended, and the resources of the client, without the server's."""

    seconds: float
    client_cpu_seconds: float
    peak_bytes: int
    exit_status: int
    output: str

    @property
    def last_words(self) -> str:
        """The line that probably says why it failed."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return next((line for line in lines if "ERROR" in line or "Error:" in line), lines[-1] if lines else "")


def run(command: Sequence[str], *, environment: Mapping[str, str], directory: Path) -> Measured:
    """Run `command` to its end, and capture its output."""
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        with _MemorySampler(process.pid) as memory:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it again
        output.seek(0)
        return Measured(
            seconds=seconds,
            client_cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_bytes=max(memory.peak_bytes, _own_peak(usage)),
            exit_status=process.returncode,
            output=output.read(),
        )


def _own_peak(usage: resource.struct_rusage) -> int:
    # A child starts as a copy of this process, which Linux counts: a peak not above our own says nothing about the child.
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage.ru_maxrss * _KIB if usage.ru_maxrss > ours else 0


class _MemorySampler:
    """
    Add up the peaks of a process and its descendants while it runs, if there is /proc.

    wait4 only knows the peak of the largest process, so a loader with several processes would look small.
    """

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        wait = 0.0
        while not self._over.wait(wait):
            wait = _SAMPLE_SECONDS
            self.peak_bytes = max(self.peak_bytes, sum(_peak_of(pid) for pid in _tree(self._pid)))


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from _tree(int(child))
    except OSError:
        return  # it has ended in the meantime


def _peak_of(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
