"""A tap's log, without secrets: shown as it arrives if requested, and its last lines in errors."""

from __future__ import annotations

import codecs
import logging
import os
import selectors
import threading
import time
from collections import deque
from typing import IO

from dpe_cli.safe_text.redaction import HIDDEN, LONGEST_SECRET, redact, redact_end, redact_start

_LAST_LINES = 8
_SHOWN_CHARACTERS = 300
_CHUNK_BYTES = 64 * 1024
_KEPT_BYTES = 1024 * 1024
_MOST_WAITING = 512 * 1024
# Text that arrives sooner may continue a message, and a secret that is broken over two lines.
_PAUSE_SECONDS = 0.1
_SECONDS_TO_END = 1
_MOST_SECONDS_TO_END = 30

_log = logging.getLogger(__name__)


class TapLog:
    """Reads a tap's log until its end; `where` is what messages call the tap."""

    def __init__(self, errors: IO[bytes], *, where: str) -> None:
        self._where = where
        self._kept: deque[bytes] = deque()
        self._is_cut = False
        self._read = 0
        self._listener = threading.Thread(target=self._listen, args=[errors], daemon=True)
        self._listener.start()

    def wait(self) -> None:
        """Wait for its end as long as there is something to read, for the last lines. A process that it started may keep it open."""
        read, until = -1, time.monotonic() + _MOST_SECONDS_TO_END
        while self._listener.is_alive() and read != self._read and time.monotonic() < until:
            read = self._read
            self._listener.join(timeout=_SECONDS_TO_END)

    def last_lines(self) -> list[str]:
        """Return the last lines, redacted and shortened."""
        kept = b"".join(tuple(self._kept)).decode(errors="replace")
        log = redact_end(kept, LONGEST_SECRET) if self._is_cut else redact(kept)
        lines = [line.rstrip() for line in log.splitlines()]
        return [line[:_SHOWN_CHARACTERS] for line in lines if line][-_LAST_LINES:]

    def _listen(self, errors: IO[bytes]) -> None:
        shown = _Shown(self._where) if _log.isEnabledFor(logging.DEBUG) else None
        size = 0
        with errors, selectors.DefaultSelector() as selector:
            selector.register(errors, selectors.EVENT_READ)
            while chunk := os.read(errors.fileno(), _CHUNK_BYTES):
                self._kept.append(chunk)
                self._read += len(chunk)
                size += len(chunk)
                while size - len(self._kept[0]) > _KEPT_BYTES:
                    size -= len(self._kept.popleft())
                    self._is_cut = True
                if shown:
                    shown.take(chunk, is_pause=not selector.select(_PAUSE_SECONDS))
        if shown:
            shown.end()


class _Shown:
    """Shows a log's lines as they arrive; text in which a secret may continue waits."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._waiting = ""
        self._line = ""
        self._skips = False

    def take(self, chunk: bytes, *, is_pause: bool) -> None:
        """Take a chunk; `is_pause`: the tap may pause after it."""
        text = self._decoder.decode(chunk)
        if self._skips:
            _, end, text = text.partition("\n")
            self._skips = not end
        self._waiting += text
        if is_pause and self._waiting.endswith("\n"):
            self._show(redact(self._waiting))
            self._waiting = ""
        elif len(self._waiting) > 2 * LONGEST_SECRET:
            start, self._waiting = redact_start(self._waiting, LONGEST_SECRET)
            if len(self._waiting) > _MOST_WAITING:
                # An endless run of base64 that contains a secret: the rest of the line is not shown.
                start, self._waiting, self._skips = f"{start}{HIDDEN}\n", "", True
            self._show(start)

    def end(self) -> None:
        """Show the rest."""
        self._show(redact(self._waiting + self._decoder.decode(b"", final=True)) + "\n")

    def _show(self, text: str) -> None:
        *lines, self._line = f"{self._line}{text}".split("\n")
        if len(self._line) > _CHUNK_BYTES:
            lines.append(self._line)
            self._line = ""
        for line in lines:
            if line.strip():
                _log.debug("%s: %s", self._where, line.rstrip())
