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
    found: list[Element] = []
    before: Table | None = None
    for element in _elements(MarkdownIt("commonmark").enable("table").parse("\n".join(lines)), lines):
        if not isinstance(element, Table):
            found.append(element)
            continue
        # Rows below a table, after an empty line, belong to it.
        continues = before is not None and not any(element.headings) and len(element.headings) <= len(before.headings)
        before = _continued(before, element) if before is not None and continues else element
        found.append(before)
    return found


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


def _continued(table: Table, rows: Table) -> Table:
    width = len(table.headings)
    padded = tuple(Row((*row.cells, *[Text("", row.line)] * (width - len(row.cells)))[:width], row.surplus, row.line) for row in rows.rows)
    return Table(table.headings, padded, rows.line)


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
    elif all(line.lstrip().startswith("|") for line in text.value.split("\n")):
        yield _without_ruler([(text.line + number, line) for number, line in enumerate(text.value.split("\n"))])
    else:
        yield Paragraph(text)


def _table(numbered: Sequence[tuple[int, str]]) -> Table:
    (line, first), *others = numbered
    headings = tuple(Text(cell, line) for cell in cells(first))
    if others and _RULER.fullmatch(others[0][1]) and "-" in others[0][1]:
        others = others[1:]
    return Table(headings, tuple(_row(text, number, len(headings)) for number, text in others), line)


def _without_ruler(numbered: Sequence[tuple[int, str]]) -> Table:
    """Return a table without the line below its headings; one without headings, either, if it begins with an id, or is a single row."""
    (line, first), *others = numbered
    found = cells(first)
    if others and not re.search(r"\d", found[0] if found else ""):
        return _table(numbered)
    return Table(tuple(Text("", line) for _ in found), tuple(_row(text, number, len(found)) for number, text in numbered), line)


def _row(text: str, line: int, count: int) -> Row:
    found = [Text(cell, line) for cell in cells(text)]
    found += [Text("", line)] * (count - len(found))
    return Row(tuple(found[:count]), tuple(found[count:]), line)
