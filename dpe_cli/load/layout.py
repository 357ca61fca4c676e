"""
The layout of a block: its lines, which of them make one record, and which records cannot be loaded for certain.

Found for a whole block at once, without an object a field, and where it can be, without one a record: a file with a bad
record in every block is not to take much longer than a good one.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from dpe_cli.load import encodings
from dpe_cli.load.grammar import Grammar

_NULS = re.compile(rb"\0+")
_ALL_BUT_LINE_ENDS = bytes(set(range(256)) - set(b"\0\n"))
# Outlines in which each right one has become a NUL: a wrong one ends with a line feed, or with the right one that it ends like.
_WRONG_OUTLINE = re.compile(rb"[^\0\n]*\n|[^\0\n]+\0")


@dataclass(frozen=True)
class LongRecords:
    """The records of a block that have several lines, in order: their indexes, their first lines, and how many lines they have."""

    indexes: Sequence[int]
    first_lines: Sequence[int]
    counts: Sequence[int]

    @classmethod
    def of(cls, outside: Sequence[bytes], inside: Sequence[bytes]) -> LongRecords:
        """Find them in what stands outside and inside of quotes, in turns."""
        parts = list(outside) + list(inside)
        parts[::2] = outside
        # A NUL for each line feed within quotes, so that those of one record stand side by side before its end.
        parts[1::2] = [b"\0" * part.count(b"\n") for part in inside]
        line_ends = b"".join(parts).translate(None, _ALL_BUT_LINE_ENDS)
        runs = [run.span() for run in _NULS.finditer(line_ends)]
        counts = [1 + end - start for start, end in runs]
        extra_lines = accumulate((count - 1 for count in counts), initial=0)
        first_lines = [start for start, _ in runs]
        return cls([line - extra for line, extra in zip(first_lines, extra_lines, strict=False)], first_lines, counts)

    def first_line(self, index: int) -> int:
        """Return the first line of the n-th record."""
        before = bisect_left(self.indexes, index) - 1
        return index if before < 0 else index - self.indexes[before] + self.first_lines[before] + self.counts[before] - 1

    def lines_of_record_at(self, line: int) -> slice:
        """Return the lines of the record to which a line belongs."""
        last = bisect_right(self.first_lines, line) - 1
        if last >= 0 and line < self.first_lines[last] + self.counts[last]:
            return slice(self.first_lines[last], self.first_lines[last] + self.counts[last])
        return slice(line, line + 1)


@dataclass(frozen=True)
class Layout:
    """
    A block's lines and records. `misfits` are the lines of each record that is bad for certain, `kept` is the block without them.

    A misfit has another number of fields than the others, or bytes that are no text.
    """

    lines: list[bytes]
    misfits: Sequence[slice]
    kept: bytes
    _long_records: LongRecords
    _removed_before: Sequence[int]

    @classmethod
    def of(cls, data: bytes, grammar: Grammar, outline: bytes) -> Layout | None:
        """Find the layout of whole records, where `outline` is what each has of delimiters; None where that takes a closer look."""
        structure = grammar.structure(data)
        if structure is None:
            return None
        outside = structure[::2]
        long_records = LongRecords.of(outside, structure[1::2])
        lines = {long_records.first_line(index) for index in _misfits(b"".join(outside), outline)}
        lines.update(_lines_at(data, encodings.invalid_offsets(data)))
        misfits: list[slice] = []
        for line in sorted(lines):
            record = long_records.lines_of_record_at(line)
            if not misfits or record.start != misfits[-1].start:
                misfits.append(record)
        return cls._without(misfits, data, long_records)

    @classmethod
    def _without(cls, misfits: Sequence[slice], data: bytes, long_records: LongRecords) -> Layout:
        lines = data.splitlines(keepends=True)
        view = memoryview(data)
        parts: list[memoryview] = []
        removed: list[int] = []
        line = kept_to = 0
        for record in misfits:
            start = kept_to + sum(map(len, lines[line : record.start]))
            parts.append(view[kept_to:start])
            kept_to = start + sum(map(len, lines[record]))
            line = record.stop
            removed += range(record.start, record.stop)
        parts.append(view[kept_to:])
        return cls(lines, misfits, b"".join(parts), long_records, [number - before for before, number in enumerate(removed)])

    def raw(self, record: slice) -> bytes:
        """Return a record as it was delivered."""
        return b"".join(self.lines[record])

    @property
    def counts_otherwise(self) -> bool:
        """Whether COPY counts the lines of `kept` otherwise: within the first record it counts no line feed, only carriage returns."""
        if not self.kept:
            return False
        first = self.record_at_kept(0)
        return first.stop - first.start > 1 or b"\r" in self.raw(first).removesuffix(b"\n").removesuffix(b"\r")

    def record_at_kept(self, number: int) -> slice:
        """Return the lines of the record to which the n-th line of `kept`, counted from 0, belongs."""
        return self._long_records.lines_of_record_at(number + bisect_right(self._removed_before, number))


def _misfits(outlines: bytes, outline: bytes) -> list[int]:
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


def _lines_at(data: bytes, offsets: Sequence[int]) -> list[int]:
    """Return the lines that have bytes at these offsets, which are in order."""
    return list(accumulate(data.count(b"\n", start, end) for start, end in pairwise([0, *offsets])))
