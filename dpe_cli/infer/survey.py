"""The request for a survey, and what is known of a source before its values are examined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dpe_cli.blocks.block import Block
from dpe_cli.blocks.contract import MOST_COLUMNS
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SurveyRequest:
    """
    What to inspect. Options that are None are detected.

    `location` contains no secrets, only references to them. `records` is the path of the array of records in JSON.
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
        """The source table's name, as in dbt's selection syntax."""
        return f"{self.source}.{self.table}"


@dataclass(frozen=True)
class Draft:
    """
    A column before its values were examined.

    `field` is its name in the blocks. `kinds` are the kinds of value that its type may be derived from, None for all;
    `declared` is its type according to the file or database, and `is_enforced` that every value has it. `is_required`
    and `is_unique` are enforced by the database.
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
class SamplePart:
    """
    Records to examine: a block of one input, without those that dpe would reject, which `refused` counts.

    `is_cut`: the sample is complete, and there may be more records in the input.
    """

    location: str
    columns: Sequence[str]
    dialect: Dialect
    block: Block
    refused: int = 0
    first_refused: int | None = None
    is_cut: bool = False


# Yields the records to examine, once.
SampleParts = Callable[[], Iterator[SamplePart]]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """
    How to read a source: the options of its `external:` block besides location, its columns, and its records.

    `may_have_null_string`: missing values may be written as a word; `blanks_are_null`: blank values are missing even then.
    `midnights_are_dates`: its format has no dates without a time.
    """

    options: Mapping[str, object]
    drafts: Sequence[Draft]
    parts: SampleParts
    description: str = ""
    notes: Sequence[str] = ()
    may_have_null_string: bool = False
    blanks_are_null: bool = False
    midnights_are_dates: bool = False


def check_number(columns: int, *, location: str) -> None:
    """
    Check that a table can have that many columns, before each of them is examined.

    Raises:
        InputError: it cannot.
    """
    if columns > MOST_COLUMNS:
        raise InputError(
            f"{location}: has {columns:,} columns, and a table can have {MOST_COLUMNS:,} besides dpe's own; "
            "name a source with fewer, or ask the sender for records with fewer"
        )
