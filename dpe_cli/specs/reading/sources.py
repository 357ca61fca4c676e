"""The sources of a spec and their columns, from tables or from prose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.reading import titles, wording
from dpe_cli.specs.reading.markdown import Item, Paragraph, Table
from dpe_cli.specs.reading.outline import Part
from dpe_cli.specs.requirement import Contract, ContractColumn, SourceEntry
from dpe_cli.specs.text import DASHES, NOTHING, Text, joined

_KEY = re.compile(
    r"(?:\*\*)?\b(?:primary |unique |natural |business )?key(?: columns?)?(?:\*\*)?\s{0,5}(?::(?:\*\*)?|=|\bis\b|\bare\b)\s{0,5}"
    r"(?P<names>[^.\n]*(?:\.\w[^.\n]*)*)",
    re.IGNORECASE,
)
_NAME = re.compile(rf"`(\w+)`|^(?:\*\*)?(\w+)(?:\*\*)?(?=\s*(?:\(|:|[{DASHES}]|$))")
_TYPES = Phrases("sources", "types")
_OPTIONAL = Phrases("sources", "optional")
_REQUIRED = Phrases("sources", "required")


def entries(parts: Sequence[Part], listed: Sequence[Text]) -> list[SourceEntry]:
    """Return the sources; those that only the front matter lists have nothing but their name."""
    found: dict[str, SourceEntry] = {}
    for part in parts:
        if part.about != "sources":
            continue
        for table in part.tables:
            for entry in _of_table(table):
                found.setdefault(entry.name.bare, entry)
        for text in _statements(part):
            for entry in _of_prose(text, [name.bare for name in listed], part.title):
                earlier = found.get(entry.name.bare)
                found[entry.name.bare] = entry if earlier is None else _completed(earlier, entry)
    for name in listed:
        found.setdefault(name.bare, SourceEntry(name))
    return list(found.values())


def _statements(part: Part) -> Iterator[Text]:
    """Yield paragraphs and items, these with the items below them."""
    found: list[list[Text]] = []
    for element in part.elements:
        if isinstance(element, Item) and element.depth > 1 and found:
            found[-1].append(element.text)
        elif isinstance(element, Item | Paragraph):
            found.append([element.text])
    return map(joined, found)


def _of_table(table: Table) -> Iterator[SourceEntry]:
    columns = titles.columns(table.headings, titles.SOURCE_TABLE)
    if "source" not in columns:
        return
    for row in table.rows:
        name = row.cell(columns["source"])
        if name:
            cells = {meaning: row.cell(position) for meaning, position in columns.items() if meaning != "source"}
            yield SourceEntry(Text(name.bare, name.line), **cells)


def _of_prose(text: Text, listed: Sequence[str], title: Text) -> Iterator[SourceEntry]:
    """Yield the source that a paragraph or an item is about: one that it names, or that its section's title names."""
    known = [name for name in listed if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text.value)]
    match = wording.SOURCE_NAME.search(text.value)
    names = known or ([match[0]] if match is not None and "`" + match[0] + "`" in text.value else [])
    if not names:
        names = [name for name in listed if name in title.value] or (list(listed) if len(listed) == 1 else [])
    if len(names) != 1:
        return
    name = names[0]
    without_name = Text(text.value.replace(name, " " * len(name)), text.line)
    line = text.line_at(max(0, text.value.find(name)))
    yield SourceEntry(
        Text(name, line),
        what=text,
        location=wording.location(without_name),
        format=wording.data_format(without_name),
        delivered=wording.delivered(without_name),
        loading=next((line for line in _lines(without_name) if wording.loading(line)), NOTHING),
    )


def _lines(text: Text) -> list[Text]:
    """Return the lines of a text, those that speak of loading first."""
    lines = [Text(line, text.line + number) for number, line in enumerate(text.value.split("\n"))]
    return [*(line for line in lines if "load" in line.lower), *text.sentences]


