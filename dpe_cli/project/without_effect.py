"""A declaration without effect, and its line in YAML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Unapplied:
    """A declaration without effect: its place, what is wrong, and what to do."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        """Return it as an error's message."""
        return f"{self.where}: {self.what}; {self.remedy}"


def line_of(path: Path, shown: str, keys: Sequence[int | str]) -> str:
    """Return a file with the line of the last of these nested keys and indexes that its YAML has."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return shown
    line = None
    for key in keys:
        if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line
        elif isinstance(node, yaml.MappingNode) and (pair := next((pair for pair in node.value if pair[0].value == str(key)), None)):
            line, node = pair[0].start_mark.line, pair[1]
        else:
            break
    return shown if line is None else f"{shown}, line {line + 1}"
