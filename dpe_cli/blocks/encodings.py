"""
From any encoding to UTF-8, and back to the delivered bytes when a record is rejected.

Bytes that are invalid in their encoding become lone surrogates, U+DC00 plus the byte. UTF-8 has no such characters, so
PostgreSQL refuses exactly the records that hold them, and the delivered bytes can be recovered.
"""

from __future__ import annotations

import codecs
import re
import threading
from collections.abc import Iterator
from itertools import chain

# Read as they are: it is for the server to refuse what is invalid.
_PASSED_ON = {"utf-8", "utf-8-sig", "ascii"}
_KEPT = re.compile("[\udc00-\udcff]+")
_BYTE_ORDER_MARKS = {
    "utf-16": ((codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF16_LE, "utf-16-le")),
    "utf-32": ((codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF32_LE, "utf-32-le")),
}

_noted = threading.local()


def with_byte_order(encoding: str, start: bytes) -> str:
    """Add the byte order to an encoding, according to the input's first bytes; little-endian if they do not say."""
    orders = _BYTE_ORDER_MARKS.get(encoding, ())
    for mark, ordered in orders:
        if start.startswith(mark):
            return ordered
    return f"{encoding}-le" if orders else encoding


def to_utf8(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Transcode to UTF-8 without a byte order mark."""
    decoder = None if encoding in _PASSED_ON else codecs.getincrementaldecoder(encoding)(errors="dpe_keep_bytes")
    is_first = True
    for chunk in chain(chunks, [b""]):
        data = chunk if decoder is None else decoder.decode(chunk, final=not chunk).encode(errors="surrogatepass")
        if is_first and data:
            data = data.removeprefix(codecs.BOM_UTF8)
            is_first = False
        if data:
            yield data


def invalid_bytes(data: bytes, encoding: str) -> bytes:
    """Return the first invalid bytes as they were delivered; nothing if all of `data` is text."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        kept = None if encoding in _PASSED_ON else _KEPT.search(data.decode(errors="surrogatepass"))
        return _bytes_of(kept[0]) if kept else data[error.start : error.end]
    return b""


def invalid_offsets(data: bytes) -> list[int]:
    """Return the offsets in `data` of bytes that are not UTF-8, including those that were invalid in the original encoding."""
    offsets: list[int] = []
    if data.isascii():
        return offsets
    _noted.offsets = offsets
    data.decode(errors="dpe_note_offsets")
    return offsets


def readable(data: bytes, encoding: str) -> tuple[str, bytes | None]:
    r"""Return text for people, with \xNN for invalid bytes; if there are any, also the bytes as they were delivered."""
    if b"\0" not in data and not invalid_bytes(data, encoding):
        return data.decode(), None
    if encoding in _PASSED_ON:
        return data.decode(errors="backslashreplace").replace("\0", r"\x00"), data
    kept = data.decode(errors="surrogatepass")
    shown = _KEPT.sub(lambda run: "".join(f"\\x{byte:02x}" for byte in _bytes_of(run[0])), kept)
    parts = _KEPT.split(kept)
    runs = [*map(_bytes_of, _KEPT.findall(kept)), b""]
    delivered = b"".join(part.encode(encoding, errors="dpe_give_back") + run for part, run in zip(parts, runs, strict=True))
    return shown.replace("\0", r"\x00"), delivered


def _bytes_of(kept: str) -> bytes:
    return bytes(ord(character) - 0xDC00 for character in kept)


def _keep_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


def _give_back(error: UnicodeError) -> tuple[bytes, int]:
    """Turn back into bytes what a decoder let through as the characters of the same numbers (ISO 2022 does so with 0x80 to 0x9F)."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return error.object[error.start : error.end].encode("latin-1"), error.end


def _note_offsets(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    _noted.offsets.append(error.start)
    return "", error.end


codecs.register_error("dpe_keep_bytes", _keep_bytes)
codecs.register_error("dpe_give_back", _give_back)
codecs.register_error("dpe_note_offsets", _note_offsets)
