"""What the titles of sections and the headings of columns mean, however an analyst words them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dpe_cli.specs.phrases import Meanings
from dpe_cli.specs.text import Text

SECTIONS = Meanings("titles", "sections")
SOURCE_TABLE = Meanings("titles", "source table")
CONTRACT = Meanings("titles", "contract")
PUBLISHED = Meanings("titles", "published")
ACCESS = Meanings("titles", "access")
RULES = Meanings("titles", "rules")
ACCEPTANCE = Meanings("titles", "acceptance")
FIELDS = Meanings("titles", "fields")
# What is longer is not a title.
_LONGEST = 200
_NUMBERED = re.compile(r"^(?:\d+(?:\.\d+)*[.)]?|[ivx]+[.)]|[a-z][.)])\s+")


def section(title: Text) -> str:
    """Return what a section is about, one of SECTIONS; empty if its title says nothing known."""
    return meaning(_NUMBERED.sub("", title.lower).rstrip(" :?!."), SECTIONS)


def columns(headings: Sequence[Text], meanings: Meanings) -> dict[str, int]:
    """Return the position of each column whose heading is understood; of two that mean the same, the first one."""
    found: dict[str, int] = {}
    for position, heading in enumerate(headings):
        if name := meaning(heading.lower.rstrip(" :."), meanings, without=found):
            found[name] = position
    return found


def meaning(title: str, meanings: Meanings, *, without: Mapping[str, object] | None = None) -> str:
    """Return what a title in lower case means; empty if it means nothing known, or one of those to leave out."""
    return meanings.of(title, without=without) if len(title) <= _LONGEST else ""
