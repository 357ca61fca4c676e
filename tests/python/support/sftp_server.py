"""OpenSSH's SFTP server on loopback, if Debian's package is installed."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.local_ports import wait_for

# Debian keeps it where only root looks.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


@dataclass(frozen=True)
class SftpServer:
    """A server that serves `directory` to one user; `key` is the file with that user's private key, `host_key` the server's public one."""

    port: int
    directory: Path
    key: Path
    host_key: str

    def location(self, pattern: str) -> str:
        """Return the location of files in the directory."""
        return f"sftp://{getpass.getuser()}@127.0.0.1:{self.port}{self.directory}/{pattern}"


@pytest.fixture(scope="session")
def sftp_server(scratch: Path) -> Iterator[SftpServer]:
    """Run the server, with keys of its own."""
    pytest.importorskip("paramiko", reason="the extra sftp is not installed; run `pip install 'data-provisioning-engine[sftp]'`")
    program, keygen = shutil.which("sshd", path=_PATH), shutil.which("ssh-keygen", path=_PATH)
    if program is None or keygen is None:
        pytest.skip("OpenSSH's server is not installed; on Debian: apt-get install openssh-server")
    directory = scratch / "sftp"
    (directory / "files").mkdir(parents=True)
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    shutil.copy(directory / "user.pub", directory / "authorized")
    if os.geteuid() == 0:
        # The package makes it at the start of its service.
        Path("/run/sshd").mkdir(exist_ok=True)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    (directory / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory / 'host'}\nAuthorizedKeysFile {directory / 'authorized'}\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", directory / "config"], stderr=log)
    try:
        wait_for(port, process, "OpenSSH's server")
        yield SftpServer(port, directory / "files", directory / "user", (directory / "host.pub").read_text().rpartition(" ")[0])
    finally:
        process.terminate()
        process.wait()
