"""The content of a pipe, in chunks as large as a block: each becomes a COPY of its own."""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Iterator

from dpe_cli import machine
from dpe_cli.blocks.block import BLOCK_BYTES

# Linux allows this size to any user (pipe(7)); a writer that is ahead waits less often.
_PIPE_BYTES = 1024 * 1024

# Writers write a few kilobytes at a time. A reader that takes each of these at once is woken, and wakes them, 30,000 times per
# 200 MB, on the processors that the servers use; one that pauses finds more, and the pipe holds what arrives meanwhile.
_WORTHWHILE_BYTES = 128 * 1024
_PAUSE_SECONDS = 0.001
# poll(2) takes milliseconds in an int.
_LONGEST_WAIT = 2**31 - 1


class SilentError(Exception):
    """The writers of a pipe wrote nothing for too long."""


def chunks(descriptor: int, *, timeout: float = math.inf) -> Iterator[bytes]:
    """
    Yield the data from a pipe, until its writers have closed it.

    Raises:
        SilentError: they wrote nothing for `timeout` seconds while this waited for them.
    """
    # A small pipe would be full long before the pause is over.
    pause = _PAUSE_SECONDS if machine.enlarge_pipe(descriptor, _PIPE_BYTES) else 0.0
    buffer = memoryview(bytearray(BLOCK_BYTES))
    filled = 0
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    milliseconds = int(min(timeout * 1000, _LONGEST_WAIT))
    while True:
        if not waiting.poll(milliseconds):
            raise SilentError
        count = os.readv(descriptor, [buffer[filled:]])
        if not count:
            break
        filled += count
        if pause and count < _WORTHWHILE_BYTES:
            time.sleep(pause)
        if filled == BLOCK_BYTES:
            yield bytes(buffer)
            filled = 0
    if filled:
        yield bytes(buffer[:filled])
