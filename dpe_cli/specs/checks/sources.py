"""Sources that are not located, not described, or of which something is still open."""

from __future__ import annotations

from collections.abc import Iterator

from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.reading import wording
from dpe_cli.specs.requirement import ASK, Contract, Requirement, SourceEntry
from dpe_cli.specs.vocabulary import is_open


def unlisted(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find sources that the front matter lists and the table lacks, or the other way around."""
    listed = requirement.fields.get("sources")
    if listed is None or requirement.section("sources") is None:
        return
    described = {
        source.name.bare: source for source in requirement.sources if source.what or source.location or source.delivered or source.loading
    }
    for name in sorted(described.keys() - {text.bare for text in listed.values}):
        yield finding(
            "source_unlisted",
            described[name].line,
            f"{name} is described, but the front matter does not list it among the sources",
            f"Does this pipeline use {name}? Then add it to sources; otherwise remove its description.",
        )


def not_located(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find sources of which the spec does not say where their records are."""
    if not requirement.source_names:
        yield finding(
            "source_not_located",
            requirement.line_of("sources"),
            "the spec names no source",
            "Where do the records come from? Name each file, API or database, and who delivers it.",
        )
    for source in requirement.sources:
        if not wording.location(source.location):
            said = f"only {source.location.plain!r}" if source.location else "nothing"
            yield finding(
                "source_not_located",
                source.location.line or source.line,
                f"{source.name.bare} is not located: the spec says {said} about where its records are",
                f"Where exactly are the records of {source.name.bare}? Give the path of the file, the address of the API, or "
                "the URL of the database "
                "and its table, as the pipeline can reach it.",
            )


def not_described(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find sources whose columns the spec does not list."""
    for source in requirement.sources:
        contract = requirement.contract(source.name.bare)
        if contract is None or not contract.columns:
            yield finding(
                "source_not_described",
                source.line,
                f"the columns of {source.name.bare} are not described",
                f"Which columns does {source.name.bare} have? For each: its name, its type, whether it may be empty, and what it means; "
                "and which of them identify a record?",
            )
        else:
            yield from _key_missing(source, contract)
            yield from _types_missing(source, contract)


def _key_missing(source: SourceEntry, contract: Contract) -> Iterator[SpecFinding]:
    if not contract.key:
        yield finding(
            "key_missing",
            contract.line,
            f"the spec does not say which columns identify a record of {source.name.bare}",
            f"By which column, or columns, is a record of {source.name.bare} identified? Can a value of it occur twice?",
        )
    for key in contract.key:
        if contract.column(key.bare) is None:
            yield finding(
                "key_missing",
                key.line,
                f"the key of {source.name.bare} names {key.bare}, which is not among its columns",
                f"Which column of {source.name.bare} is meant by {key.bare} in its key?",
            )


def _types_missing(source: SourceEntry, contract: Contract) -> Iterator[SpecFinding]:
    for column in contract.columns:
        if not column.data_type:
            yield finding(
                "type_missing",
                column.name.line,
                f"the type of {source.name.bare}.{column.name.bare} is not stated",
                f"What does the column {column.name.bare} of {source.name.bare} hold: a text, a whole number, an amount, a date, a time?",
            )


def owners_open(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find sources whose owner or location is still open."""
    for source in requirement.sources:
        for text in (source.owner, source.loading, source.delivered):
            if text and is_open(text) and not text.plain.startswith(ASK):
                yield finding(
                    "question_open",
                    text.line,
                    f"something about {source.name.bare} is still open: {text.plain!r}",
                    f"What is meant by {text.plain!r} in the row of {source.name.bare}? Please fill it in.",
                )


CHECKS = (unlisted, not_located, not_described, owners_open)
