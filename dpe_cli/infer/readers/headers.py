"""Whether the first record of a file names its columns, and what is wrong with a header that does not fit the records below it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from dpe_cli.blocks.csv_grammar import Dialect, Grammar, starts_of_fields
from dpe_cli.blocks.strict_csv import StrictReader
from dpe_cli.errors import InputError
from dpe_cli.words import plural

GUESSED = "whether the first record is a header is a guess, because all below it is text: {}"
# Values that never occur in a header: numbers, dates, times, truth values.
_VALUE = re.compile(rb"\s*[-+]?(\d[\d.,:/eE+-]*|\d{4}-\d\d-\d\d.*|true|false)\s*", re.IGNORECASE)
# Names that look like codes.
_USUAL_NAMES = frozenset({b"id", b"no", b"nr", b"code", b"key", b"name", b"type", b"date", b"city", b"zip", b"iso"})
_CLASSES = ((rb"[A-Z]", b"A"), (rb"[a-z\x80-\xff]", b"a"), (rb"\d", b"9"))
# With one of these, the lengths of the parts mean nothing: numbers of orders, addresses, times.
_OF_VALUES = re.compile(rb"[9@:/]")
_FIRST_RECORDS = 20


def looks_like_header(records: Sequence[Sequence[bytes]]) -> tuple[bool, bool]:
    """
    Return whether the first record names the columns, and whether that is a guess.

    It names them if it contains no values and there are values below one of its fields. If all are texts, it is taken for a header
    unless a name is empty, repeated, occurs below, or has the shape of what is below it.
    """
    first, *others = records
    if any(_VALUE.fullmatch(name) for name in first):
        return False, False
    below = [[record[place] for record in others if len(record) > place] for place in range(len(first))]
    if any(_are_values(column) for column in below):
        return True, False
    names = [name.strip() for name in first]
    if not all(names) or len(set(names)) < len(names):
        return False, True
    again = sum(name in column for name, column in zip(first, below, strict=True))
    alike = sum(_is_alike(name, column) for name, column in zip(names, below, strict=True))
    return not others or (again * 2 < len(first) and alike * 2 < len(first)), True


def _are_values(column: Sequence[bytes]) -> bool:
    filled = [value for value in column if value.strip()]
    return bool(filled) and all(map(_VALUE.fullmatch, filled))


def _is_alike(name: bytes, column: Sequence[bytes]) -> bool:
    """Return whether a name has the one shape that all values below it have."""
    shapes = {_shape(value.strip()) for value in column if value.strip()}
    return len(shapes) == 1 and len(set(column)) > 1 and _shape(name) in shapes and name.lower() not in _USUAL_NAMES


def _shape(text: bytes) -> bytes:
    """Return the classes of a text's characters: `AA` for a code of two letters, `A-9` for any number of an order."""
    for characters, kind in _CLASSES:
        text = re.sub(characters, kind, text)
    return re.sub(rb"(.)\1+", rb"\1", text) if _OF_VALUES.search(text) else text


def usual_width(records: Sequence[Sequence[bytes]]) -> tuple[int, int]:
    """Return how many fields most records have, and how many records have so many; blank lines do not count."""
    widths = Counter(len(record) for record in records if record != [b""])
    return widths.most_common(1)[0] if widths else (0, 0)


def check_first_line(text: bytes, dialect: Dialect, *, location: str) -> None:
    """
    Check that the first record of a CSV file ends where it seems to, whether or not it is a header.

    Raises:
        InputError: it does not; with line and character.
    """
    line = text.partition(b"\n")[0]
    record, end = StrictReader(dialect).first(text if b"\n" in text else text + b"\n")
    if not record:
        _, misplaced = starts_of_fields(line.decode("latin-1"), dialect)
        what = "does not enclose a whole field" if end else "is never closed"
        raise _at(location, line, misplaced or 0, f"the quote that opens here {what}; ask the sender to correct it")
    if b"\r" in Grammar(dialect).outlines(record)[0]:
        what = "a carriage return without a line feed; convert the line ends to line feeds"
        raise _at(location, line, line.index(b"\r"), what)


def check(text: bytes, records: Sequence[Sequence[bytes]], dialect: Dialect, *, location: str) -> None:
    """
    Check that the header of a CSV file has as many fields as most records.

    Raises:
        InputError: it has not; with line and character.
    """
    line = text.partition(b"\n")[0]
    first, *others = records
    width, count = usual_width(others)
    filled = sum(record != [b""] for record in others)
    if width == len(first) or count * 2 <= filled:
        return
    starts, _ = starts_of_fields(line.decode("latin-1"), dialect)
    offset = starts[width] if width < len(starts) else len(line)
    better = next((number for number, record in enumerate(others[:_FIRST_RECORDS], 2) if len(record) == width), None)
    is_preamble = better is not None and better > 2
    lines = f"if line {better} is the header, ask the sender to leave out the lines before it"
    advice = lines if is_preamble else "ask the sender to correct it"
    what = f"the header has {plural(len(first), 'field')}, but {count:,} of the first {plural(filled, 'record')} have {width:,}"
    raise _at(location, line, offset, f"{what}; {advice}, or read the file without a header: --no-header")


def _at(location: str, line: bytes, offset: int, what: str) -> InputError:
    return InputError(f"{location}, line 1, character {len(line[:offset].decode(errors='replace')) + 1}: {what}")
