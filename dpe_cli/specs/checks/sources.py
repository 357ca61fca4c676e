"""Sources that are not located, not described, or not clear enough to be loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dpe_cli.specs import names, vocabulary
from dpe_cli.specs.checks.form import is_open
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.reading import wording
from dpe_cli.specs.requirement import ASK, Contract, Requirement, SourceEntry
from dpe_cli.specs.text import Text

# What counts then; that records come late, or are corrected, is not enough.
_NEWEST = re.compile(
    r"\b(?:newest|latest|last|most recent|newer|first|earliest)\b[^.;]*\b(?:counts?|wins?|is (?:valid|used|taken|kept)|are (?:valid|used|taken|kept))\b",
    re.IGNORECASE,
)
_ON_LATE = re.compile(
    r"\b(?:newer|newest|latest|last|later|first|earlier|old|new|corrected|second|previous|both|either|it|they|that|this|version|value|record|one)\b[^.;]*\b(?:counts?|wins?|is (?:valid|used|taken|kept|ignored|dropped)|"
    r"are (?:valid|used|taken|kept|ignored|dropped)|stands?|holds?|prevails?|remains?|stays?)\b|"
    r"\bnewer version\b|\breplac(?:es?|ed|ing)\b|\boverwr(?:ites?|itten)\b|\bsupersedes?\b|\bfinal\b|\bnever (?:chang|correct|updat|amend|deliver|arriv|com|sent)\w*|\bnot (?:changed|corrected|updated|amended)\b|\bimmutable\b|"
    r"\bno (?:corrections?|late|changes?)\b|\b(?:re-?calculated|computed again|calculated again|rebuilt)\b|\bignored\b|\bchanges? (?:the )?(?:past|earlier|published)|\bare not (?:changed|delivered|sent) again\b|\bupdates? (?:the|its)\b",
    re.IGNORECASE,
)


_LATE = re.compile(
    r"\blate(?:r)?\b|\bcorrect|\bagain\b|\bre-?(?:sent|delivered|submitted|stated|exported)\b|\bbackdated\b|\bfinal\b|\bimmutable\b|\bnever\b|\bafterwards\b|\bretroactive|\bsecond time\b|\bamend|\brevis|\bupdated?\b|\bchanged\b",
    re.IGNORECASE,
)


def unlisted(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find sources that the front matter lists and the table lacks, or the other way around."""
    listed = requirement.fields.get("sources")
    if listed is None or requirement.section("sources") is None:
        return
    described = {
        source.name.bare: source for source in requirement.sources if source.what or source.location or source.delivered or source.loading
    }
    names = {text.bare for text in listed.values}
    for name in sorted(described.keys() - names):
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
                f"Where exactly are the records of {source.name.bare}? Give the path of the file, the address of the API, or the URL of the database "
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
            continue
        if not contract.key:
            yield finding(
                "key_missing",
                contract.line,
                f"the spec does not say which columns identify a record of {source.name.bare}",
                f"By which column, or columns, is a record of {source.name.bare} identified? Can a value of it occur twice?",
            )
        for column in contract.columns:
            if not column.data_type:
                yield finding(
                    "type_missing",
                    column.name.line,
                    f"the type of {source.name.bare}.{column.name.bare} is not stated",
                    f"What does the column {column.name.bare} of {source.name.bare} hold: a text, a whole number, an amount, a date, a time?",
                )
        for key in contract.key:
            if contract.column(key.bare) is None:
                yield finding(
                    "key_missing",
                    key.line,
                    f"the key of {source.name.bare} names {key.bare}, which is not among its columns",
                    f"Which column of {source.name.bare} is meant by {key.bare} in its key?",
                )


