"""
What can be unclear in a spec.

Each file in `kinds/` is a kind of finding: its name gives the kind's id and name, its first lines who has to answer and what is unclear;
why that matters, an example and how to mend it follow. docs/reference/spec-findings.md is made from them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

Answers = Literal["analyst", "architect", "data owner"]
_HEAD = re.compile(
    r"# (?P<title>.+)\n\nAnswered by: the (?P<answers>analyst|architect|data owner)\n\n(?P<why>.+?)\n\n(?P<rest>## Example\n.+)", re.DOTALL
)


@dataclass(frozen=True)
class Kind:
    """A kind of finding. The meaning of an `id` never changes. `text` is its example and how to mend it, in Markdown."""

    id: str
    name: str
    title: str
    answers: Answers
    why: str
    text: str


@dataclass(frozen=True)
class SpecFinding:
    """
    Something that is unclear in a spec.

    `what` says what is unclear, at `line` of the file, and `question` is for `answers`, in words that can be sent as they are.
    """

    kind: Kind
    line: int
    what: str
    question: str

    @property
    def answers(self) -> Answers:
        """Who has to answer."""
        return self.kind.answers


@cache
def kinds() -> dict[str, Kind]:
    """Return all kinds by name, in the order of their ids."""
    found = []
    for path in resources.files("dpe_cli.specs").joinpath("kinds").iterdir():
        kind_id, _, name = path.name.removesuffix(".md").partition("_")
        head = _HEAD.fullmatch(path.read_text(encoding="utf-8").strip())
        if head is None:
            raise ValueError(f"{path.name}: does not have the parts of a kind of finding")
        answers: Answers = "architect" if head["answers"] == "architect" else "data owner" if head["answers"] == "data owner" else "analyst"
        found.append(Kind(kind_id, name, head["title"], answers, " ".join(head["why"].split()), head["rest"]))
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.id)}


def finding(name: str, line: int, what: str, question: str) -> SpecFinding:
    """Return a finding of the kind of that name."""
    return SpecFinding(kinds()[name], max(line, 1), what, question)
