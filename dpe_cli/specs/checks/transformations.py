"""Transformations that name a column that does not exist, or leave open which record counts."""

from __future__ import annotations

from collections.abc import Iterator

from dpe_cli.specs import names, phrases, vocabulary
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.requirement import ContractColumn, Requirement
from dpe_cli.words import nearest

_ONE_OF_SEVERAL = Phrases("transformations", "one of several")
_ORDERED = Phrases("transformations", "ordered")
_PERIODS = Phrases("transformations", "periods")
# A misspelt name is compared with as many: difflib takes a while for each.
_MOST_COMPARED = 500


def columns_unknown(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find names of columns that neither a source nor the spec itself has."""
    if not requirement.contracts:
        return
    known = names.known(requirement) | names.made(requirement)
    sources = sorted({column.name.bare for contract in requirement.contracts for column in contract.columns})
    for step in requirement.transformations:
        for name in names.columns_in(step.text):
            if name.lower not in known:
                near = nearest(name.bare, sources[:_MOST_COMPARED])
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
    columns = names.of_requirement(requirement)
    for step in requirement.transformations:
        for sentence in step.text.sentences:
            without_periods = _PERIODS.sub(lambda match: " " * len(match[0]), sentence.value)
            match = _ONE_OF_SEVERAL.search(without_periods)
            if match is None or _ORDERED.is_in(without_periods[: match.start()] + without_periods[match.end() :]):
                continue
            if any(names.columns_in(sentence)) and any(map(_is_ordering, columns.mentioned(sentence))):
                continue
            word = match["word"]
            yield finding(
                "order_missing",
                sentence.line_at(match.start()),
                f"transformation {step.number} takes the {word} one, and does not say by which column: {sentence.plain}",
                f"Transformation {step.number} says “{sentence.plain}” By which column is the {word} one found{_candidates(requirement)}, "
                "and which one counts if two are equal in it?",
            )


def _candidates(requirement: Requirement) -> str:
    """Return the columns that could order records, for a question; empty if there are none."""
    found = [column.name.bare for contract in requirement.contracts for column in contract.columns if _is_moment(column)]
    return f" ({', '.join(dict.fromkeys(found[:5]))}?)" if found else ""


def _is_ordering(column: ContractColumn) -> bool:
    """Return whether records can be ordered by a column."""
    words = vocabulary.words_of(column.name.bare).split()
    return _is_moment(column) or not phrases.words("transformations", "ordering columns").isdisjoint(words)


def _is_moment(column: ContractColumn) -> bool:
    return any(word in column.data_type.lower for word in ("date", "time"))


CHECKS = (columns_unknown, order_missing)
