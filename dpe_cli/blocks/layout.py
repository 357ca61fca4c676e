"""
The layout of a block: its lines, which of them form one record, and which records certainly cannot be loaded.

Computed for a whole block at once, without an object per field or line: a file with a bad record in every block should
not take much longer than a good one.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from dpe_cli.blocks import encodings
from dpe_cli.blocks.csv_grammar import Grammar

_PIECE = 4096
_FEW = 4
_ALL_BUT_LINE_ENDS = bytes(set(range(256)) - set(b"\0\n"))
# Matches outlines in which each right one has become a NUL: a wrong one ends with a line feed, or with the right one as its suffix.
# The pattern starts with a set of bytes, which the regex engine finds faster than an alternation.
_WRONG_OUTLINE = re.compile(rb"[^\0](?:(?<=\n)|[^\0\n]*[\0\n])")


@dataclass(frozen=True)
class LocatedRecord:
    """A record of a block: the line on which it starts, counted from 0, and its bytes as delivered."""

    line: int
    raw: bytes


class _LineIndex:
    """Where the lines of data start. Line ends are counted once, per piece, so that finding a line searches only one piece."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        counts = (data.count(b"\n", start, start + _PIECE) for start in range(0, len(data), _PIECE))
        self._before = list(accumulate(counts, initial=0))

    def start(self, line: int) -> int:
        """Return the offset of a line; past the last line, the end of the data."""
        if not line:
            return 0
        piece = bisect_left(self._before, line) - 1
        start, count, size = piece * _PIECE, line - self._before[piece], _PIECE
        while count > _FEW:
            size //= 2
            seen = self._data.count(b"\n", start, start + size)
            if seen < count:
                start, count = start + size, count - seen
        return self.after(start, count)

    def after(self, start: int, count: int) -> int:
        """Return the offset after this many lines."""
        for _ in range(count):
            start = self._data.index(b"\n", start) + 1
        return start

    def at(self, offset: int) -> int:
        """Return the line that contains the byte at this offset."""
        piece = offset // _PIECE
        return self._before[piece] + self._data.count(b"\n", piece * _PIECE, offset)


@dataclass(frozen=True)
class BlockLayout:
    """
    The records of a block. `malformed` are those that are certainly bad, `kept` is the block without them.

    A malformed one has a different number of fields than the others, or bytes that are not text.
    """

    malformed: Sequence[LocatedRecord]
    kept: bytes
    _data: bytes
    # One byte per line: a line feed if it ends a record, NUL if the record continues; empty if each line is a record.
    _ends: bytes
    _lines: _LineIndex

    @classmethod
    def of(cls, data: bytes, grammar: Grammar, outline: bytes) -> BlockLayout | None:
        """Compute the layout of whole records, given the delimiters of each (`outline`); None if that takes a closer look."""
        structure = grammar.structure(data)
        if structure is None:
            return None
        ends = _ends_of_lines(structure)
        bad = _lines_of_records(_malformed(b"".join(structure[::2]), outline), ends)
        lines = _LineIndex(data)
        bad.update(_first_line(lines.at(offset), ends) for offset in encodings.invalid_offsets(data))
        malformed: list[LocatedRecord] = []
        kept: list[memoryview] = []
        kept_to = 0
        for line in sorted(bad):
            start, end = _span(lines, line, ends)
            malformed.append(LocatedRecord(line, data[start:end]))
            kept.append(memoryview(data)[kept_to:start])
            kept_to = end
        return cls(malformed, b"".join([*kept, memoryview(data)[kept_to:]]), data, ends, lines)

    def has_line(self, line: bytes) -> bool:
        """Return whether one of the lines equals this one, which ends with a line feed."""
        return self._data.startswith(line) or b"\n" + line in self._data

    @property
    def counts_otherwise(self) -> bool:
        """Whether COPY numbers the lines of `kept` differently: within the first record it counts only carriage returns, not line feeds."""
        if not self.kept:
            return False
        [first] = self.at_kept([0])
        return first.raw.count(b"\n") > 1 or b"\r" in first.raw.removesuffix(b"\n").removesuffix(b"\r")

    def at_kept(self, numbers: Sequence[int]) -> list[LocatedRecord]:
        """Return the records to which these lines of `kept`, counted from 0, belong."""
        found: list[LocatedRecord] = []
        removed = removed_lines = 0
        previous = 0
        for number in numbers:
            if number < previous:
                removed = removed_lines = 0
            while removed < len(self.malformed) and self.malformed[removed].line - removed_lines <= number:
                removed_lines += self.malformed[removed].raw.count(b"\n")
                removed += 1
            previous = number
            first = _first_line(number + removed_lines, self._ends)
            start, end = _span(self._lines, first, self._ends)
            found.append(LocatedRecord(first, self._data[start:end]))
        return found


def _span(lines: _LineIndex, first: int, ends: bytes) -> tuple[int, int]:
    """Return the start and end of the record that starts on a line."""
    start = lines.start(first)
    return start, lines.after(start, (ends.index(b"\n", first) if ends else first) - first + 1)


def _ends_of_lines(structure: Sequence[bytes]) -> bytes:
    """Return which lines end a record, given its parts alternately outside and inside quotes; empty if all lines do."""
    inside = b"\0".join(structure[1::2])
    if b"\n" not in inside:
        return b""
    parts = list(structure)
    # Inside quotes only line feeds count: delimiters are dropped, and commas then separate the parts for a moment.
    parts[1::2] = _line_feeds_only(inside).split(b",")
    return b"".join(parts).translate(None, _ALL_BUT_LINE_ENDS)


def _line_feeds_only(inside: bytes) -> bytes:
    return inside.translate(_TO_COMMAS, _ALL_BUT_LINE_ENDS)


# NUL, which separates the quoted parts, to a comma; a line feed to NUL.
_TO_COMMAS = bytes.maketrans(b"\0\n", b",\0")


def _first_line(line: int, ends: bytes) -> int:
    """Return the first line of the record to which a line belongs."""
    return ends.rfind(b"\n", 0, line) + 1 if ends else line


def _lines_of_records(indexes: Sequence[int], ends: bytes) -> set[int]:
    """Return the first line of each of these records."""
    if not ends:
        return set(indexes)
    records = _LineIndex(ends)
    return {records.start(index) for index in indexes}


def _malformed(outlines: bytes, outline: bytes) -> list[int]:
    """Return the indexes of the records with another outline."""
    marked = outlines.replace(outline + b"\n", b"\0")
    found: list[int] = []
    index = end = 0
    for wrong in _WRONG_OUTLINE.finditer(marked):
        index += marked.count(b"\0", end, wrong.start())
        found.append(index)
        index += 1
        end = wrong.end()
    return found
