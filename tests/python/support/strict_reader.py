"""A reader of CSV that follows RFC 4180 to the letter, one character at a time: what a loaded file is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from dpe_cli.blocks.csv_grammar import Dialect


@dataclass(frozen=True)
class ReadRecord:
    """A record as it was delivered, and its fields; None if it is refused. A field that was quoted is never null."""

    line: int
    raw: bytes
    fields: tuple[bytes, ...] | None
    are_quoted: tuple[bool, ...] = ()


class _Refused(Exception):  # noqa: N818 not an error
    """A quote does not enclose a whole field."""


def read(data: bytes, dialect: Dialect) -> list[ReadRecord]:
    """
    Return the records of a file.

    A record is refused if a quoted field is not closed, or is followed by anything but a delimiter or the end of the record, or if a
    carriage return ends nothing. If quotes are to blame, it ends with its first line.
    """
    if data and not data.endswith(b"\n"):
        data += b"\n"
    records: list[ReadRecord] = []
    start, line = 0, 1
    while start < len(data):
        try:
            end, fields, are_quoted = _record(data, start, dialect)
        except _Refused:
            end, fields, are_quoted = data.index(b"\n", start) + 1, None, ()
        records.append(ReadRecord(line, data[start:end], fields, are_quoted))
        line += data.count(b"\n", start, end)
        start = end
    return records


def _record(data: bytes, position: int, dialect: Dialect) -> tuple[int, tuple[bytes, ...] | None, tuple[bool, ...]]:
    delimiter, quote = dialect.delimiter.encode(), dialect.quote.encode()
    fields: list[bytes] = []
    are_quoted: list[bool] = []
    has_stray_return = False
    while True:
        is_quoted = bool(quote) and data[position : position + 1] == quote
        if is_quoted:
            field, position = _quoted(data, position + 1, quote, dialect.escape.encode())
        else:
            field = b""
            while data[position : position + 1] not in (delimiter, b"\n"):
                field += data[position : position + 1]
                position += 1
            if data[position : position + 1] == b"\n":
                field = field.removesuffix(b"\r")
            has_stray_return = has_stray_return or b"\r" in field
        fields.append(field)
        are_quoted.append(is_quoted)
        if is_quoted and data[position : position + 2] == b"\r\n":
            position += 1
        if data[position : position + 1] == b"\n":
            return position + 1, None if has_stray_return else tuple(fields), tuple(are_quoted)
        if data[position : position + 1] != delimiter:
            raise _Refused
        position += 1


def _quoted(data: bytes, position: int, quote: bytes, escape: bytes) -> tuple[bytes, int]:
    field = b""
    while position < len(data):
        character, following = data[position : position + 1], data[position + 1 : position + 2]
        if character == escape and following and following in (quote, escape):
            field += following
            position += 2
            continue
        position += 1
        if character == quote:
            return field, position
        field += character
    raise _Refused
