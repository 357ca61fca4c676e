"""Two sentences that cannot both hold."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property

from dpe_cli.specs import names, phrases, vocabulary
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.requirement import Requirement
from dpe_cli.specs.text import Text

_NUMERAL = Phrases("transformations", "numeral")
_EXCLUDED = Phrases("transformations", "excluded")
_INCLUDED = Phrases("transformations", "included")
# What a sentence says of the records that it leaves out, besides their name, before the verb or after it.
_ASIDE = re.compile(r"[,;:(]")
_CONDITION = re.compile(r"\s+(?:if|when|where|whose|that)\b[^,;:(.]*", re.IGNORECASE)
_MOST_WORDS = 6
_ROUNDED = Phrases("transformations", "rounded")
_DIGITS = Phrases("transformations", "digits")
_MISSING_VALUE = Phrases("transformations", "missing value")
_LABEL = Phrases("transformations", "label")
_EQUALS = re.compile(r"`?(?<!\w)(?P<name>[a-z]\w{1,99})`?\s{0,9}=\s*(?P<formula>[^.;\n]+)", re.IGNORECASE)
# A sentence is compared with as many earlier ones about the same: a spec of thousands of sentences is not written by a person.
_MOST_COMPARED = 30


def contradictions(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find two sentences that cannot both hold."""
    statements = [_Statement(step.number, sentence) for step in requirement.transformations for sentence in step.text.sentences]
    statements += [_Statement(0, sentence) for text in requirement.prose("purpose", "published columns") for sentence in text.sentences]
    labels = {label for statement in statements if statement.number for label in statement.labels}
    seen: set[tuple[int, int]] = set()
    for one, other in _pairs(statements, labels):
        lines = (one.text.line, other.text.line)
        if lines in seen or not (one.number or other.number):
            continue
        if why := _contradiction(one, other, labels):
            seen.add(lines)
            yield finding(
                "contradiction",
                other.text.line,
                f"{other.place} contradicts {one.place} (line {one.text.line}): {why}",
                f"The spec says “{one.text.plain}” (line {one.text.line}) and “{other.text.plain}” (line {other.text.line}). "
                "Which of the two holds?",
            )


@dataclass(frozen=True)
class _Statement:
    """A sentence, with the number of its transformation; 0 if it is of none."""

    number: int
    text: Text

    @property
    def place(self) -> str:
        """Where it stands, for a finding."""
        return f"transformation {self.number}" if self.number else "the text"

    @cached_property
    def excluded(self) -> frozenset[str]:
        """The words for the records that it leaves out; empty if it leaves out none, or more words describe them than can be compared."""
        match = _EXCLUDED.search(self.text.plain)
        if match is None:
            return frozenset()
        before, after = self.text.plain[: match.start()], self.text.plain[match.end() :]
        condition = _CONDITION.match(after)
        subject = _content(_ASIDE.split(before)[0]) | (frozenset() if condition is None else _content(condition[0]))
        return subject if len(subject) <= _MOST_WORDS else frozenset()

    @cached_property
    def kept(self) -> frozenset[str]:
        """The words for the records that it keeps; empty if it keeps none, or leaves out some."""
        match = None if _EXCLUDED.is_in(self.text) else _INCLUDED.search(self.text.plain)
        return frozenset() if match is None else _content(self.text.plain[: match.end()])

    @cached_property
    def rounded(self) -> tuple[str, frozenset[str], frozenset[str]] | None:
        """To what it rounds, the columns that it names, and the words for what is rounded."""
        match = _ROUNDED.search(self.text.plain)
        if match is None:
            return None
        columns = frozenset(name.lower for name in names.columns_in(self.text))
        return _digits(match), columns, _content(self.text.plain[: match.start()])

    @cached_property
    def missing_value(self) -> tuple[str, bool] | None:
        """Of what a value is missing, and whether it then counts as zero."""
        match = _MISSING_VALUE.search(self.text.plain)
        return None if match is None else (_stem((match["what"] or match["of"]).lower()), match["zero"] is not None)

    @cached_property
    def formula(self) -> tuple[str, str, str] | None:
        """The name that it calculates, in lower case and as written, and how."""
        match = _EQUALS.search(self.text.plain)
        return None if match is None else (match["name"].lower(), match["name"], re.sub(r"[\s`]", "", match["formula"].lower()))

    @cached_property
    def thresholds(self) -> dict[str, list[tuple[float, str]]]:
        """Its numbers with their units, by what they measure."""
        found: dict[str, list[tuple[float, str]]] = {}
        values = phrases.content("transformations")["numbers"]
        for match in _NUMERAL.finditer(self.text.plain):
            number = float(match["digits"].replace(",", "")) if _is_number(match["digits"]) else values.get((match["number"] or "").lower())
            if number is None:
                continue
            after = self.text.plain[match.end() : match.end() + 20]
            measure, unit = next(((measure, unit) for measure, unit, position in vocabulary.units_in(after) if position <= 1), ("", ""))
            found.setdefault(measure, []).append((float(number), unit))
        return found

    @cached_property
    def labels(self) -> frozenset[str]:
        """The words for what fulfils its condition: `late` in `an order is late if …`."""
        found = (match["label"].lower() for match in _LABEL.finditer(self.text.plain)) if self.thresholds else ()
        return frozenset(found) - phrases.words("transformations", "not labels")

    @cached_property
    def limits(self) -> frozenset[str]:
        """Its words, if it has a limit with a number."""
        return frozenset(re.findall(r"\w+", self.text.lower)) if self.thresholds and vocabulary.COMPARES.is_in(self.text) else frozenset()

    def subjects(self, labels: set[str]) -> Iterator[tuple[Hashable, Hashable]]:
        """Yield what it is about, and what another sentence has to be about to contradict it."""
        yield from ((("excluded", word), ("kept", word)) for word in self.excluded)
        yield from ((("kept", word), ("excluded", word)) for word in self.kept)
        same: list[Hashable] = [("limit", label) for label in labels & self.limits]
        same += ["rounded"] if self.rounded else []
        same += [("missing", self.missing_value[0])] if self.missing_value else []
        same += [("formula", self.formula[0])] if self.formula else []
        yield from ((subject, subject) for subject in same)


