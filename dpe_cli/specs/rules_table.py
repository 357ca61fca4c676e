"""The tables of rules in a spec: Markdown tables whose first column holds the ids of rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpe_cli.errors import SpecError

_RULE_ID = re.compile(r"[A-Z][A-Z0-9]*-\d+-\d+")
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class RuleRow:
    """A rule as its spec writes it: the line in the file, and the cell under each heading, which is in lower case."""

    rule_id: str
    line: int
    cells: Mapping[str, str]

    @property
    def definition(self) -> str:
        """What the rule requires; empty if the table has no such column."""
        return self.cells.get("definition", "")


def rows_of(path: Path, lines: Sequence[str], *, start: int, ticket: str) -> tuple[RuleRow, ...]:
    """
    Return the rules of the tables in a spec's lines from `start` on, in their order; other tables are skipped.

    Raises:
        SpecError: an id is malformed, or occurs twice.
    """
    found: dict[str, RuleRow] = {}
    headings: list[str] = []
    for number, line in enumerate(lines[start:], start + 1):
        if not line.lstrip().startswith("|"):
            headings = []
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in _CELL.split(line.strip().removeprefix("|").removesuffix("|"))]
        if not headings:
            headings = [cell.lower() for cell in cells]
        rule_id = cells[0].strip("`")
        if not _RULE_ID.fullmatch(rule_id):
            if rule_id.lower().startswith(f"{ticket.lower()}-"):
                raise SpecError(
                    f"{path}, line {number}: {rule_id!r} is not the id of a rule; write it as the ticket and a number, DPE-101-01"
                )
            continue
        if rule_id in found:
            raise SpecError(f"{path}, line {number}: rule {rule_id} is defined twice; give each rule an id of its own")
        found[rule_id] = RuleRow(rule_id, number, dict(zip(headings, cells, strict=False)))
    return tuple(found.values())
