"""What a spec publishes: columns with their origins, and who sees which table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.reading import titles
from dpe_cli.specs.reading.markdown import Item, Paragraph, Table
from dpe_cli.specs.reading.outline import Part
from dpe_cli.specs.requirement import EVERYTHING, Access, PublishedColumn
from dpe_cli.specs.text import DASHES, NOTHING, Text

_ORIGIN = Phrases("access", "origin")
_GRAIN = Phrases("access", "grain")
_READS = Phrases("access", "reads")
_ALL = Phrases("access", "all columns")


def columns(parts: Sequence[Part], tables: Sequence[str]) -> list[PublishedColumn]:
    """Return the published columns; `tables` are the names of the tables that are known from elsewhere."""
    found: list[PublishedColumn] = []
    for part in parts:
        if part.about != "published columns":
            continue
        of_tables = [column for table in part.tables for column in _of_table(table, _named(part.title, tables))]
        found += of_tables or list(_of_prose(part, tables))
    return found


def _of_table(table: Table, of_title: Text) -> Iterator[PublishedColumn]:
    positions = titles.columns(table.headings, titles.PUBLISHED)
    if "column" not in positions and "from" not in positions:
        return
    name = of_title
    for row in table.rows:
        # An empty cell repeats the one above, as merged cells do.
        name = Text(row.cell(positions.get("table")).bare, row.line) if row.cell(positions.get("table")) else name
        cell, meaning = row.cell(positions.get("column")), row.cell(positions.get("meaning"))
        origin = row.cell(positions.get("from"))
        for column in cell.names() or [Text("", row.line)]:
            yield PublishedColumn(Text(name.value, row.line), column, origin, meaning)


def _of_prose(part: Part, tables: Sequence[str]) -> Iterator[PublishedColumn]:
    """Yield the columns that items and paragraphs name: those of a table below its name, or after it and a colon."""
    table = _named(part.title, tables)
    for element in part.elements:
        if not isinstance(element, Item | Paragraph):
            continue
        text = element.text
        if named := _named(text, tables):
            table = named
            start = text.value.find(named.value) + len(named.value)
            text = text.part(start + len(text.value[start:]) - len(text.value[start:].lstrip(f"`*: \n{DASHES}")))
        if table:
            for sentence in _clauses(text):
                yield from _of_clause(table, sentence)


def _clauses(text: Text) -> Iterator[Text]:
    """Yield what semicolons separate, and sentences."""
    for sentence in text.sentences:
        yield from sentence.split(re.finditer(r";\s*", sentence.value))


def _of_clause(table: Text, clause: Text) -> Iterator[PublishedColumn]:
    match = _ORIGIN.search(clause.value)
    origin = NOTHING
    end = len(clause.value)
    if match is not None:
        group = next(name for name, value in match.groupdict().items() if value is not None)
        origin, end = clause.part(match.start(group), match.end(group)), match.start()
    names = re.findall(r"`(\w+)`", clause.value[:end]) or re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", clause.value[:end])
    if not names and origin and _ALL.is_in(clause.value[:end]):
        names = [""]
    for name in names:
        line = clause.line_at(max(0, clause.value.find(name)))
        yield PublishedColumn(Text(table.value, line), Text(name, line), origin, clause)


def access(parts: Sequence[Part], tables: Sequence[str]) -> list[Access]:
    """Return who sees which table; a table that only prose mentions may be mentioned in several sentences."""
    found: dict[str, Access] = {}
    for part in parts:
        for table in part.tables:
            for row in _rows_of(table, part):
                found.setdefault(row.table.bare, row)
    for part in parts:
        if part.about in {"access", "published columns", "purpose"}:
            for row in _access_of_prose(part, tables):
                earlier = found.get(row.table.bare, row)
                found[row.table.bare] = Access(earlier.table, earlier.grain or row.grain, earlier.readers or row.readers)
    return list(found.values())


def _rows_of(table: Table, part: Part) -> Iterator[Access]:
    positions = titles.columns(table.headings, titles.ACCESS)
    if "table" not in positions or not positions.keys() & {"grain", "readers"} or (part.about != "access" and "grain" not in positions):
        return
    for row in table.rows:
        if row.cell(positions["table"]):
            for name in row.cell(positions["table"]).names():
                yield Access(name, row.cell(positions.get("grain")), row.cell(positions.get("readers")))


def _access_of_prose(part: Part, tables: Sequence[str]) -> Iterator[Access]:
    table = _named(part.title, tables)
    for text in part.texts:
        named = _named(text, tables)
        table = named or table or (Text(tables[0], text.line) if len(tables) == 1 and part.about == "access" else NOTHING)
        if not table or (part.about != "access" and not named):
            continue
        match = _GRAIN.search(text.value)
        grain = NOTHING if match is None else text.part(match.start("grain"), match.end("grain"))
        readers = NOTHING
        if part.about == "access":
            rest = (
                text.value
                if match is None
                else text.value[: match.start()] + " " * (match.end() - match.start()) + text.value[match.end() :]
            )
            rest = rest.replace(table.value, " " * len(table.value)).strip(f" `*:.,;\n{DASHES}")
            readers = Text(rest, text.line) if rest and _READS.is_in(rest) else NOTHING
        if grain or readers:
            yield Access(Text(table.value, text.line), grain, readers)


def _named(text: Text, tables: Sequence[str]) -> Text:
    """Return the table that a text names first."""
    found = [(match.start(), name) for name in tables if (match := re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text.value))]
    if not found:
        return NOTHING
    position, name = min(found)
    return Text(name, text.line_at(position))


def is_everything(column: Text) -> bool:
    """Return whether a cell stands for all columns of its origin."""
    return column.lower in EVERYTHING
