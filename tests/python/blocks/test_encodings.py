"""To UTF-8 and, if a record is rejected, back to the delivered bytes."""

from __future__ import annotations

import codecs
import random
from encodings.aliases import aliases

import pytest

from dpe_cli.blocks.encodings import invalid_bytes, readable, to_utf8, with_byte_order
from dpe_cli.errors import ProjectError
from dpe_cli.sources.options.files import CsvFiles
from dpe_cli.sources.options.parse import SourceDeclaration, parse


def _transcoded(data: bytes, encoding: str, *, chunk: int = 3) -> bytes:
    return b"".join(to_utf8((data[start : start + chunk] for start in range(0, len(data), chunk)), encoding))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "cp1252", "iso8859-15", "shift_jis", "gb18030"])
def test_text_becomes_utf_8(encoding: str) -> None:
    """Even if a chunk ends within a character."""
    text = "1,ツア\n2,漢字\n" if encoding in {"shift_jis", "gb18030"} else "1,é€\n2,ü\n"

    assert text.encode() == _transcoded(text.encode(encoding), encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-be"])
def test_a_byte_order_mark_is_not_text(encoding: str) -> None:
    """Only the first one; within the input it is an ordinary character."""
    data = "\ufeffid\n\ufeff1\n".encode(encoding)

    assert "id\n\ufeff1\n".encode() == _transcoded(data, encoding, chunk=100)


@pytest.mark.parametrize(
    ("encoding", "start", "ordered"),
    [
        ("utf-16", codecs.BOM_UTF16_BE, "utf-16-be"),
        ("utf-16", codecs.BOM_UTF16_LE, "utf-16-le"),
        ("utf-16", b"i\0", "utf-16-le"),
        ("utf-32", codecs.BOM_UTF32_BE, "utf-32-be"),
        ("utf-8", codecs.BOM_UTF16_BE, "utf-8"),
    ],
)
def test_the_byte_order_is_that_of_the_mark(encoding: str, start: bytes, ordered: str) -> None:
    """For encodings that have two."""
    assert ordered == with_byte_order(encoding, start)


@pytest.mark.parametrize(
    ("encoding", "delivered", "invalid", "shown"),
    [
        ("utf-8", b"1,\xff\xfe\n", b"\xff", "1,\\xff\\xfe\n"),
        ("utf-8", b"1,caf\xe9,2\n", b"\xe9", "1,caf\\xe9,2\n"),
        ("cp1252", b"1,\x81\x80\n", b"\x81", "1,\\x81€\n"),
        ("utf-16-le", "1,a".encode("utf-16-le") + b"\x00\xd8" + "\n".encode("utf-16-le"), b"\x00\xd8", "1,a\\x00\\xd8\n"),
        ("utf-16-be", "1,a".encode("utf-16-be") + b"\xd8\x00" + "\n".encode("utf-16-be"), b"\xd8\x00", "1,a\\xd8\\x00\n"),
        ("utf-16-le", "1,a\n".encode("utf-16-le") + b"x", b"x", "1,a\n\\x78"),
        ("shift_jis", b"\x82\xff,a\n", b"\x82\xff", "\\x82\\xff,a\n"),
    ],
)
def test_invalid_bytes_are_returned_as_delivered(encoding: str, delivered: bytes, invalid: bytes, shown: str) -> None:
    """The server gets bytes that it refuses, and people see \\xNN."""
    data = _transcoded(delivered, encoding, chunk=100)

    with pytest.raises(UnicodeDecodeError):
        data.decode()
    assert invalid == invalid_bytes(data, encoding)
    assert (shown, delivered) == readable(data, encoding)


@pytest.mark.parametrize("encoding", sorted(set(aliases.values())))
def test_any_bytes_in_any_encoding_can_be_shown(encoding: str) -> None:
    """In each encoding that a source may declare: a broken file is never worse than rejects."""
    try:
        external = {"location": "a.csv", "file_format": "csv", "disposition": "append", "encoding": encoding}
        options = parse(external, declaration=SourceDeclaration("shop.orders", "shop.yml:5"))
    except ProjectError:
        return
    assert isinstance(options, CsvFiles)
    name = options.encoding
    chance = random.Random(f"bytes in {encoding}")
    for _ in range(100):
        delivered = "1,é".encode(name, errors="ignore") + chance.randbytes(30) + b"\n"
        for record in _transcoded(delivered, with_byte_order(name, delivered)).split(b"\n"):
            shown, _ = readable(record, name)
            assert shown.isprintable() or shown.encode()


def test_text_needs_no_bytes() -> None:
    """Except a NUL byte, which PostgreSQL's text cannot hold."""
    assert ("1,é", None) == readable("1,é".encode(), "cp1252")
    assert ("1,a\\x00é", b"1,a\0\xe9") == readable("1,a\0é".encode(), "cp1252")
    assert b"" == invalid_bytes(b"1,a\0", "utf-8")
