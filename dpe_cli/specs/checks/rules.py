"""Rules that cannot be tested as written, or of which something is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dpe_cli.specs import names, phrases, vocabulary
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.reading.rules import DIMENSIONS
from dpe_cli.specs.requirement import ASK, ContractColumn, Requirement, RuleRow
from dpe_cli.specs.text import Text
from dpe_cli.words import nearest

_SEVERITIES = Phrases("rules", "severities")
_UNTESTABLE = Phrases("rules", "untestable")
_TWO = Phrases("rules", "two")
# A misspelt name is compared with as many: difflib takes a while for each.
_MOST_COMPARED = 500
_NUMBER = re.compile(r"(?<![\w.,-])-?\d+(?:[.,]\d+){0,9}(?![\w.,]{0,99}\w)")
_UNIT_OF_MEANING = re.compile(
    r"\b(?:in|as)\s+(?:whole |full |complete )?(?P<unit>[\w°%/³]{1,99}(?: per \w+| Celsius| Fahrenheit)?)|"
    r"[(\[](?P<bracket>[\w°%/³]{1,99}(?: per \w{1,99})?)[)\]]"
)


def rules_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find published tables that no rule is about."""
    for name in requirement.tables:
        nouns, columns = _nouns(requirement, name), names.of_table(requirement, name)
        if not any(_is_about(requirement, rule, name, nouns, columns) for rule in requirement.rules):
            yield finding(
                "rules_missing",
                requirement.line_of("rules"),
                f"no rule is about {name}",
                f"What must be true of {name} for it to be published? For example: which columns identify a row, which are "
                "always filled, and "
                "which values are possible?",
            )


def _nouns(requirement: Requirement, table: str) -> set[str]:
    """Return the words for the rows of a table: those of its name, and of its grain."""
    grain = next((access.grain.lower for access in requirement.access if access.table.bare == table), "")
    words = [*vocabulary.words_of(table).split(), *re.findall(r"[a-z]{3,}", grain)]
    return {_stem(word) for word in words} - {_stem(word) for word in phrases.words("rules", "generic")}


