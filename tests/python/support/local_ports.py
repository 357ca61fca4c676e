"""Servers of other projects that tests start on a port of this machine."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import suppress

import pytest

_STARTING_SECONDS = 10.0


def wait_for(port: int, process: subprocess.Popen[bytes], name: str) -> None:
    """Wait until a server accepts connections; skip the test if it does not start here."""
    deadline = time.monotonic() + _STARTING_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.skip(f"{name} does not start here (exit status {process.returncode})")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    pytest.skip(f"{name} does not answer")
