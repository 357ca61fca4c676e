"""Bodies that are compressed for their transfer (RFC 9110, section 8.4): decoded once, and no further than they may be long."""

from __future__ import annotations

import zlib

ACCEPTED = "gzip, deflate"

_PLAIN = {"", "identity"}
# zlib recognizes its own format and that of gzip.
_OF_ZLIB = {"gzip", "x-gzip", "deflate"}
_ANY_HEADER = 32 + zlib.MAX_WBITS
# How much is decompressed at once: what follows the end of each member is copied.
_SLICE_BYTES = 8 * 1024


class EncodingError(Exception):
    """A body has an encoding that was not asked for, or several of them, which can make gigabytes of a few kilobytes."""


def decoded(body: bytes, encoding: str, *, most: int) -> bytes:
    """
    Return a body as it was before its transfer; if it is longer than `most` bytes, only one byte more than that.

    Raises:
        EncodingError: it cannot be decoded, because of its encoding.
        ValueError: it is broken, or ends early.
    """
    encoding = encoding.strip().lower()
    if encoding in _PLAIN or not body:
        return body
    if encoding not in _OF_ZLIB:
        raise EncodingError(encoding)
    try:
        return _inflated(body, most, _ANY_HEADER)
    except zlib.error as error:
        if encoding != "deflate":
            raise ValueError(str(error)) from error
    try:
        # Many servers leave zlib's header out.
        return _inflated(body, most, -zlib.MAX_WBITS)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def _inflated(body: bytes, most: int, bits: int) -> bytes:
    """Return the content of all members, of which gzip may have several."""
    found: list[bytes] = []
    size = 0
    decompressor = zlib.decompressobj(bits)
    for start in range(0, len(body), _SLICE_BYTES):
        data = body[start : start + _SLICE_BYTES]
        while data:
            if decompressor.eof:
                # A body may be padded with zeros.
                data = data.lstrip(b"\0")
                if not data:
                    break
                decompressor = zlib.decompressobj(bits)
            found.append(decompressor.decompress(data, most + 1 - size))
            size += len(found[-1])
            if size > most:
                return b"".join(found)
            data = decompressor.unused_data
    if not decompressor.eof:
        raise ValueError("the compressed data ends early")
    return b"".join(found)
