"""A requirement: everything that a spec says, each part with its line. Parts that are missing are empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from dpe_cli.specs.text import NOTHING, Text

Loading = Literal["append", "replace", "incremental"]

# Begins a question that `dpe spec new` leaves for a person; the gate refuses a spec in which one is left.
ASK = "TBD:"


@dataclass(frozen=True)
class Field:
    """A field, with its values: one, or those of a list."""

    name: str
    values: tuple[Text, ...]
    line: int

    @property
    def value(self) -> Text:
        """The value; of several, all of them."""
        if len(self.values) == 1:
            return self.values[0]
        return Text(", ".join(map(str, self.values)), self.line)


@dataclass(frozen=True)
class SourceEntry:
    """A source: where its records come from, and how they are loaded."""

    name: Text
    what: Text = NOTHING
    location: Text = NOTHING
    format: Text = NOTHING
    delivered: Text = NOTHING
    loading: Text = NOTHING
    owner: Text = NOTHING
    pattern: Text = NOTHING

    @property
    def line(self) -> int:
        """Its line in the file."""
        return self.name.line

    @property
    def table(self) -> str:
        """Its name without the part before the period."""
        return self.name.bare.rpartition(".")[2]


@dataclass(frozen=True)
class ContractColumn:
    """A column of a source as it is delivered; `may_be_empty` is None if the spec does not say."""

    name: Text
    data_type: Text
    may_be_empty: bool | None
    meaning: Text


@dataclass(frozen=True)
class Contract:
    """The columns of a source, its key, and what else is written about them."""

    source: str
    columns: tuple[ContractColumn, ...]
    key: tuple[Text, ...]
    notes: tuple[Text, ...]
    line: int

    def column(self, name: str) -> ContractColumn | None:
        """Return the column of a name, ignoring case."""
        return self._by_name.get(name.casefold())

    @cached_property
    def _by_name(self) -> dict[str, ContractColumn]:
        return {column.name.lower: column for column in reversed(self.columns)}


@dataclass(frozen=True)
class Transformation:
    """A step, with its number."""

    number: int
    text: Text


@dataclass(frozen=True)
class PublishedColumn:
    """A column of a published table, or all columns of its origin if `column` is empty; the origins as written."""

    table: Text
    column: Text
    origin: Text
    meaning: Text = NOTHING


@dataclass(frozen=True)
class Access:
    """Who sees a published table, and what one of its rows is."""

    table: Text
    grain: Text
    readers: Text


@dataclass(frozen=True)
class RuleRow:
    """A rule as its spec writes it: the line in the file, and the cell under each heading, which is in lower case."""

    rule_id: str
    line: int
    cells: Mapping[str, str]
    table: Text = NOTHING
    dimension: Text = NOTHING
    rule: Text = NOTHING
    severity: Text = NOTHING
    owner: Text = NOTHING
    because: Text = NOTHING

    @property
    def definition(self) -> str:
        """What the rule requires; empty if the table has no such column."""
        return self.rule.plain


@dataclass(frozen=True)
class Figure:
    """A figure of the acceptance: what is counted, the numbers, each with its heading if there is one, and the rules that report it."""

    what: Text
    counts: tuple[tuple[str, Text], ...]
    reported_by: Text = NOTHING


@dataclass(frozen=True)
class Question:
    """An open question, with its answer if there is one."""

    text: Text
    answer: Text = NOTHING


@dataclass(frozen=True)
class Section:
    """A section: what it is about, one of reading.titles.SECTIONS or empty, its title, and its text without tables."""

    about: str
    title: Text
    text: tuple[Text, ...]


@dataclass(frozen=True)
class Requirement:
    """What a spec says."""

    path: Path
    ticket: str
    fields: Mapping[str, Field]
    sections: tuple[Section, ...]
    sources: tuple[SourceEntry, ...] = ()
    contracts: tuple[Contract, ...] = ()
    transformations: tuple[Transformation, ...] = ()
    published: tuple[PublishedColumn, ...] = ()
    access: tuple[Access, ...] = ()
    rules: tuple[RuleRow, ...] = ()
    figures: tuple[Figure, ...] = ()
    questions: tuple[Question, ...] = ()
    # Rows with more cells than their table has columns: a cell that contains an unprotected `|`.
    surplus: tuple[Text, ...] = field(default=())
    # Names of the project's seeds, models and sources, which a spec may mention.
    project_names: frozenset[str] = frozenset()

    def text_of(self, name: str) -> Text:
        """Return a field's value; empty if it is missing."""
        found = self.fields.get(name)
        return NOTHING if found is None else found.value

    def section(self, about: str) -> Section | None:
        """Return the first section about something."""
        return next((section for section in self.sections if section.about == about), None)

    def line_of(self, about: str) -> int:
        """Return the line of a section's title; that of the file's first line if it is missing."""
        found = self.section(about)
        return 1 if found is None else found.title.line

    def prose(self, *about: str) -> Iterator[Text]:
        """Yield the text of the sections about these things, without their tables."""
        for section in self.sections:
            if section.about in about:
                yield from section.text

    def contract(self, source: str) -> Contract | None:
        """Return the contract of a source."""
        return self._contract_by_source.get(source)

    @cached_property
    def _contract_by_source(self) -> dict[str, Contract]:
        return {contract.source: contract for contract in reversed(self.contracts)}

    @cached_property
    def tables(self) -> dict[str, Text]:
        """The published tables by name, each where it is first named."""
        found: dict[str, Text] = {}
        listed = self.fields.get("models")
        named = [*(access.table for access in self.access), *(column.table for column in self.published)]
        for text in [*(listed.values if listed else ()), *named]:
            if text:
                found.setdefault(text.bare, text)
        return found

    @cached_property
    def source_names(self) -> tuple[str, ...]:
        """The names of its sources, from the table and the front matter."""
        listed = self.fields.get("sources")
        names = [*(source.name.bare for source in self.sources), *(text.bare for text in (listed.values if listed else ()))]
        return tuple(dict.fromkeys(names))

    def columns_of(self, table: str) -> tuple[str, ...]:
        """Return the columns of a published table, with those that it takes from a source as delivered."""
        return self._columns_by_table.get(table, ())

    @cached_property
    def _columns_by_table(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for column in self.published:
            names = found.setdefault(column.table.bare, [])
            contract = self.contract(column.origin.bare.partition(" ")[0])
            if column.column.lower in EVERYTHING and contract is not None:
                names += [delivered.name.bare for delivered in contract.columns]
            elif column.column.lower not in EVERYTHING:
                names.append(column.column.bare)
        return {table: tuple(dict.fromkeys(names)) for table, names in found.items()}

    @cached_property
    def column_names(self) -> frozenset[str]:
        """The names of all columns of its sources, in lower case."""
        return frozenset(column.name.lower for contract in self.contracts for column in contract.columns)

    def is_in_prose(self, text: Text) -> bool:
        """Return whether a text stands on a line of prose, not only in a table."""
        return text.line in self._prose_lines

    @cached_property
    def _prose_lines(self) -> frozenset[int]:
        texts = (text for section in self.sections for text in section.text)
        return frozenset(line for text in texts for line in range(text.line, text.line_at(len(text.value)) + 1))


# Names for all columns of a source.
EVERYTHING = frozenset({"", "all", "all columns", "*", "everything", "all fields"})