def _pairs(statements: list[_Statement], labels: set[str]) -> Iterator[tuple[_Statement, _Statement]]:
    """Yield the sentences that are about the same, in their order."""
    about: dict[Hashable, list[int]] = {}
    found: set[tuple[int, int]] = set()
    for number, statement in enumerate(statements):
        subjects = list(statement.subjects(labels))
        found |= {(earlier, number) for _, wanted in subjects for earlier in about.get(wanted, ())[:_MOST_COMPARED]}
        for subject, _ in subjects:
            about.setdefault(subject, []).append(number)
    yield from ((statements[one], statements[other]) for one, other in sorted(found))


def _contradiction(one: _Statement, other: _Statement, labels: set[str]) -> str:
    """Return why two sentences cannot both hold; empty if they can."""
    if (one.excluded and one.excluded <= other.kept) or (other.excluded and other.excluded <= one.kept):
        return "one leaves out what the other one keeps"
    return _by_rounding(one, other) or _by_missing_value(one, other) or _by_formula(one, other) or _by_threshold(one, other, labels)


def _by_rounding(one: _Statement, other: _Statement) -> str:
    if one.rounded is None or other.rounded is None or one.rounded[0] == other.rounded[0]:
        return ""
    _, columns, words = one.rounded
    _, other_columns, other_words = other.rounded
    is_about_same = columns & other_columns if columns and other_columns else words & other_words
    return "they round differently" if is_about_same else ""


def _by_missing_value(one: _Statement, other: _Statement) -> str:
    if one.missing_value is None or other.missing_value is None or one.missing_value[0] != other.missing_value[0]:
        return ""
    return "a missing value is zero in one, and stays empty in the other one" if one.missing_value[1] != other.missing_value[1] else ""


def _by_formula(one: _Statement, other: _Statement) -> str:
    if one.formula is None or other.formula is None or one.formula[0] != other.formula[0]:
        return ""
    return f"{one.formula[1]} is calculated in two ways" if one.formula[2] != other.formula[2] else ""


def _by_threshold(one: _Statement, other: _Statement, labels: set[str]) -> str:
    """Return from which numbers on something has the same label."""
    for label in sorted(labels & one.limits & other.limits):
        for measure in one.thresholds.keys() & other.thresholds.keys():
            first, second = one.thresholds[measure], other.thresholds[measure]
            if len(first) == len(second) == 1 and first != second:
                return f"{label} begins at {_shown(*first[0])} in one, and at {_shown(*second[0])} in the other one"
    return ""


def _shown(number: float, unit: str) -> str:
    return f"{number:g} {unit}".strip()


def _digits(match: re.Match[str]) -> str:
    """Return to how many digits a sentence rounds: `2` for `two decimals`."""
    if match["not"]:
        return "not"
    text = " ".join(_DIGITS.sub("", match["to"].lower()).split())
    return str(phrases.content("transformations")["numbers"].get(text, text))


def _is_number(text: str | None) -> bool:
    return text is not None and re.fullmatch(r"\d+(?:\.\d+)?", text.replace(",", "")) is not None


def _content(text: str) -> frozenset[str]:
    """Return the words of a text that tell what it is about, in the singular."""
    fillers = phrases.words("transformations", "fillers")
    return frozenset(_stem(word) for word in re.findall(r"[a-z]{3,}", text.lower()) if word not in fillers)


def _stem(word: str) -> str:
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


CHECKS = (contradictions,)
