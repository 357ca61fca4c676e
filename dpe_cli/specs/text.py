"""Text of a spec, which knows the line of the file that it stands on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

# A sentence ends at a period before a capital letter or the end; abbreviations and decimal points do not end one.
_END = re.compile(r"(?<=[.!?])(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bapprox\.)(?<!\bno\.)[\"')\]]{0,5}\s{1,50}(?=[\"'(`*]{0,5}[A-Z0-9`])")
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

    @cached_property
    def plain(self) -> str:
        """The text in one line, without marks of emphasis; names keep their backticks."""
        return " ".join(_MARKUP.sub("", self.value).split())

    @cached_property
    def bare(self) -> str:
        """The text in one line, also without backticks."""
        return self.plain.replace("`", "").strip()

    @cached_property
    def lower(self) -> str:
        """The text in one line, without marks, in lower case: for comparisons."""
        return self.bare.casefold()

    def line_at(self, position: int) -> int:
        """Return the line in the file of a position in the text."""
        return self.line + self.value.count("\n", 0, position)

    def part(self, start: int, end: int | None = None) -> Text:
        """Return a part of the text, with its own line."""
        return Text(self.value[start:end], self.line_at(start))

    def parts(self, spans: Iterable[tuple[int, int]]) -> Iterator[Text]:
        """Yield the parts from one position to another, given in their order; each line is counted once."""
        line, counted = self.line, 0
        for start, end in spans:
            line += self.value.count("\n", counted, start)
            counted = start
            yield Text(self.value[start:end], line)

    def split(self, separators: Iterable[re.Match[str]]) -> Iterator[Text]:
        """Yield the parts between separators."""
        start, spans = 0, []
        for separator in separators:
            spans.append((start, separator.start()))
            start = separator.end()
        return self.parts([*spans, (start, len(self.value))])

    @cached_property
    def sentences(self) -> tuple[Text, ...]:
        """Its sentences."""
        found = list(self.split(_END.finditer(self.value)))
        return tuple(found if found[-1].value.strip() else found[:-1])

    def names(self) -> tuple[Text, ...]:
        """Return the parts between commas, without backticks: several names in a cell."""
        found = [
            Text(part.bare.removeprefix("and ").strip(), part.line)
            for part in self.parts(match.span() for match in re.finditer(r"[^,;\n]+", self.value))
        ]
        return tuple(name for name in found if name.value)


def joined(texts: Sequence[Text]) -> Text:
    """Return several texts as one, in which each is on its own line of the file."""
    values, line = [texts[0].value], texts[0].line + texts[0].value.count("\n")
    for text in texts[1:]:
        gap = max(1, text.line - line)
        values.append("\n" * gap + text.value)
        line += gap + text.value.count("\n")
    return Text("".join(values), texts[0].line)


# Dashes between the parts of a sentence; the hyphen comes last, as in a class of a regular expression.
DASHES = "\N{EN DASH}\N{EM DASH}-"
NOTHING = Text("", 0)
