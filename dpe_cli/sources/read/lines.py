"""Chunks of text as whole lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dpe_cli.errors import InputError


def whole_lines(chunks: Iterable[bytes], *, location: str, max_record_bytes: int) -> Iterator[tuple[bytes, int]]:
    """
    Yield parts of whole lines, each with the number of its first line; only the very last line may be unterminated.

    Raises:
        InputError: a line is longer than `max_record_bytes`.
    """
    line = 1
    pending = b""
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            data = b"".join((pending, memoryview(chunk)[:end]))
            _check(data, line, location, max_record_bytes)
            yield data, line
            line += data.count(b"\n")
            pending = chunk[end:]
        else:
            pending += chunk
            _check(pending, line, location, max_record_bytes)
    if pending:
        _check(pending, line, location, max_record_bytes)
        yield pending, line


def _check(data: bytes, line: int, location: str, max_record_bytes: int) -> None:
    if len(data) <= max_record_bytes:
        return
    for number, text in enumerate(data.split(b"\n")):
        if len(text) > max_record_bytes:
            raise InputError(
                f"{location}, line {line + number}: the line is longer than {max_record_bytes:,} bytes; "
                "check the line ends and file_format, or set max_record_bytes in the source's external block"
            )
