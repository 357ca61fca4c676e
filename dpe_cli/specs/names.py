"""The names in sentences of a spec: which of them are columns, and which columns a spec knows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from dpe_cli.specs import vocabulary
from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.requirement import ContractColumn, Requirement
from dpe_cli.specs.text import NOTHING, Text

# A name with an underscore is one wherever it stands; other words in backticks may be values.
_SNAKE = re.compile(r"(?<![\w`./-])`?(?P<name>[A-Za-z][A-Za-z0-9]*_\w+)(?!\w)`?(?![\w/]|\.\w)")
_TICKED = re.compile(r"`(?P<name>[A-Za-z]\w*)`")
_DOTTED = re.compile(r"(?<![\w/])`?(?P<table>[a-z_]\w{0,99}(?:\.[a-z_]\w{0,99})?)\.(?P<name>[a-z_]\w{0,99})`?(?![\w/(])")
_SIGNS_ONLY = r"\W{0,20}\Z"
_COLUMN_BEFORE = Phrases("transformations", "column before", and_then=_SIGNS_ONLY)
_COLUMN_AFTER = Phrases("transformations", "column after")
_VALUE_BEFORE = Phrases("transformations", "value before", and_then=_SIGNS_ONLY)
_MADE = Phrases("transformations", "made")
# What stands before and after a name is looked at for as many characters.
_AROUND = 200


def known(requirement: Requirement) -> set[str]:
    """Return all names that a spec explains, in lower case: of columns, tables and sources."""
    names = set(requirement.column_names)
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
            found.add(str(match[str(match.lastgroup)]).casefold())
    return found


def columns_in(text: Text) -> Iterator[Text]:
    """Yield the words of a text that are meant as names of columns."""
    seen: set[int] = set()
    spans: list[tuple[int, int]] = []
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
            spans.append((start, end))
    yield from text.parts(sorted(spans))


def _is_column(text: str, start: int, end: int, name: str) -> bool:
    """Return whether a word in backticks stands where a column's name stands, not a value."""
    before, after = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
    if _VALUE_BEFORE.is_in(before) or not name[0].islower():
        return False
    clause = re.split(r"[.;:]\s", before.rpartition("\n")[2])[-1] if before.strip() else ""
    return _COLUMN_BEFORE.is_in(clause) or _COLUMN_AFTER.match(after.removeprefix("`").lstrip()) is not None


class Columns:
    """Columns, to be found in many sentences: by the first word of their names, so that not all are looked for in each."""

    def __init__(self, columns: Iterable[ContractColumn]) -> None:
        self._columns = list(columns)
        self._by_word: dict[str, set[int]] = {}
        for number, column in enumerate(self._columns):
            for name in (column.name.lower, vocabulary.words_of(column.name.bare)):
                if first := re.search(r"\w+", name):
                    self._by_word.setdefault(first[0], set()).add(number)

    def in_text(self, lower: str) -> list[ContractColumn]:
        """Return the columns that a text in lower case names, also as words and in the plural."""
        words = set(re.findall(r"\w+", lower))
        numbers: set[int] = set().union(*(self._by_word.get(word, ()) for word in words | {word.removesuffix("s") for word in words}))
        return [column for column in (self._columns[number] for number in sorted(numbers)) if _is_named(column.name, lower)]

    def mentioned(self, text: Text) -> list[ContractColumn]:
        """Return the columns that a sentence is about: `delay minutes` is meant, and not `delay`, if both exist."""
        found = self.in_text(text.lower)
        return [column for column in found if not any(_is_within(column, other) for other in found)]


def _is_named(name: Text, lower: str) -> bool:
    words = vocabulary.words_of(name.bare)
    return re.search(rf"(?<!\w){re.escape(name.lower)}(?!\w)|\b{re.escape(words)}s?\b", lower) is not None


def _is_within(column: ContractColumn, other: ContractColumn) -> bool:
    name, longer = vocabulary.words_of(column.name.bare), vocabulary.words_of(other.name.bare)
    return name != longer and re.search(rf"\b{re.escape(name)}\b", longer) is not None


def of_requirement(requirement: Requirement) -> Columns:
    """Return the columns of the sources of a spec, and the published ones."""
    return Columns(_all_columns(requirement))


def of_table(requirement: Requirement, table: str) -> Columns:
    """Return the columns of a published table."""
    return Columns(ContractColumn(Text(name, 0), NOTHING, None, NOTHING) for name in requirement.columns_of(table))


def _all_columns(requirement: Requirement) -> Iterator[ContractColumn]:
    seen: set[str] = set()
    for contract in requirement.contracts:
        for column in contract.columns:
            seen.add(column.name.lower)
            yield column
    for published in requirement.published:
        if published.column and published.column.lower not in seen:
            yield ContractColumn(published.column, Text("", published.column.line), None, published.meaning)
