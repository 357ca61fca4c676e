"""The sections of a spec, each with its elements, and the sections that it is part of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dpe_cli.specs.reading import titles
from dpe_cli.specs.reading.markdown import Element, Heading, Item, Paragraph, Table
from dpe_cli.specs.text import Text


@dataclass
class Part:
    """A section. `about` is what its title means, one of titles.SECTIONS; a title that means nothing known has that of its parent."""

    title: Text
    about: str
    parents: tuple[Text, ...]
    elements: list[Element] = field(default_factory=list)

    @property
    def tables(self) -> Iterator[Table]:
        """Its tables."""
        return (element for element in self.elements if isinstance(element, Table))

    @property
    def items(self) -> Iterator[Item]:
        """The items of its lists."""
        return (element for element in self.elements if isinstance(element, Item))

    @property
    def texts(self) -> Iterator[Text]:
        """Its paragraphs and items."""
        return (element.text for element in self.elements if isinstance(element, Paragraph | Item))


def parts(elements: Sequence[Element]) -> list[Part]:
    """Return the sections in their order; the first one is what stands before any title."""
    found = [Part(Text("", 1), "", ())]
    above: list[tuple[int, Part]] = []
    for element in elements:
        if not isinstance(element, Heading):
            found[-1].elements.append(element)
            continue
        above = [(level, part) for level, part in above if level < element.level]
        parents = [part for _, part in above]
        about = titles.section(element.title) or (parents[-1].about if parents else "")
        # A source's own columns, below its name: `### shop.orders`, `#### Columns`.
        part = Part(element.title, about, tuple(part.title for part in parents))
        found.append(part)
        above.append((element.level, part))
    return found
