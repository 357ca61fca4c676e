"""Records of a block one by one: what was delivered, on which line of the input it starts, and on which line COPY sees it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress

from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Grammar, split_lines


@dataclass(frozen=True)
class Records:
    """Records as delivered, and the line of the input on which each starts. `are_lines`: none of them has two lines."""

    raws: list[bytes]
    lines: Sequence[int]
    are_lines: bool

    @classmethod
    def of(cls, block: Block, grammar: Grammar) -> tuple[Records, Records]:
        """Split a block; return its whole records, and its broken ones."""
        if block.records == block.lines and not block.broken:
            return cls(split_lines(block.data), range(block.first_line, block.first_line + block.lines), are_lines=True), cls(
                [], [], are_lines=True
            )
        raws: list[bytes] = []
        broken: list[int] = []
        start = 0
        for offset in block.broken:
            raws += grammar.split(block.data[start:offset])
            start = block.data.index(b"\n", offset) + 1
            broken.append(len(raws))
            raws.append(block.data[offset:start])
        raws += grammar.split(block.data[start:])
        lines = list(accumulate((raw.count(b"\n") for raw in raws[:-1]), initial=block.first_line))
        records = cls(raws, lines, are_lines=False)
        return records.without(broken), Records([raws[index] for index in broken], [lines[index] for index in broken], are_lines=True)

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
        """Return the records with line feeds only at their ends: COPY refuses input whose line ends differ."""
        if b"\r" not in b"".join(self.raws):
            return self
        return Records([raw[:-2] + b"\n" if raw.endswith(b"\r\n") else raw for raw in self.raws], self.lines, self.are_lines)

    def at_server_lines(self, server_lines: Sequence[int]) -> list[int]:
        r"""
        Return the indexes of the records that COPY means by its lines.

        COPY names the last line of a record. Within quotes it counts what the first record's end told it to be a line
        end, of which it looks at the first character; until then, that is within the first record, it counts \r.
        """
        if self.are_lines and b"\r" not in b"".join(self.raws):
            # Of a row that it finds to be bad late, it names a line behind.
            return [min(line, len(self.raws)) - 1 for line in server_lines]
        first = self.raws[0].removesuffix(b"\n")
        ends_in_two = first.endswith(b"\r")
        line_end = b"\r" if ends_in_two else b"\n"
        of_first = 1 + first.removesuffix(b"\r").count(b"\r")
        last_lines = list(accumulate((max(1, raw.count(line_end)) for raw in self.raws[1:]), initial=of_first))
        return [min(bisect_left(last_lines, line), len(self.raws) - 1) for line in server_lines]
