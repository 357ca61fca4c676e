"""Transformations that name what is not there, contradict each other, or leave the order open."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from dpe_cli.specs import names, vocabulary
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.requirement import Requirement
from dpe_cli.specs.text import Text
from dpe_cli.specs.vocabulary import COMPARES
from dpe_cli.words import nearest

_ORDER = re.compile(
    r"\b(?P<word>latest|newest|most recent|last|first|earliest|oldest|current)\b(?!\s+(?:name|names|day of|of (?:these|those|the following)|time\b|hour|month|quarter|year|week|in first out|letter|character|digit|two|three|four|\d))",
    re.IGNORECASE,
)
_ORDERED = re.compile(
    r"\b(?:by|according to|ordered|sorted|based on|highest|lowest|greatest|smallest|maximum|minimum|in the order|as delivered|delivered last|delivered first|delivery|deliveries|delivered|after|before|since|until|per day|file)\b|"
    r"\b\w*(?:_at|_on|_date|_time|_no|_number|_id|_version|_timestamp|_ts)\b|\b(?:date|time|timestamp|version|day|number|sequence)\b",
    re.IGNORECASE,
)
_LAST_AS_PERIOD = re.compile(
    r"\b(?:last|first|current)\s+(?:\d+|\w+teen|\w+ty|(?:calendar |business |full |completed |\w+ )?(?:days?|weeks?|months?|quarters?|years?|hours?|minutes?))\b|\bat (?:first|last)\b|\blast but not least\b",
    re.IGNORECASE,
)
_NUMBER_WORDS = {
    "zero": 0,
    "no": 0,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "twelve": 12,
    "fifteen": 15,
    "twenty": 20,
    "thirty": 30,
    "sixty": 60,
}
_AMOUNT = re.compile(
    rf"(?<![\w.,])(?P<number>\d+(?:[.,]\d+)*|{'|'.join(word for word in _NUMBER_WORDS if word not in {'no', 'one'})})(?![\w.,]*\w)",
    re.IGNORECASE,
)
_EXCLUDED = re.compile(
    r"\b(?:(?:is|are|be|get|gets) (?:\w+ )?(?:left out|excluded|dropped|removed|ignored|skipped|filtered(?: out)?|discarded|disregarded|not (?:taken|counted|included|published|loaded|shown|considered))|(?:do|does) not (?:count|appear)|must not (?:appear|be (?:counted|included|published)))\b",
    re.IGNORECASE,
)
_INCLUDED = re.compile(
    r"\b(?:(?:is|are|be|get|gets) (?:also )?(?:kept|included|counted|shown|published|reported|listed|retained|taken)|(?:remains?|stays?|counts?|appears?)\b(?! out)|with (?:an? )?(?:amount|value) (?:of )?(?:0|zero))",
    re.IGNORECASE,
)
_ROUNDED = re.compile(
    r"\bround(?:ed|ing)?\b[^.;]*?\b(?:to|on)\s+(?P<to>(?:the )?(?:nearest |full |whole )?(?:\w+)(?: (?:decimals?|digits|places|decimal places))?)|\b(?P<not>not rounded|without rounding|no rounding|unrounded)\b",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"\b(?:is|are|counts? as|treated as|considered(?: as)?|called|classified as|flagged(?: as)?|marked(?: as)?|means?)\s+(?:an? |the )?(?:`|“|\")?(?P<label>[a-z]{3,})\b",
    re.IGNORECASE,
)
_NOT_LABELS = frozenset(
    [
        "the",
        "not",
        "that",
        "this",
        "left",
        "kept",
        "true",
        "false",
        "null",
        "empty",
        "zero",
        "only",
        "one",
        "two",
        "per",
        "set",
        "made",
        "taken",
        "added",
        "counted",
        "published",
        "delivered",
        "loaded",
        "rounded",
        "converted",
        "calculated",
        "computed",
        "derived",
        "excluded",
        "included",
        "dropped",
        "removed",
        "ignored",
        "from",
        "with",
        "for",
        "then",
        "also",
        "its",
        "their",
        "his",
        "her",
        "our",
        "after",
        "before",
        "when",
        "where",
        "late_",
        "unknown",
        "missing",
        "given",
        "shown",
        "more",
        "less",
        "all",
        "any",
        "each",
        "every",
        "stored",
        "written",
    ]
)
_EMPTY = re.compile(
    r"\b(?:missing|empty|blank|null|no|without(?: an?| any)?)\s+`?(?P<what>\w+)`?[^.;]*?\b(?:(?P<zero>(?:is|are|becomes?|counts? as|set to|treated as|replaced (?:by|with)|taken as)\s+(?:an? )?(?:0|zero)\b)|(?P<kept>(?:stays?|remains?|left|kept)\s+(?:as )?(?:empty|null|blank|missing|unknown)))",
    re.IGNORECASE,
)
_EQUALS = re.compile(r"`?(?P<name>[a-z]\w*_\w+|\b[a-z]\w+)`?\s*=\s*(?P<formula>[^.;\n]+)", re.IGNORECASE)
_STOP = frozenset(
    [
        "the",
        "a",
        "an",
        "all",
        "any",
        "each",
        "every",
        "of",
        "in",
        "on",
        "with",
        "without",
        "that",
        "which",
        "and",
        "or",
        "is",
        "are",
        "was",
        "were",
        "to",
        "by",
        "for",
        "its",
        "their",
        "from",
        "as",
        "at",
        "be",
        "has",
        "have",
        "into",
        "not",
        "status",
        "state",
        "type",
        "flag",
        "record",
        "row",
        "entry",
        "value",
        "completely",
        "always",
        "never",
        "also",
        "only",
    ]
)


def columns_unknown(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find names of columns that neither a source nor the spec itself has."""
    if not requirement.contracts:
        return
    known = names.known(requirement) | names.made(requirement)
    sources = sorted({column.name.bare for contract in requirement.contracts for column in contract.columns})
    for step in requirement.transformations:
        for name in names.columns_in(step.text):
            if name.lower not in known:
                near = nearest(name.bare, sources)
                listed = ", ".join(requirement.source_names)
                yield finding(
                    "column_unknown",
                    name.line,
                    f"transformation {step.number} names {name.bare}, which no source has and no transformation makes",
                    f"Transformation {step.number} uses {name.bare}, which is not a column of {listed}. "
                    + (f"Is {near} meant, or how is it calculated?" if near else "Which column is meant, or how is it calculated?"),
                )


