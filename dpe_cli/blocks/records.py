"""The single records of a block: what was delivered, on which line of the input it starts, and which line COPY reports for it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress

from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Grammar, split_lines


@dataclass(frozen=True)
class Records:
    """Records as delivered, with the input line on which each starts. `are_lines`: none of them spans several lines."""

    raws: list[bytes]
    lines: Sequence[int]
    are_lines: bool

    @classmethod
    def of(cls, block: Block, grammar: Grammar) -> Records:
        """Split a block into its records."""
        if block.records == block.lines:
            return cls(split_lines(block.data), range(block.first_line, block.first_line + block.lines), are_lines=True)
        raws = grammar.split(block.data)
        return cls(raws, list(accumulate((raw.count(b"\n") for raw in raws[:-1]), initial=block.first_line)), are_lines=False)

    def __len__(self) -> int:
        return len(self.raws)

    def __getitem__(self, part: slice) -> Records:
        return Records(self.raws[part], self.lines[part], self.are_lines)

    def only(self, index: int) -> Records:
        """Return one record."""
        return self[index : index + 1]

    def without(self, indexes: Collection[int]) -> Records:
        """Return the others."""
        stays = bytearray(b"\1") * len(self.raws)
        for index in indexes:
            stays[index] = 0
        return Records(list(compress(self.raws, stays)), list(compress(self.lines, stays)), self.are_lines)

    def followed_by(self, others: Records) -> Records:
        """Return these and the others."""
        return Records(self.raws + others.raws, [*self.lines, *others.lines], self.are_lines and others.are_lines)

    def with_plain_ends(self) -> Records:
        """Return the records with plain line feeds at their ends: COPY refuses input with mixed line ends."""
        if b"\r" not in b"".join(self.raws):
            return self
        return Records([raw[:-2] + b"\n" if raw.endswith(b"\r\n") else raw for raw in self.raws], self.lines, self.are_lines)

    def at_server_lines(self, server_lines: Sequence[int]) -> list[int]:
        r"""
        Return the indexes of the records that COPY refers to by these line numbers.

        COPY names the last line of a record. Within quotes it counts line ends of the kind that ended the first record, by their
        first character; within the first record it does not know that kind yet, and counts \r.
        """
        if self.are_lines and b"\r" not in b"".join(self.raws):
            # For errors found late in a row, COPY reports the next line.
            return [min(line, len(self.raws)) - 1 for line in server_lines]
        first = self.raws[0].removesuffix(b"\n")
        ends_in_two = first.endswith(b"\r")
        line_end = b"\r" if ends_in_two else b"\n"
        of_first = 1 + first.removesuffix(b"\r").count(b"\r")
        last_lines = list(accumulate((max(1, raw.count(line_end)) for raw in self.raws[1:]), initial=of_first))
        return [min(bisect_left(last_lines, line), len(self.raws) - 1) for line in server_lines]
