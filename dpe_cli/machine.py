"""
What depends on the machine and its operating system: processors, memory, processes, locks, pipes and open files.

Everything that Linux and macOS do differently is here, and nowhere else in dpe_cli (tests/python/house/test_platforms.py).
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# A socket's path may have 103 bytes on macOS and 107 on Linux.
SOCKET_PATH_LIMIT = 100
# On Linux, what the kernel tells of each process.
_PROCESSES = Path("/proc")
# On Linux, where PostgreSQL keeps the memory that parallel processes share.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 only inspected
# The limit of a container.
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
_MEMORY_IF_UNKNOWN = 4 * 1024**3


def is_supported() -> bool:
    """Return whether dpe runs on this operating system. Windows has neither these locks nor users that PostgreSQL could run as."""
    return importlib.util.find_spec("fcntl") is not None


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Return the memory of the machine, or of the container, in bytes."""
    whole = _MEMORY_IF_UNKNOWN
    with suppress(ValueError, OSError):
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _MEMORY_LIMIT.read_text().strip()
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
    import resource

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
        return int((_PROCESSES / "self" / "statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def shared_memory() -> int | None:
    """Return the size of the file system for shared memory, in bytes; None if the system has none."""
    try:
        found = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return None
    return found.f_frsize * found.f_blocks


@contextmanager
def locked(directory: Path, *, waits: bool = True) -> Iterator[None]:
    """
    Hold the lock of a directory, for which other processes wait. Programs that the block starts do not inherit it.

    Raises:
        BlockingIOError: another process holds it, and this one does not wait.
    """
    import fcntl

    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def enlarge_pipe(descriptor: int, size: int) -> bool:
    """Let a pipe hold `size` bytes; return whether the system can do that, and allows it to this user."""
    import fcntl

    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return False
    with suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, size)
        return True
    return False


def path_of_open_file(descriptor: int) -> Path | None:
    """Return a path that leads to an open file itself, whatever takes its place in its directory; None if the system has none."""
    # macOS has /dev/fd, whose readers would share one position in the file.
    path = _PROCESSES / "self" / "fd" / str(descriptor)
    return path if path.exists() else None


def is_running(pid: int, program: str) -> bool:
    """Return whether a process runs a program whose name begins so; one that has ended, but is still listed, does not."""
    if _has_processes():
        try:
            name, _, rest = (_PROCESSES / str(pid) / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            return False
        state = rest.strip()
    else:
        state, _, name = _told_by_ps(pid, "state", "comm").partition(" ")
    return not state.startswith("Z") and Path(name.strip()).name.startswith(program)


def is_server_of(pid: int, data_directory: Path) -> bool:
    """Return whether a process is a PostgreSQL server that works in a data directory."""
    if not is_running(pid, "postgres"):
        return False
    if _has_processes():
        with suppress(OSError):
            return (_PROCESSES / str(pid) / "cwd").samefile(data_directory)
        return False
    # pg_ctl names it last.
    return _told_by_ps(pid, "args").endswith(f" -D {data_directory}")


def _has_processes() -> bool:
    return (_PROCESSES / "self" / "stat").exists()


def _told_by_ps(pid: int, *columns: str) -> str:
    """Return what ps tells of a process; "" if it does not exist."""
    # One -o for each: on macOS, the heading that follows a = includes the commas after it. -ww: lines of any length.
    wanted = [argument for column in columns for argument in ("-o", f"{column}=")]
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG"} or name.startswith("LC_")}
    return subprocess.run(
        ["ps", "-ww", *wanted, "-p", str(pid)], env=environment, check=False, capture_output=True, text=True, errors="replace"
    ).stdout.strip()