def order_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find `latest`, `first` and the like without the column that orders."""
    for step in requirement.transformations:
        for sentence in step.text.sentences():
            without_periods = _LAST_AS_PERIOD.sub(lambda match: " " * len(match[0]), sentence.value)
            match = _ORDER.search(without_periods)
            if match is None or _ORDERED.search(without_periods[: match.start()] + without_periods[match.end() :]):
                continue
            if any(names.columns_in(sentence)) and _names_moment(requirement, sentence):
                continue
            word = match["word"]
            yield finding(
                "order_missing",
                sentence.line_at(match.start()),
                f"transformation {step.number} takes the {word} one, and does not say by what: {sentence.plain}",
                f"Transformation {step.number} says “{sentence.plain}” By which column is the {word} one found{_candidates(requirement)}, and which counts if two are equal in it?",
            )


def _candidates(requirement: Requirement) -> str:
    """Return the columns that could order records, for a question; empty if there are none."""
    found = [
        column.name.bare
        for contract in requirement.contracts
        for column in contract.columns
        if re.search(r"date|time", column.data_type.lower)
    ]
    return f" ({', '.join(dict.fromkeys(found[:5]))}?)" if found else ""


def _names_moment(requirement: Requirement, sentence: Text) -> bool:
    return any(
        re.search(r"date|time", column.data_type.lower)
        or re.search(r"\b(?:at|on|date|time|version|number)\b", vocabulary.words_of(column.name.bare))
        for column in names.mentioned(requirement, sentence)
    )


@dataclass(frozen=True)
class _Statement:
    """A sentence of a transformation."""

    number: int
    text: Text


def contradictions(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find two sentences that cannot both hold."""
    statements = [_Statement(step.number, sentence) for step in requirement.transformations for sentence in step.text.sentences()]
    statements += [_Statement(0, sentence) for text in requirement.prose("purpose", "published columns") for sentence in text.sentences()]
    labels = {label for statement in statements if statement.number for label in _labels(statement.text)}
    seen: set[tuple[int, int]] = set()
    for one, other in combinations(statements, 2):
        if (one.text.line, other.text.line) in seen or not (one.number or other.number):
            continue
        if why := _contradiction(requirement, one.text, other.text, labels):
            seen.add((one.text.line, other.text.line))
            first, second = (_place(one), _place(other))
            yield finding(
                "contradiction",
                other.text.line,
                f"{second} contradicts {first} (line {one.text.line}): {why}",
                f"The spec says “{one.text.plain}” (line {one.text.line}) and “{other.text.plain}” (line {other.text.line}). Which of the two holds?",
            )


def _place(statement: _Statement) -> str:
    return f"transformation {statement.number}" if statement.number else "the text"


