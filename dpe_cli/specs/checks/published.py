"""Published columns whose origin is not clear."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.requirement import EVERYTHING, PublishedColumn, Requirement
from dpe_cli.specs.vocabulary import is_open, says_nothing

_UNCHANGED = Phrases("access", "unchanged")
_STEPS = re.compile(r"(?<![\w.])\d+(?![\w.]*\w)")


def columns_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find published tables whose columns the spec does not list."""
    if not requirement.tables:
        yield finding(
            "columns_missing",
            requirement.line_of("published columns"),
            "the spec names no published table",
            "Which tables should be published, and with which columns? For each column: from which source, or from which "
            "transformation, does it come?",
        )
    with_columns = {column.table.bare for column in requirement.published}
    for name, text in requirement.tables.items():
        if name not in with_columns:
            yield finding(
                "columns_missing",
                requirement.line_of("published columns") if requirement.section("published columns") else text.line,
                f"the spec does not list the columns of {name}",
                f"Which columns does {name} have, and from which source or transformation does each come?",
            )


def origin_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find published columns of which the spec does not say where they come from."""
    numbers = {step.number for step in requirement.transformations}
    for column in requirement.published:
        if why := _unclear(requirement, column, numbers):
            name = f"{column.table.bare}.{column.column.bare}" if column.column else column.table.bare
            yield finding(
                "origin_missing",
                column.column.line or column.table.line,
                f"{name}: {why}",
                f"Where does {name} come from: which column of which source, or which transformation?",
            )


def _unclear(requirement: Requirement, column: PublishedColumn, numbers: set[int]) -> str:
    """Return what is unclear about a column's origin; empty if nothing is."""
    origin = column.origin
    if not origin or is_open(origin) or says_nothing(origin):
        return "the spec does not say where it comes from"
    sources = [name for name in requirement.source_names if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", origin.bare)]
    steps = [int(found) for found in _STEPS.findall(origin.bare)]
    unknown = [number for number in steps if number not in numbers]
    if unknown and not sources:
        return f"it comes from transformation {unknown[0]}, which the spec does not have"
    for source in sources:
        contract = requirement.contract(source)
        named = re.search(rf"{re.escape(source)}\.(\w+)", origin.bare)
        wanted = named[1] if named else column.column.bare
        is_delivered = named is not None or _UNCHANGED.is_in(origin)
        if (
            contract is not None
            and contract.columns
            and is_delivered
            and wanted.casefold() not in EVERYTHING
            and contract.column(wanted) is None
        ):
            return f"it comes from {source} as delivered, which has no column {wanted}"
    if not sources and not steps and not _names_table(requirement, origin.bare):
        return f"its origin {origin.plain!r} is neither a source nor the number of a transformation"
    return ""


def _names_table(requirement: Requirement, origin: str) -> bool:
    """Return whether an origin names a column of a source without the source, a short name of one, or another published table."""
    words = {word.casefold() for word in re.findall(r"\w+", origin)}
    tables = {name.rpartition(".")[2].casefold() for name in requirement.source_names} | {name.casefold() for name in requirement.tables}
    return not words.isdisjoint(requirement.column_names) or not words.isdisjoint(tables)


def twice(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find columns that are listed twice, with different origins."""
    first: dict[tuple[str, str], PublishedColumn] = {}
    for column in requirement.published:
        key = (column.table.bare, column.column.lower)
        earlier = first.setdefault(key, column)
        if column.column and earlier is not column and earlier.origin and column.origin and earlier.origin.lower != column.origin.lower:
            yield finding(
                "contradiction",
                column.column.line,
                f"{column.table.bare}.{column.column.bare} has two origins: {earlier.origin.plain!r} (line "
                f"{earlier.column.line}) and {column.origin.plain!r}",
                f"Does {column.column.bare} of {column.table.bare} come from {earlier.origin.plain} or from {column.origin.plain}?",
            )


CHECKS = (columns_missing, origin_missing, twice)
