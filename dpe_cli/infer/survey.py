"""What is asked for, and what is known of a source before its values are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect


@dataclass(frozen=True, kw_only=True)
class Asked:
    """
    What to look at. What is None is found out.

    `location` holds no secret: a reference stands for it. `records` is the path of the array of records in JSON.
    """

    location: str
    source: str
    table: str
    sample: int
    project_dir: Path
    file_format: str | None = None
    relation: str | None = None
    records: str | None = None
    header: bool | None = None
    sheet: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    allow_private_addresses: bool = False

    @property
    def name(self) -> str:
        """The source table's name, as dbt's selection syntax has it."""
        return f"{self.source}.{self.table}"


@dataclass(frozen=True)
class Draft:
    """
    A column before its values were looked at.

    `field` is what the blocks call it. `kinds` are the kinds of value that its type may be made of, all where it is None;
    `declared` is the type that a file or a database says it has, and `is_enforced` that every value is of it. `is_required`
    and `is_unique` are what a database keeps so.
    """

    name: str
    field: str
    path: str | None = None
    start: int | None = None
    width: int | None = None
    kinds: frozenset[str] | None = None
    declared: str | None = None
    is_enforced: bool = False
    description: str = ""
    is_required: bool = False
    is_unique: bool = False


@dataclass(frozen=True)
class Part:
    """
    Records to look at: a block of one input, without what dpe would reject, of which there were `refused`.

    `is_cut`: enough were looked at, and there may be more in the input.
    """

    location: str
    columns: Sequence[str]
    dialect: Dialect
    block: Block
    refused: int = 0
    first_refused: int | None = None
    is_cut: bool = False


# Gives the records to look at, once.
Parts = Callable[[], Iterator[Part]]


@dataclass(frozen=True, kw_only=True)
class Look:
    """
    How a source is read: the options of its `external:` block besides location, its columns, and its records.

    `may_have_null_string`: missing values may be written as a word; `blanks_are_null`: and what is blank is missing all the same.
    `midnights_are_dates`: its format knows no dates without a time.
    """

    options: Mapping[str, object]
    drafts: Sequence[Draft]
    parts: Parts
    description: str = ""
    notes: Sequence[str] = ()
    may_have_null_string: bool = False
    blanks_are_null: bool = False
    midnights_are_dates: bool = False