def _contradiction(requirement: Requirement, one: Text, other: Text, labels: set[str]) -> str:
    return (
        _by_exclusion(one, other)
        or _by_exclusion(other, one)
        or _by_rounding(one, other)
        or _by_empty(one, other)
        or _by_formula(one, other)
        or _by_threshold(one, other, labels)
    )


def _content(text: str) -> set[str]:
    return {_stem(word) for word in re.findall(r"[a-z]{3,}", text.lower()) if word not in _STOP}


def _stem(word: str) -> str:
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _by_exclusion(one: Text, other: Text) -> str:
    """The records that one sentence leaves out, the other one keeps."""
    match = _EXCLUDED.search(one.plain)
    if match is None or _EXCLUDED.search(other.plain):
        return ""
    subject = _content(re.split(r"[,;:(]|\b(?:if|when|where|whose|because|so)\b", one.plain[: match.start()])[0])
    included = _INCLUDED.search(other.plain)
    if included is None or not subject or len(subject) > 4:
        return ""
    return "one leaves out what the other one keeps" if subject <= _content(other.plain[: included.end()]) else ""


def _by_rounding(one: Text, other: Text) -> str:
    first, second = _ROUNDED.search(one.plain), _ROUNDED.search(other.plain)
    if first is None or second is None:
        return ""
    named = [{name.lower for name in names.columns_in(text)} for text in (one, other)]
    if named[0] and named[1] and not named[0] & named[1]:
        return ""
    if not (named[0] and named[1]) and not _content(one.plain[: first.start()]) & _content(other.plain[: second.start()]):
        return ""
    to = [_digits(match) for match in (first, second)]
    return "they round differently" if to[0] != to[1] else ""


def _digits(match: re.Match[str]) -> str:
    if match["not"]:
        return "not"
    text = re.sub(r"\b(?:the|nearest)\b|\b(?:decimals?|digits|places|decimal places)\b", "", match["to"].lower()).strip()
    return str(_NUMBER_WORDS.get(text, text))


def _by_empty(one: Text, other: Text) -> str:
    first, second = _EMPTY.search(one.plain), _EMPTY.search(other.plain)
    if first is None or second is None or _stem(first["what"].lower()) != _stem(second["what"].lower()):
        return ""
    return "a missing value is zero in one, and stays empty in the other one" if bool(first["zero"]) != bool(second["zero"]) else ""


def _by_formula(one: Text, other: Text) -> str:
    first, second = _EQUALS.search(one.plain), _EQUALS.search(other.plain)
    if first is None or second is None or first["name"].lower() != second["name"].lower():
        return ""
    formulas = [re.sub(r"[\s`]", "", match["formula"].lower()) for match in (first, second)]
    return f"{first['name']} is calculated in two ways" if formulas[0] != formulas[1] else ""


def _by_threshold(one: Text, other: Text, labels: set[str]) -> str:
    """Both say from which number on something has the same label, and name different numbers."""
    if not (COMPARES.search(one.plain) and COMPARES.search(other.plain)):
        return ""
    for label in sorted(labels):
        if not all(re.search(rf"\b{re.escape(label)}\b", text.lower) for text in (one, other)):
            continue
        first, second = _thresholds(one), _thresholds(other)
        for measure in first.keys() & second.keys():
            if len(first[measure]) == len(second[measure]) == 1 and first[measure] != second[measure]:
                return f"{label} begins at {_shown(first[measure])} in one, and at {_shown(second[measure])} in the other one"
    return ""


def _shown(found: Sequence[tuple[float, str]]) -> str:
    (number, unit) = found[0]
    return f"{number:g} {unit}".strip()


def _thresholds(text: Text) -> dict[str, list[tuple[float, str]]]:
    """Return the numbers of a sentence with their units, by what they measure."""
    found: dict[str, list[tuple[float, str]]] = {}
    for match in _AMOUNT.finditer(text.plain):
        word = match["number"].lower()
        number = float(_NUMBER_WORDS[word]) if word in _NUMBER_WORDS else float(word.replace(",", ""))
        after = text.plain[match.end() : match.end() + 20]
        units = [(measure, unit) for measure, unit, position in vocabulary.units_in(after) if position <= 1]
        measure, unit = units[0] if units else ("", "")
        found.setdefault(measure, []).append((number, unit))
    return found


def _labels(text: Text) -> Iterator[str]:
    if _thresholds(text):
        for match in _LABEL.finditer(text.plain):
            label = match["label"].lower()
            if label not in _NOT_LABELS:
                yield label


CHECKS = (columns_unknown, order_missing, contradictions)