def _completed(entry: SourceEntry, other: SourceEntry) -> SourceEntry:
    """Return an entry with what another text says in addition."""
    missing = {name: getattr(other, name) for name in ("location", "format", "delivered", "loading") if not getattr(entry, name)}
    return replace(entry, **missing)


def contracts(parts: Sequence[Part], sources: Sequence[SourceEntry]) -> list[Contract]:
    """Return the columns of each source that describes them."""
    found: dict[str, Contract] = {}
    for part in parts:
        source = _source_of(part, sources)
        if source is None:
            continue
        texts = list(part.texts)
        columns = [column for table in part.tables for column in _columns_of_table(table)]
        if not columns and part.about == "source columns":
            columns = [column for item in part.items for column in _column_of_item(item.text)]
        key = next((names for text in texts for names in _key(text)), ())
        line = part.title.line or 1
        if earlier := found.get(source):
            found[source] = replace(
                earlier, columns=earlier.columns + tuple(columns), key=earlier.key or key, notes=earlier.notes + tuple(texts)
            )
        elif columns or key:
            found[source] = Contract(source, tuple(columns), key, tuple(texts), line)
    return list(found.values())


def _source_of(part: Part, sources: Sequence[SourceEntry]) -> str | None:
    """Return the source whose columns a section describes."""
    if part.about not in {"source columns", "sources"}:
        return None
    for title in (part.title, *reversed(part.parents)):
        named = [source for source in sources if re.search(rf"(?<![\w.]){re.escape(source.name.bare)}(?!\w)", title.bare)]
        named = named or [source for source in sources if re.search(rf"\b{re.escape(source.table)}\b", title.lower)]
        if named:
            return max(named, key=lambda source: len(source.name.bare)).name.bare
    return sources[0].name.bare if len(sources) == 1 else None


def _columns_of_table(table: Table) -> Iterator[ContractColumn]:
    columns = titles.columns(table.headings, titles.CONTRACT)
    if "column" not in columns or not columns.keys() & {"type", "meaning", "may be empty", "required"}:
        return
    is_of_sources = titles.columns(table.headings, titles.SOURCE_TABLE).keys() >= {"delivered", "location"}
    if is_of_sources or table.headings[0].lower.startswith("source"):
        return
    for row in table.rows:
        name = row.cell(columns["column"])
        if not name:
            continue
        empty = wording.is_yes(row.cell(columns.get("may be empty")))
        required = wording.is_yes(row.cell(columns.get("required")))
        may_be_empty = empty if empty is not None or required is None else not required
        meaning = row.cell(columns.get("meaning"))
        yield ContractColumn(Text(name.bare, name.line), row.cell(columns.get("type")), may_be_empty, meaning)


def _column_of_item(text: Text) -> Iterator[ContractColumn]:
    name = _NAME.search(text.value)
    if name is None or _KEY.match(text.value):
        return
    rest = text.part(name.end())
    data_type = _TYPES.search(rest.value)
    may_be_empty = True if _OPTIONAL.is_in(rest.value) else False if _REQUIRED.is_in(rest.value) else None
    meaning = Text(rest.value.strip(f" :{DASHES}"), rest.line)
    yield ContractColumn(
        Text(name[1] or name[2], text.line_at(name.start())),
        NOTHING if data_type is None else rest.part(data_type.start(), data_type.end()),
        may_be_empty,
        meaning,
    )


def _key(text: Text) -> Iterator[tuple[Text, ...]]:
    """Yield the columns of a key that a text states."""
    match = _KEY.search(text.value)
    if match is None:
        return
    stated = text.part(match.start("names"), match.end("names"))
    ticked = re.findall(r"`(\w+)`", stated.value)
    names = [Text(name, stated.line) for name in ticked] or [
        Text(name.value.strip(), name.line) for part in stated.names() for name in _split(part) if re.fullmatch(r"\w+", name.value.strip())
    ]
    if names:
        yield tuple({name.lower: name for name in names}.values())


def _split(text: Text) -> list[Text]:
    return [Text(part, text.line) for part in re.split(r"\s+(?:and|\+|plus)\s+", text.value)]
