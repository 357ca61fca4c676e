"""Rules that cannot be tested as written, or of which something is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dpe_cli.specs import names, vocabulary
from dpe_cli.specs.checks.form import is_open
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.reading.rules import DIMENSIONS
from dpe_cli.specs.requirement import ASK, NONE, ContractColumn, Requirement, RuleRow
from dpe_cli.specs.text import Text
from dpe_cli.words import nearest

_SEVERITIES = re.compile(r"errors?|warn(?:ing)?s?|stops? .*|blocks? .*|reported? .*|blocker|info", re.IGNORECASE)
# What no query can decide.
_UNTESTABLE = re.compile(
    r"\b(?:good|high|sufficient|adequate|acceptable|appropriate|suitable|decent|poor) (?:data )?quality\b|\b(?:reasonable|plausible|sensible|realistic|meaningful|sane|proper|properly|adequate|"
    r"appropriate|acceptable|suspicious|unusual|normal|strange|odd|nonsensical|excessive|too (?:high|low|large|small|long|short|many|few|old|late)|"
    r"large enough|recent enough|up.to.date|timely|(?<!point )in time|soon|promptly|mostly|usually|normally|generally|largely|typically|often|sometimes|nearly all|almost all|most of|as (?:good|complete|accurate) as possible|"
    r"as expected|looks? (?:right|good|fine|ok)|makes? sense|be (?:ok|okay|fine|clean|correct|accurate|complete|consistent|reliable|trustworthy|valid))\b|"
    r"\b(?:is|are) (?:clean|correct|accurate|reliable|consistent|complete|valid|trustworthy|fine|ok|plausible)\s*(?:\.|$|,|;)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.,-])-?\d+(?:[.,]\d+)*(?![\w.,]*\w)")
_TWO = re.compile(r"\s(?:/|&|\+|or|and)\s|\w/\w|,\s*\w|\s(?:together with|resp\.?)\s", re.IGNORECASE)
_GENERIC = frozenset(
    [
        "fct",
        "dim",
        "stg",
        "int",
        "mart",
        "rpt",
        "report",
        "table",
        "fact",
        "dimension",
        "the",
        "of",
        "and",
        "by",
        "a",
        "an",
        "per",
        "with",
        "each",
    ]
)


def rules_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find published tables that no rule is about."""
    for name in requirement.tables:
        if not any(_is_about(requirement, rule, name) for rule in requirement.rules):
            yield finding(
                "rules_missing",
                requirement.line_of("rules"),
                f"no rule is about {name}",
                f"What must be true of {name} for it to be published? For example: which columns identify a row, which are always filled, and "
                "which values are possible?",
            )


