"""Columns whose values mean nothing without what the spec leaves out: a time zone, a currency."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from dpe_cli.specs import names, vocabulary
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.requirement import Contract, ContractColumn, Requirement
from dpe_cli.specs.text import Text

_CONVERTS = Phrases("columns", "converts")
_ONE_CURRENCY = Phrases("columns", "one currency")
_ALL_OF_A_KIND = Phrases("columns", "all of a kind")


def zone_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find times that could be of any time zone."""
    sentences = _saying(requirement, vocabulary.names_zone)
    for contract in requirement.contracts:
        if any(map(vocabulary.names_zone, _said_about(requirement, contract))):
            continue
        for column in contract.columns:
            if not vocabulary.is_moment_without_zone(column) or vocabulary.names_zone(column.meaning) or _is_mentioned(column, sentences):
                continue
            yield finding(
                "time_zone_missing",
                column.name.line,
                f"{contract.source}.{column.name.bare} holds times, and the spec does not say in which time zone",
                f"In which time zone are the times in {column.name.bare} of {contract.source}: UTC, or the local time of which place? "
                "If it is a local time, which of the two is meant in the hour that occurs twice in autumn?",
            )


def currency_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find amounts without a currency, or in several that nothing converts."""
    sentences = _saying(requirement, vocabulary.names_currency)
    for contract in requirement.contracts:
        currencies = [column for column in contract.columns if vocabulary.is_currency(column)]
        amounts = [column for column in contract.columns if vocabulary.is_amount(column)]
        if amounts and currencies:
            yield from _not_converted(requirement, contract, amounts, currencies)
        elif not any(map(vocabulary.names_currency, _said_about(requirement, contract))):
            yield from _without_currency(contract, amounts, sentences)


def _not_converted(
    requirement: Requirement, contract: Contract, amounts: Sequence[ContractColumn], currencies: Sequence[ContractColumn]
) -> Iterator[SpecFinding]:
    is_one = all(vocabulary.names_currency(column.meaning) and _ONE_CURRENCY.is_in(column.meaning) for column in currencies)
    if is_one or any(map(_CONVERTS.is_in, _steps(requirement))):
        return
    columns = names.of_requirement(requirement)
    steps = (step.text for step in requirement.transformations)
    used = next((text for text in steps if any(column in columns.mentioned(text) for column in amounts)), None)
    listed = ", ".join(column.name.bare for column in amounts)
    yield finding(
        "currency_missing",
        currencies[0].name.line if used is None else used.line,
        f"the amounts of {contract.source} ({listed}) are in several currencies, and no transformation says what becomes of them",
        f"The amounts of {contract.source} ({listed}) come with a currency ({currencies[0].name.bare}: {currencies[0].meaning.plain}). "
        "Are they published per currency, or converted: into which currency, at which rate, of which day?",
    )


def _without_currency(contract: Contract, amounts: Sequence[ContractColumn], sentences: Sequence[Text]) -> Iterator[SpecFinding]:
    for column in amounts:
        if not any(map(vocabulary.names_currency, (column.meaning, column.name.bare))) and not _is_mentioned(column, sentences):
            yield finding(
                "currency_missing",
                column.name.line,
                f"{contract.source}.{column.name.bare} holds amounts, and the spec does not say in which currency",
                f"In which currency are the amounts in {column.name.bare} of {contract.source}? Always in the same one?",
            )


def _said_about(requirement: Requirement, contract: Contract) -> Iterator[Text]:
    """Yield the prose about a source: next to its columns, and about all sources."""
    yield from contract.notes
    for text in requirement.prose("sources"):
        if not any(source.name.bare in text.bare for source in requirement.sources if source.name.bare != contract.source):
            yield text


def _steps(requirement: Requirement) -> Iterator[Text]:
    yield from (step.text for step in requirement.transformations)
    yield from requirement.prose("transformations", "sources", "published columns")


def _saying(requirement: Requirement, says: Callable[[Text], bool]) -> list[Text]:
    """Return the sentences that say something."""
    return [sentence for text in _steps(requirement) for sentence in text.sentences if says(sentence)]


def _is_mentioned(column: ContractColumn, sentences: Sequence[Text]) -> bool:
    """Return whether a sentence is about a column, or about all of its kind."""
    name, words = column.name.bare, vocabulary.words_of(column.name.bare)
    return any(name in sentence.bare or words in sentence.lower or _ALL_OF_A_KIND.is_in(sentence) for sentence in sentences)


CHECKS = (zone_missing, currency_missing)
