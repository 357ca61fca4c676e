"""Memory does not grow with the amount of data."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from support.long_tests import LONG
from support.staged_source import Stage, StagedSource

STATUS = Path("/proc/self/status")
RECORD = b"%d," + b"x" * 90 + b"\n"
# A forked process would have the memory of this one.
spawn = multiprocessing.get_context("spawn")


def _peak(source: StagedSource) -> int:
    """Extract in a separate process; return its peak memory in megabytes."""
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_extract, args=[source, sender])
    process.start()
    sender.close()
    peak: int = receiver.recv()
    process.join()
    return peak


def _extract(source: StagedSource, sender: Connection) -> None:
    source.extract()
    # getrusage() would return the peak of the parent process if that is higher.
    [peak] = [line.split()[1] for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
    sender.send(int(peak) // 1024)


@pytest.mark.skipif(not STATUS.exists(), reason="the peak of a process is read from /proc")
def test_memory_does_not_grow_with_the_file(stage: Stage) -> None:
    """Twenty times the file has the same peak, although one record in twenty is rejected and kept until the end."""
    records = b"".join(RECORD % number if number % 20 else b"x" + RECORD % number for number in range(50_000))
    small, large = stage("id integer, note text"), stage("id integer, note text")
    small.deliver(b"id,note\n" + records, "small.csv").declare(location="small.csv")
    large.deliver(b"id,note\n" + records * 20, "large.csv").declare(location="large.csv")

    of_small, of_large = _peak(small), _peak(large)

    assert (47_500, 950_000) == (small.count(), large.count())
    assert of_large < of_small + 40, (of_small, of_large)


@pytest.mark.skipif(not STATUS.exists(), reason="the peak of a process is read from /proc")
@LONG
def test_memory_does_not_grow_with_the_rejects(stage: Stage) -> None:
    """If every record is one: a block of rejects would take far more memory than their file."""
    small, large = stage("id integer, note text"), stage("id integer, note text")
    small.deliver(b"id,note\n" + b"x,some note of it\n" * 10_000, "small.csv").declare(location="small.csv")
    large.deliver(b"id,note\n" + b"x,some note of it\n" * 200_000, "large.csv").declare(location="large.csv")

    of_small, of_large = _peak(small), _peak(large)

    assert (10_000, 200_000) == (len(small.rejects("1")), len(large.rejects("1")))
    assert of_large < of_small + 70, (of_small, of_large)