def _is_about(requirement: Requirement, rule: RuleRow, table: str) -> bool:
    if rule.table:
        return table in [name.bare for name in rule.table.names()] or rule.table.bare == table
    text = rule.rule.lower
    named = [name for name in requirement.tables if re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", text)]
    if named:
        return table in named
    nouns = {_stem(word) for word in vocabulary.words_of(table).split()} - {_stem(word) for word in _GENERIC}
    grain = next((access.grain for access in requirement.access if access.table.bare == table), None)
    if grain is not None:
        nouns |= {_stem(word) for word in re.findall(r"[a-z]{3,}", grain.lower)} - {_stem(word) for word in _GENERIC}
    words = {_stem(word) for word in re.findall(r"[a-z]{2,}", text)}
    if nouns & words:
        return True
    return any(
        re.search(rf"(?<!\w){re.escape(column.casefold())}(?!\w)|\b{re.escape(vocabulary.words_of(column))}s?\b", text)
        for column in requirement.columns_of(table)
    )


def _stem(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def parts_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find rules without a definition, a dimension, a severity, an owner or a reason."""
    for rule in requirement.rules:
        if not rule.rule:
            yield finding("rule_untestable", rule.line, f"rule {rule.rule_id} has no definition", f"What does rule {rule.rule_id} require?")
        if not rule.severity or NONE.fullmatch(rule.severity.bare) or not _SEVERITIES.fullmatch(rule.severity.bare):
            said = f" (only {rule.severity.plain!r})" if rule.severity else ""
            yield finding(
                "severity_missing",
                rule.line,
                f"rule {rule.rule_id} does not say what happens if it is broken{said}",
                f"If rule {rule.rule_id} is broken ({rule.rule.plain}): does that stop the publication (error), or is it only reported (warn)?",
            )
        if not rule.owner or NONE.fullmatch(rule.owner.bare) or (is_open(rule.owner) and not rule.owner.plain.startswith(ASK)):
            yield finding(
                "owner_missing",
                rule.line,
                f"rule {rule.rule_id} has no owner",
                f"Who owns rule {rule.rule_id}, that is, decides what to do when it is broken ({rule.rule.plain})?",
            )
        if not rule.because or NONE.fullmatch(rule.because.bare) or (is_open(rule.because) and not rule.because.plain.startswith(ASK)):
            yield finding(
                "reason_missing",
                rule.line,
                f"rule {rule.rule_id} does not say why it exists",
                f"Why must this hold: {rule.rule.plain} What goes wrong for the readers if it does not?",
            )
        if rule.dimension.lower not in DIMENSIONS:
            said = f" ({rule.dimension.plain!r} is not one)" if rule.dimension else ""
            yield finding(
                "dimension_missing",
                rule.line,
                f"rule {rule.rule_id} has no dimension{said}",
                f"Is rule {rule.rule_id} about {', '.join(DIMENSIONS[:-1])} or {DIMENSIONS[-1]}?",
            )


def untestable(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find rules that no query can decide."""
    for rule in requirement.rules:
        match = _UNTESTABLE.search(rule.rule.plain)
        if match is not None and not _NUMBER.search(rule.rule.plain):
            yield finding(
                "rule_untestable",
                rule.rule.line_at(0),
                f"rule {rule.rule_id} cannot be tested as written, because {match[0]!r} is not a condition: {rule.rule.plain}",
                f"Rule {rule.rule_id} says “{rule.rule.plain}” How would you recognize a row that breaks it? Please name the column and the limit, the list of "
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
                near = nearest(name.bare, listed)
                yield finding(
                    "rule_column_unknown",
                    rule.line,
                    f"rule {rule.rule_id} names {name.bare}, which no source and no published table has",
                    f"Rule {rule.rule_id} is about {name.bare}, which is neither delivered nor published. Which column is meant"
                    + (f": {near}?" if near else "?"),
                )


def threshold_unit(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find limits without a unit, or in another unit than that of their column."""
    sentences = [(f"rule {rule.rule_id}", sentence, rule.line) for rule in requirement.rules for sentence in rule.rule.sentences()]
    sentences += [
        (f"transformation {step.number}", sentence, 0) for step in requirement.transformations for sentence in step.text.sentences()
    ]
    for place, sentence, line in sentences:
        if not vocabulary.COMPARES.search(sentence.plain):
            continue
        for column in names.mentioned(requirement, sentence):
            if (unit := _unit_of(column)) and (why := _other_unit(sentence, column, unit)):
                yield finding(
                    "threshold_unit",
                    line or sentence.line,
                    f"{place} {why}: {sentence.plain}",
                    f"{place.capitalize()} says “{sentence.plain}” The column {column.name.bare} is in {unit[1]}. What is the limit in {unit[1]}?",
                )
                break


def _unit_of(column: ContractColumn) -> tuple[str, str] | None:
    """Return what a column measures, and its unit, according to its name or its meaning."""
    last = vocabulary.words_of(column.name.bare).rpartition(" ")[2]
    if last not in {"s", "m", "h", "d", "t", "g", "l", "day", "hour", "month", "year", "week", "minute", "second", "pound", "net", "w"}:
        if " " in vocabulary.words_of(column.name.bare) and (found := vocabulary.units_in(last)):
            return found[0][0], found[0][1]
    meaning = column.meaning.bare
    for match in re.finditer(
        r"\b(?:in|as)\s+(?:whole |full |complete )?(?P<unit>[\w°%/³]+(?: per \w+| Celsius| Fahrenheit)?)|[(\[](?P<bracket>[\w°%/³]+(?: per \w+)?)[)\]]",
        meaning,
    ):
        text = match["unit"] or match["bracket"]
        if found := vocabulary.units_in(text):
            return found[0][0], found[0][1]
    return None


def _other_unit(sentence: Text, column: ContractColumn, unit: tuple[str, str]) -> str:
    measure, name = unit
    numbers = list(_NUMBER.finditer(sentence.plain))
    if not numbers:
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
        if rule.owner and _TWO.search(rule.owner.bare) and not is_open(rule.owner):
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