def _is_about(requirement: Requirement, rule: RuleRow, table: str, nouns: set[str], columns: names.Columns) -> bool:
    if rule.table:
        return table in [name.bare for name in rule.table.names()] or rule.table.bare == table
    text = rule.rule.lower
    named = [name for name in requirement.tables if re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", text)]
    if named:
        return table in named
    return not nouns.isdisjoint(_stem(word) for word in re.findall(r"[a-z]{2,}", text)) or bool(columns.in_text(text))


def _stem(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def parts_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find rules without a definition, a dimension, a severity, an owner or a reason."""
    for rule in requirement.rules:
        yield from _consequence_missing(rule)
        yield from _origin_missing(rule)


def _consequence_missing(rule: RuleRow) -> Iterator[SpecFinding]:
    """Find a rule that does not say what it requires, what happens if it is broken, or of which dimension it is."""
    if not rule.rule:
        yield finding("rule_untestable", rule.line, f"rule {rule.rule_id} has no definition", f"What does rule {rule.rule_id} require?")
    if not _SEVERITIES.fullmatch(rule.severity.bare):
        said = f" (only {rule.severity.plain!r})" if rule.severity else ""
        yield finding(
            "severity_missing",
            rule.line,
            f"rule {rule.rule_id} does not say what happens if it is broken{said}",
            f"If rule {rule.rule_id} is broken ({rule.rule.plain}): does that stop the publication (error), or is it only reported (warn)?",
        )
    if rule.dimension.lower not in DIMENSIONS:
        said = f" ({rule.dimension.plain!r} is not one)" if rule.dimension else ""
        yield finding(
            "dimension_missing",
            rule.line,
            f"rule {rule.rule_id} has no dimension{said}",
            f"Is rule {rule.rule_id} about {', '.join(DIMENSIONS[:-1])} or {DIMENSIONS[-1]}?",
        )


def _origin_missing(rule: RuleRow) -> Iterator[SpecFinding]:
    """Find a rule that does not say who owns it, or why it exists."""
    if _is_missing(rule.owner):
        yield finding(
            "owner_missing",
            rule.line,
            f"rule {rule.rule_id} has no owner",
            f"Who owns rule {rule.rule_id}, that is, decides what to do when it is broken ({rule.rule.plain})?",
        )
    if _is_missing(rule.because):
        yield finding(
            "reason_missing",
            rule.line,
            f"rule {rule.rule_id} does not say why it exists",
            f"Why must this hold: {rule.rule.plain} What goes wrong for the readers if it does not?",
        )


def _is_missing(cell: Text) -> bool:
    """Return whether a cell says nothing; what a new spec leaves to fill in is asked for elsewhere."""
    return vocabulary.says_nothing(cell) or (vocabulary.is_open(cell) and not cell.plain.startswith(ASK))


def untestable(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find rules that no query can decide."""
    for rule in requirement.rules:
        match = _UNTESTABLE.search(rule.rule.plain)
        if match is not None and not _NUMBER.search(rule.rule.plain):
            yield finding(
                "rule_untestable",
                rule.rule.line_at(0),
                f"rule {rule.rule_id} cannot be tested as written, because {match[0]!r} is not a condition: {rule.rule.plain}",
                f"Rule {rule.rule_id} says “{rule.rule.plain}” How would you recognize a row that breaks it? Please name the "
                "column and the limit, the list of "
                "values or the comparison.",
            )


def columns_unknown(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find rules that name a column which no source and no published table has."""
    if not requirement.contracts:
        return
    known = names.known(requirement) | names.made(requirement)
    listed = sorted({column for table in requirement.tables for column in requirement.columns_of(table)})
    for rule in requirement.rules:
        for name in names.columns_in(rule.rule):
            if name.lower not in known:
                near = nearest(name.bare, listed[:_MOST_COMPARED])
                yield finding(
                    "rule_column_unknown",
                    rule.line,
                    f"rule {rule.rule_id} names {name.bare}, which no source and no published table has",
                    f"Rule {rule.rule_id} is about {name.bare}, which is neither delivered nor published. Which column is meant"
                    + (f": {near}?" if near else "?"),
                )


def threshold_unit(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find limits without a unit, or in another unit than that of their column."""
    sentences = [(f"rule {rule.rule_id}", sentence, rule.line) for rule in requirement.rules for sentence in rule.rule.sentences]
    sentences += [
        (f"transformation {step.number}", sentence, 0) for step in requirement.transformations for sentence in step.text.sentences
    ]
    columns = names.of_requirement(requirement)
    for place, sentence, line in sentences:
        if not vocabulary.COMPARES.is_in(sentence):
            continue
        for column in columns.mentioned(sentence):
            if (unit := _unit_of(column)) and (why := _other_unit(sentence, column, unit)):
                yield finding(
                    "threshold_unit",
                    line or sentence.line,
                    f"{place} {why}: {sentence.plain}",
                    f"{place[:1].upper()}{place[1:]} says “{sentence.plain}” The column {column.name.bare} is in {unit[1]}. What is the "
                    f"limit in {unit[1]}?",
                )
                break


def _unit_of(column: ContractColumn) -> tuple[str, str] | None:
    """Return what a column measures, and its unit, according to its name or its meaning."""
    last = vocabulary.words_of(column.name.bare).rpartition(" ")[2]
    is_unit = " " in vocabulary.words_of(column.name.bare) and last not in phrases.words("rules", "not units")
    if is_unit and (found := vocabulary.units_in(last)):
        return found[0][:2]
    for match in _UNIT_OF_MEANING.finditer(column.meaning.bare):
        if found := vocabulary.units_in(match["unit"] or match["bracket"]):
            return found[0][:2]
    return None


def _other_unit(sentence: Text, column: ContractColumn, unit: tuple[str, str]) -> str:
    measure, name = unit
    numbers = list(_NUMBER.finditer(sentence.plain))
    # Zero is the same in each unit, apart from temperatures.
    if not numbers or (measure != "temperature" and all(re.fullmatch(r"[-0.,]+", number[0]) for number in numbers)):
        return ""
    named = [(found, other) for found, other, _ in vocabulary.units_in(sentence.plain[numbers[0].end() :])]
    same = {other for found, other in named if found == measure}
    if name in same:
        return ""
    if same:
        return f"has a limit in {', '.join(sorted(same))}, and {column.name.bare} is in {name}"
    if measure == "money" and named:
        return ""
    return (
        f"has a limit without a unit, and {column.name.bare} is in {name}" if not named and not vocabulary.units_in(sentence.plain) else ""
    )


def two_owners(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find decisions that two would have to take."""
    for rule in requirement.rules:
        if rule.owner and _TWO.search(rule.owner.bare) and not vocabulary.is_open(rule.owner):
            yield finding(
                "two_owners",
                rule.line,
                f"rule {rule.rule_id} has several owners: {rule.owner.plain}",
                f"Rule {rule.rule_id} belongs to {rule.owner.plain}. Which one of them decides when it is broken?",
            )
    owner = requirement.fields.get("owner")
    if owner is not None and (len(owner.values) > 1 or _TWO.search(owner.value.bare)):
        yield finding(
            "two_owners",
            owner.line,
            f"the spec has several owners: {owner.value.plain}",
            f"The owner of the spec is {owner.value.plain}. Which one of them decides if the spec leaves something open?",
        )


CHECKS = (rules_missing, parts_missing, untestable, columns_unknown, threshold_unit, two_owners)