def loading_unclear(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find sources of which the spec does not say what a second delivery does to the first."""
    for source in requirement.sources:
        if (source.what or source.location or source.delivered) and wording.loading(source.loading) is None:
            said = f" ({source.loading.plain!r})" if source.loading else ""
            yield finding(
                "loading_unclear",
                source.loading.line or source.line,
                f"the spec does not say how {source.name.bare} is loaded{said}",
                f"When {source.name.bare} is delivered again: does the new delivery replace the earlier ones, is it added to them, or does it hold "
                "only what is new or changed since (then: by which column is that seen)?",
            )


def zone_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find times that could be of any time zone."""
    for contract in requirement.contracts:
        if any(map(vocabulary.names_zone, _said_about(requirement, contract))):
            continue
        for column in contract.columns:
            if (
                vocabulary.is_moment_without_zone(column)
                and not vocabulary.names_zone(column.meaning)
                and not _is_mentioned(requirement, column.name, vocabulary.names_zone)
            ):
                yield finding(
                    "time_zone_missing",
                    column.name.line,
                    f"{contract.source}.{column.name.bare} holds times, and the spec does not say in which time zone",
                    f"In which time zone are the times in {column.name.bare} of {contract.source}: UTC, or the local time of which place? "
                    "If it is a local time, which of the two is meant in the hour that occurs twice in autumn?",
                )


def currency_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find amounts without a currency, or in several that nothing converts."""
    for contract in requirement.contracts:
        currencies = [column for column in contract.columns if vocabulary.is_currency(column)]
        amounts = [column for column in contract.columns if vocabulary.is_amount(column)]
        listed = ", ".join(column.name.bare for column in amounts)
        if amounts and currencies:
            if not any(
                re.search(r"\bcurrenc|\bconvert|\bexchange rate|\bper currency", text.lower) for text in _steps(requirement)
            ) and not all(
                vocabulary.names_currency(column.meaning) and re.search(r"\balways\b|\bonly\b", column.meaning.lower)
                for column in currencies
            ):
                used = next(
                    (
                        step.text.line
                        for step in requirement.transformations
                        if any(column in names.mentioned(requirement, step.text) for column in amounts)
                    ),
                    None,
                )
                yield finding(
                    "currency_missing",
                    used or currencies[0].name.line,
                    f"the amounts of {contract.source} ({listed}) are in several currencies, and no transformation says what becomes of them",
                    f"The amounts of {contract.source} ({listed}) come with a currency ({currencies[0].name.bare}: {currencies[0].meaning.plain}). Are they published per currency, or converted: into "
                    "which currency, at which rate, of which day?",
                )
            continue
        if any(map(vocabulary.names_currency, _said_about(requirement, contract))):
            continue
        for column in amounts:
            if not (
                vocabulary.names_currency(column.meaning)
                or vocabulary.names_currency(column.name.bare)
                or _is_mentioned(requirement, column.name, vocabulary.names_currency)
            ):
                yield finding(
                    "currency_missing",
                    column.name.line,
                    f"{contract.source}.{column.name.bare} holds amounts, and the spec does not say in which currency",
                    f"In which currency are the amounts in {column.name.bare} of {contract.source}? Always in the same one?",
                )


def late_records(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find sources that grow, without a word on records that come late or are corrected."""
    said = [*requirement.prose("sources", "source columns", "transformations"), *(step.text for step in requirement.transformations)]
    for source in requirement.sources:
        if wording.loading(source.loading) not in {"append", "incremental"}:
            continue
        about = [*said, source.loading, source.delivered, source.what]
        if not any(_says_what_counts(text, source) for text in about if _concerns(requirement, text, source)):
            hint = next((text for text in about if _LATE.search(text.plain) and _concerns(requirement, text, source)), None)
            said = f" The spec says only: “{hint.plain}”" if hint is not None else ""
            yield finding(
                "late_records",
                source.loading.line if hint is None else hint.line,
                f"{source.name.bare} grows, and the spec does not say what counts if a record arrives late, or is corrected",
                f"Can a record of {source.name.bare} arrive after its day was published, or be delivered again with other values?{said} What counts then: the newest "
                "version, the first one, or both; and do figures that were already published change?",
            )


def _says_what_counts(text: Text, source: SourceEntry) -> bool:
    """Return whether a text about late or corrected records, or a sentence about a source, says what then counts."""
    if _LATE.search(text.plain):
        return _ON_LATE.search(text.plain) is not None
    return any(_NEWEST.search(sentence.plain) and _names(sentence, source) for sentence in text.sentences())


def _names(text: Text, source: SourceEntry) -> bool:
    noun = re.escape(vocabulary.words_of(source.table)).removesuffix("s")
    return re.search(rf"\b{noun}s?\b", text.lower) is not None


def _concerns(requirement: Requirement, text: Text, source: SourceEntry) -> bool:
    """Return whether a text may be about a source: unless it names only other ones."""
    others = [other for other in requirement.sources if other.name.bare != source.name.bare]
    if source.name.bare in text.bare or re.search(rf"\b{re.escape(source.table)}\b", text.lower):
        return True
    return not any(other.name.bare in text.bare for other in others)


def _said_about(requirement: Requirement, contract: Contract) -> Iterator[Text]:
    """Yield the prose about a source: beside its columns, and about all sources."""
    yield from contract.notes
    for text in requirement.prose("sources"):
        if not any(source.name.bare in text.bare for source in requirement.sources if source.name.bare != contract.source):
            yield text


def _steps(requirement: Requirement) -> Iterator[Text]:
    yield from (step.text for step in requirement.transformations)
    yield from requirement.prose("transformations", "sources", "published columns")


def _is_mentioned(requirement: Requirement, name: Text, says: object) -> bool:
    """Return whether a sentence about a column says something."""
    words = vocabulary.words_of(name.bare)
    for text in _steps(requirement):
        for sentence in text.sentences():
            if (
                name.bare in sentence.bare or words in sentence.lower or re.search(r"\ball (?:times|amounts|prices)\b", sentence.lower)
            ) and says(sentence):  # type: ignore[operator]
                return True
    return False


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


CHECKS = (unlisted, not_located, not_described, loading_unclear, zone_missing, currency_missing, late_records, owners_open)
