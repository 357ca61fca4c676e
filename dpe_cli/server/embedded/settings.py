"""The embedded server's settings: durable, tuned for bulk loading, and sized for the machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from dpe_cli import machine

MEGABYTE = 1024 * 1024
GIGABYTE = 1024 * MEGABYTE

TEMPLATE = """\
# Written by dpe at each start of the server: changes here are lost. Use ALTER SYSTEM, which overrides these settings.

# Reachable only through the socket, whose directory only its owner can enter.
listen_addresses = ''
unix_socket_directories = '{socket_directory}'
unix_socket_permissions = 0700
port = {port}

# Durable: committed work survives a crash.
fsync = on
full_page_writes = on
synchronous_commit = on

# For bulk loading: COPY into a table of the same transaction writes no WAL, and checkpoints are far apart.
wal_level = minimal
max_wal_senders = 0
max_wal_size = {max_wal_size}MB
checkpoint_timeout = 15min

# Sized for the machine.
shared_buffers = {shared_buffers}MB
effective_cache_size = {effective_cache_size}MB
maintenance_work_mem = {maintenance_work_mem}MB
work_mem = {work_mem}MB
max_parallel_workers_per_gather = {parallel_workers}
{dynamic_shared_memory}
# The same on every machine.
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'ISO, YMD'
lc_messages = 'C'

# The log names no row of a failed statement: log_error_verbosity leaves out DETAIL and CONTEXT.
log_error_verbosity = terse
log_line_prefix = '%m [%p] %q%u@%d '
cluster_name = 'dpe'
"""


def settings(*, socket_directory: Path, port: int, data_directory: Path) -> str:
    """Return the text of the server's configuration file."""
    memory = machine.memory()
    free_disk = shutil.disk_usage(data_directory).free
    return TEMPLATE.format(
        socket_directory=str(socket_directory).replace("'", "''"),
        port=port,
        # Several gigabytes, so that a load does not wait for checkpoints, but no more than the disk can spare.
        max_wal_size=_between(1 * GIGABYTE, free_disk // 10, 8 * GIGABYTE),
        # The kernel's cache does the rest; more would take memory from other programs.
        shared_buffers=_between(32 * MEGABYTE, memory // 8, 1 * GIGABYTE),
        effective_cache_size=_between(128 * MEGABYTE, memory // 2, 64 * GIGABYTE),
        maintenance_work_mem=_between(64 * MEGABYTE, memory // 16, 1 * GIGABYTE),
        work_mem=_between(4 * MEGABYTE, memory // 256, 64 * MEGABYTE),
        # PostgreSQL's default of 2, if there are processors for them besides the session's own.
        parallel_workers=max(1, min(2, machine.cores() - 1)),
        dynamic_shared_memory=_dynamic_shared_memory(),
    )


def _between(least: int, wanted: int, most: int) -> int:
    """Return the wanted bytes within bounds, in megabytes."""
    return max(least, min(wanted, most)) // MEGABYTE


def _dynamic_shared_memory() -> str:
    """Keep parallel queries out of a small /dev/shm: containers get 64 MB by default, where a parallel hash join fails."""
    shared = machine.shared_memory()
    return "dynamic_shared_memory_type = sysv\n" if shared is not None and shared < GIGABYTE else ""
