"""The headings, paragraphs, list items and tables of a Markdown text, each with its line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

from dpe_cli.specs.text import Text

# A line that consists of a title in bold letters serves as a heading, below all others.
_TITLE = re.compile(r"\*\*([^*]+?):?\*\*:?")
_BELOW_ALL = 7
_RULER = re.compile(r"[\s|:-]+")
# As word processors write them.
_BULLET = re.compile(r"^(\s*)[•●▪◦‣]\s+")
# What matters for the cells of a row: backticks, `\\|`, `|`; and all else.
_MARK = re.compile(r"`+|\\\||\||\\|[^`|\\]+")
_PREFIX = re.compile(r"^[\s>]*")


@dataclass(frozen=True)
class Heading:
    """The title of a section; `level` 1 is the highest."""

    title: Text
    level: int


@dataclass(frozen=True)
class Paragraph:
    """Lines of text."""

    text: Text


@dataclass(frozen=True)
class Item:
    """An item of a list, without the items below it: its number in a numbered list, and its depth, from 1."""

    text: Text
    number: int | None
    depth: int


@dataclass(frozen=True)
class Row:
    """A row of a table: one cell per heading, and the `surplus` cells to the right of them."""

    cells: tuple[Text, ...]
    surplus: tuple[Text, ...]
    line: int

    def cell(self, position: int | None) -> Text:
        """Return the cell at a position; an empty one if the table has no such column."""
        return Text("", self.line) if position is None or position >= len(self.cells) else self.cells[position]


@dataclass(frozen=True)
class Table:
    """A table with its headings."""

    headings: tuple[Text, ...]
    rows: tuple[Row, ...]
    line: int


Element = Heading | Paragraph | Item | Table


def elements(text: str) -> list[Element]:
    """Return the elements of a text in their order. Code blocks are left out: they are examples."""
    lines = [_BULLET.sub(r"\1- ", line) for line in text.split("\n")]
    text = "\n".join(lines)
    return list(_elements(MarkdownIt("commonmark").enable("table").parse(text), lines))


def cells(line: str) -> list[str]:
    """
    Return the cells of a table's row.

    A `|` within backticks, or after a backslash, belongs to its cell, unlike in GitHub's Markdown, which would cut the cell there.
    """
    line = _PREFIX.sub("", line.rstrip()).removeprefix("|")
    found: list[str] = []
    cell: list[str] = []
    fence = ""
    # A run of backticks opens code only if another one of the same length closes it.
    closing = Counter(match[0] for match in _MARK.finditer(line) if match[0].startswith("`"))
    for match in _MARK.finditer(line):
        mark = match[0]
        if mark.startswith("`"):
            closing[mark] -= 1
            if fence == mark:
                fence = ""
            elif not fence and closing[mark]:
                fence = mark
            cell.append(mark)
        elif mark == "|" and not fence:
            found.append("".join(cell).strip())
            cell = []
        else:
            cell.append("|" if mark == "\\|" else mark)
    last = "".join(cell).strip()
    return [*found, last] if last or not line.endswith("|") else found


def _elements(tokens: Sequence[Token], lines: Sequence[str]) -> Iterator[Element]:
    numbers: list[int | None] = []
    is_first_of_item, table_end = False, -1
    heading: int | None = None
    for token in tokens:
        start, end = token.map or (-1, -1)
        if token.type in {"bullet_list_open", "ordered_list_open"}:
            numbers.append(None)
        elif token.type in {"bullet_list_close", "ordered_list_close"}:
            numbers.pop()
        elif token.type == "list_item_open":
            numbers[-1] = int(token.info) if token.info.isdigit() else None
            is_first_of_item = True
        elif token.type == "heading_open":
            heading = int(token.tag[1:])
        elif token.type == "table_open":
            table_end = end
            yield _table([(number + 1, lines[number]) for number in range(start, end)])
        elif token.type == "inline" and start >= table_end:
            yield from _inline(Text(token.content, start + 1), heading, numbers, is_first=is_first_of_item)
            heading, is_first_of_item = None, False


def _inline(text: Text, heading: int | None, numbers: Sequence[int | None], *, is_first: bool) -> Iterator[Element]:
    if heading is not None:
        yield Heading(text, heading)
    elif numbers:
        # A second paragraph of an item belongs to it, as an item without a number.
        yield Item(text, numbers[-1] if is_first else None, len(numbers))
    elif title := _TITLE.fullmatch(text.value.strip()):
        yield Heading(Text(title[1], text.line), _BELOW_ALL)
    elif all(line.lstrip().startswith("|") for line in text.value.split("\n")) and "\n" in text.value:
        # A table without the line below its headings.
        yield _table([(text.line + number, line) for number, line in enumerate(text.value.split("\n"))])
    else:
        yield Paragraph(text)


def _table(numbered: Sequence[tuple[int, str]]) -> Table:
    (line, first), *others = numbered
    headings = tuple(Text(cell, line) for cell in cells(first))
    rows = []
    if others and _RULER.fullmatch(others[0][1]) and "-" in others[0][1]:
        others = others[1:]
    for number, text in others:
        found = [Text(cell, number) for cell in cells(text)]
        found += [Text("", number)] * (len(headings) - len(found))
        rows.append(Row(tuple(found[: len(headings)]), tuple(found[len(headings) :]), number))
    return Table(headings, tuple(rows), line)
