"""PgBouncer on loopback, in front of the tests' PostgreSQL, if Debian's package is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dpe_cli.server.embedded.system_user import server_user
from dpe_cli.server.server import Server
from support.local_ports import wait_for

# Debian keeps it where only root looks.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
# One session of each login for all of its clients, so that each transaction finds what the one before left.
_CONFIGURATION = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listens}
unix_socket_dir =
auth_type = trust
auth_file = {logins}
pool_mode = {mode}
default_pool_size = 1
ignore_startup_parameters = {ignores}
logfile = {log}
{user}
"""


@contextmanager
def pgbouncer(directory: Path, server: Server, *logins: str, mode: str = "transaction", ignores: str = "") -> Iterator[Server]:
    """Run PgBouncer for these logins, and give the server as its clients reach it; `ignores` are parameters of clients that it drops."""
    program = shutil.which("pgbouncer", path=_PATH)
    if program is None:
        pytest.skip("PgBouncer is not installed; on Debian: apt-get install pgbouncer")
    # Like PostgreSQL, it does not run as root, and only the user of the server may enter the directory of its socket.
    user = server_user(Path(server.host).parent)
    user.make_directory(directory)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    configuration = _CONFIGURATION.format(
        host=server.host,
        port=server.port,
        listens=port,
        logins=directory / "logins",
        mode=mode,
        ignores=ignores,
        log=directory / "log",
        user=f"user = {user.name}" if user.is_other else "",
    )
    user.write(directory / "logins", "".join(f'"{login}" ""\n' for login in logins))
    user.write(directory / "log", "")
    user.write(directory / "configuration", configuration)
    process = subprocess.Popen([program, "-q", directory / "configuration"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process, "PgBouncer")
        yield Server("127.0.0.1", port, server.database, server.admin_user, is_embedded=False)
    finally:
        process.terminate()
        process.wait()
