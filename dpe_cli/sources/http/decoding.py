"""Bodies that are compressed for their transfer (RFC 9110, section 8.4): decoded once, and no further than they may be long."""

from __future__ import annotations

import zlib

ACCEPTED = "gzip, deflate"

_PLAIN = {"", "identity"}
# zlib recognizes its own format and that of gzip.
_OF_ZLIB = {"gzip", "x-gzip", "deflate"}
_ANY_HEADER = 32 + zlib.MAX_WBITS


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
    while body and size <= most:
        decompressor = zlib.decompressobj(bits)
        found.append(decompressor.decompress(body, most + 1 - size))
        size += len(found[-1])
        if not decompressor.eof and size <= most:
            raise ValueError("the compressed data ends early")
        body = decompressor.unused_data.lstrip(b"\0")
    return b"".join(found)
