"""The processors and memory of this machine, or of this container."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Return the memory of the machine, or of the container, in bytes."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return whole
    return min(whole, int(limit)) if limit.isdigit() else whole


# A reader needs a fraction of it, and two leave room for the servers. A machine of 8 GB has been brought down by a file of 4 kB.
_MOST_OF_A_READER = 4 * 1024**3


def reader_memory() -> int:
    """Return how much memory a reader of deliveries may take, in bytes."""
    return min(memory() // 2, _MOST_OF_A_READER)


@contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """
    Let this process take at most `more` bytes of memory than it has now; beyond that, allocations fail (MemoryError).

    Only Linux says how much a process has, and enforces the limit (getrlimit(2), RLIMIT_DATA); elsewhere this does nothing.
    """
    taken = _data_size()
    if taken is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = min([taken + more, *(bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_size() -> int | None:
    """Return the size of this process's data and stacks in bytes; None if the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
