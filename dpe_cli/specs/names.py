"""The names in sentences of a spec: which of them are columns, and which columns a spec knows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dpe_cli.specs import vocabulary
from dpe_cli.specs.requirement import ContractColumn, Requirement
from dpe_cli.specs.text import Text

# A name with an underscore is one wherever it stands; other words in backticks may be values.
_SNAKE = re.compile(r"(?<![\w`./-])`?(?P<name>[A-Za-z]\w*?(?:_\w+)+)`?(?![\w/]|\.\w)")
_TICKED = re.compile(r"`(?P<name>[A-Za-z]\w*)`")
_DOTTED = re.compile(r"(?<![\w/])`?(?P<table>[a-z_]\w*(?:\.[a-z_]\w*)?)\.(?P<name>[a-z_]\w*)`?(?![\w/(])")
_OF_COLUMN_BEFORE = re.compile(r"(?:\b(?:columns?|fields?|from|by|per|sum of|values? of|value in|the)|^)\W*$", re.IGNORECASE)
_OF_COLUMN_AFTER = re.compile(r"^`?\s+(?:columns?|fields?|is|are|has|must|may|contains?|and|or|of)\b", re.IGNORECASE)
_OF_VALUE = re.compile(
    r"(?:=|\b(?:is|are|be|equals?|values?|not|or|as|code|status|with|type|state|marked|called|named|to))\W*$", re.IGNORECASE
)
_MADE = re.compile(
    r"(?:\b(?:called|named|as|into|new column|column|flag(?:ged)? (?:as)?|in a column)\s+`?(?P<after>\w+)`?)|"
    r"`?(?P<before>\w+)`?\s*(?:=|:=|\bis (?:true|false|calculated|computed|derived|built|set|made|the (?:sum|number|count|difference|total|share|ratio|mean|average|product|result|length|time between))\b|\bsays whether\b|\bis then\b)",
    re.IGNORECASE,
)


def known(requirement: Requirement) -> set[str]:
    """Return all names that a spec explains, in lower case: of columns, tables and sources."""
    names = {column.name.lower for contract in requirement.contracts for column in contract.columns}
    names |= {column.column.lower for column in requirement.published}
    for name in (*requirement.tables, *requirement.source_names):
        names |= {name.casefold(), *name.casefold().split(".")}
    names |= {text.lower for field in requirement.fields.values() for text in field.values}
    names |= requirement.project_names
    return names


def made(requirement: Requirement) -> set[str]:
    """Return the names that the transformations introduce."""
    found: set[str] = set()
    for step in requirement.transformations:
        for match in _MADE.finditer(step.text.value):
            found.add((match["after"] or match["before"]).casefold())
    return found


def columns_in(text: Text) -> Iterator[Text]:
    """Yield the words of a text that are meant as names of columns."""
    seen: set[int] = set()
    for pattern in (_DOTTED, _SNAKE, _TICKED):
        for match in pattern.finditer(text.value):
            start, end = match.start("name"), match.end("name")
            if start in seen:
                continue
            seen.add(start)
            if pattern is _DOTTED and "`" not in match[0] and "_" not in match["name"]:
                continue
            if pattern is _TICKED and not _is_column(text.value, match.start(), end, match["name"]):
                continue
            yield text.part(start, end)


def _is_column(text: str, start: int, end: int, name: str) -> bool:
    """Return whether a word in backticks stands where a column's name stands, not a value."""
    before, after = text[:start], text[end:]
    line = before.rpartition("\n")[2] if before.strip() else ""
    if _OF_VALUE.search(before) or not name[0].islower():
        return False
    sentence = re.split(r"[.;:]\s", line)[-1]
    return _OF_COLUMN_BEFORE.search(sentence) is not None or _OF_COLUMN_AFTER.search(after) is not None


def mentioned(requirement: Requirement, text: Text) -> list[ContractColumn]:
    """Return the columns of sources, and published ones, that a sentence is about, by their names or by these as words."""
    found = []
    lower = f" {text.lower} "
    for column in _all_columns(requirement):
        words = vocabulary.words_of(column.name.bare)
        if re.search(rf"(?<!\w){re.escape(column.name.lower)}(?!\w)", lower) or re.search(rf"\b{re.escape(words)}s?\b", lower):
            found.append(column)
    # `delay minutes` is meant, and not `delay`, if both exist.
    return [column for column in found if not any(_is_within(column, other) for other in found)]


def _is_within(column: ContractColumn, other: ContractColumn) -> bool:
    name, longer = vocabulary.words_of(column.name.bare), vocabulary.words_of(other.name.bare)
    return name != longer and re.search(rf"\b{re.escape(name)}\b", longer) is not None


def _all_columns(requirement: Requirement) -> Iterator[ContractColumn]:
    seen = set()
    for contract in requirement.contracts:
        for column in contract.columns:
            seen.add(column.name.lower)
            yield column
    for published in requirement.published:
        if published.column and published.column.lower not in seen:
            yield ContractColumn(published.column, Text("", published.column.line), None, published.meaning)
