"""Text of a spec, which knows the line of the file that it stands on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A sentence ends at a period before a capital letter or the end; abbreviations and decimal points do not end one.
_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bapprox)(?<!\bno)(?<=[.!?])[\"')\]]*\s+(?=[\"'(`*]*[A-Z0-9`])")
_MARKUP = re.compile(r"\*\*|__")


@dataclass(frozen=True)
class Text:
    """A part of a spec as written: one or several lines, of which `line` is the number of the first in the file, from 1."""

    value: str
    line: int

    def __bool__(self) -> bool:
        """Return whether anything is written there."""
        return bool(self.plain)

    def __str__(self) -> str:
        """Return the text in one line, without marks of emphasis."""
        return self.plain

    @property
    def plain(self) -> str:
        """The text in one line, without marks of emphasis; names keep their backticks."""
        return " ".join(_MARKUP.sub("", self.value).split())

    @property
    def bare(self) -> str:
        """The text in one line, also without backticks."""
        return self.plain.replace("`", "").strip()

    @property
    def lower(self) -> str:
        """The text in one line, without marks, in lower case: for comparisons."""
        return self.bare.casefold()

    def line_at(self, position: int) -> int:
        """Return the line in the file of a position in the text."""
        return self.line + self.value.count("\n", 0, position)

    def part(self, start: int, end: int | None = None) -> Text:
        """Return a part of the text, with its own line."""
        return Text(self.value[start:end], self.line_at(start))

    def sentences(self) -> Iterator[Text]:
        """Yield its sentences."""
        start = 0
        for end in _END.finditer(self.value):
            yield self.part(start, end.start())
            start = end.end()
        if self.value[start:].strip():
            yield self.part(start)

    def names(self) -> tuple[Text, ...]:
        """Return the parts between commas, without backticks: several names in a cell."""
        found = []
        for match in re.finditer(r"[^,;\n]+", self.value):
            name = self.part(match.start(), match.end()).bare.removeprefix("and ").strip()
            if name:
                found.append(Text(name, self.line_at(match.start())))
        return tuple(found)


NOTHING = Text("", 0)
