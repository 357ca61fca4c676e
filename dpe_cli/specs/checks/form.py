"""Fields, status, approval, open questions, and words that leave something open."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.requirement import ASK, Requirement
from dpe_cli.specs.text import Text
from dpe_cli.specs.vocabulary import is_open, says_nothing

_VAGUE = Phrases("open_points", "vague")
_APPROVED = Phrases("open_points", "approved")
_SHORT = 300
_CODE = re.compile(r"`[^`]*`")
_QUOTES = re.compile(r"[\"“”„]")


def fields_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find fields without which a spec belongs to no one."""
    wanted = {
        "title": "What is this requirement called, in a few words?",
        "owner": "Who owns the result, and decides when this spec leaves something open?",
        "requested_by": "Who asked for this, and will use it?",
    }
    for name, question in wanted.items():
        if not requirement.text_of(name):
            line = requirement.fields[name].line if name in requirement.fields else 1
            if name == "title" and any(section.title.bare and section.about == "" for section in requirement.sections):
                continue
            yield finding("field_missing", line, f"the spec does not say its {name.replace('_', ' ')}", question)


def purpose_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find a spec that does not say what it is for."""
    if not any(requirement.prose("purpose")):
        yield finding(
            "purpose_missing",
            requirement.line_of("purpose"),
            "the spec does not say what it is for",
            "Who wants to know what from these tables, and what do they decide with it?",
        )


def draft(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find a spec that is not finished, or does not say whether it is."""
    status = requirement.text_of("status")
    if status and _APPROVED.match(status.bare):
        return
    line = requirement.fields["status"].line if "status" in requirement.fields else 1
    if not status:
        yield finding(
            "draft",
            line,
            "the spec does not say its status",
            f"Is the spec of {requirement.ticket} approved? Set its status to approved once it is.",
        )
    else:
        yield finding(
            "draft",
            line,
            f"the status of the spec is {status.bare!r}, so it may still change",
            f"The spec of {requirement.ticket} is marked {status.bare!r}. Is it complete, and approved? Then set its status to approved.",
        )


def approval_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find a spec that is said to be approved, by no one."""
    status, approver = requirement.text_of("status"), requirement.text_of("approved_by")
    if not (status and _APPROVED.match(status.bare)) or (approver and not is_open(approver)):
        return
    line = next((requirement.fields[name].line for name in ("approved_by", "status") if name in requirement.fields), 1)
    yield finding(
        "approval_missing",
        line,
        "the spec is approved, but does not say by whom",
        f"Who approved the spec of {requirement.ticket}? Name the person or the role in approved_by.",
    )


def questions_open(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find questions without an answer, and owners who are not known yet."""
    for question in requirement.questions:
        if not question.answer or is_open(question.answer):
            yield finding("question_open", question.text.line, f"an open question: {question.text.plain}", _asked(question.text))
    for name, found in requirement.fields.items():
        if name not in {"status", "approved_by"} and found.value and is_open(found.value):
            asked = (
                found.value.bare.removeprefix(ASK).strip()
                if found.value.bare.startswith(ASK)
                else f"what is the {name.replace('_', ' ')} of this spec?"
            )
            yield finding("question_open", found.line, f"{name} is still open: {found.value.bare}", f"{asked[:1].upper()}{asked[1:]}")


def _asked(text: Text) -> str:
    sentence = text.plain
    return sentence if sentence.endswith("?") else f"Please answer: {sentence}"


def vague_words(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find words that leave something open, outside of the open questions."""
    purposes = set(requirement.prose("purpose"))
    places = _places(requirement)
    for text in _texts(requirement):
        for sentence in text.sentences:
            if sentence.plain.startswith(ASK):
                yield _not_filled_in(sentence, places.get(sentence.line, ""))
            else:
                yield from _left_open(text, sentence, is_purpose=text in purposes)


def _not_filled_in(sentence: Text, place: str) -> SpecFinding:
    asked = sentence.plain.removeprefix(ASK).strip()
    return finding("question_open", sentence.line, f"not filled in yet: {asked}", f"{place}{asked[:1].upper()}{asked[1:]}")


def _left_open(text: Text, sentence: Text, *, is_purpose: bool) -> Iterator[SpecFinding]:
    without_code = _CODE.sub(lambda match: " " * len(match[0]), sentence.value)
    if match := _VAGUE.search(without_code):
        word = " ".join(match[0].split())
        yield finding(
            "vague_words",
            sentence.line_at(match.start()),
            f"{word!r} leaves open what is meant: {sentence.plain}",
            f"The spec says: “{_with_context(text, sentence)}” What exactly does “{word}” stand for here? Please list it in full.",
        )
    elif without_code.rstrip().endswith("?") and not is_purpose and not _QUOTES.search(sentence.value):
        yield finding(
            "vague_words",
            sentence.line_at(len(sentence.value.rstrip()) - 1),
            f"a question without an answer: {sentence.plain}",
            sentence.plain,
        )


def _with_context(text: Text, sentence: Text) -> str:
    """Return the text that a sentence belongs to, if it is short, so that the reader knows what it is about."""
    return text.plain if len(text.plain) <= _SHORT else sentence.plain


def _places(requirement: Requirement) -> dict[int, str]:
    """Return the source or the column that each line of a table is about, to be put before a question."""
    sources = {source.line: f"{source.name.bare}: " for source in reversed(requirement.sources)}
    columns = {
        column.name.line: f"{contract.source}, column {column.name.bare}: "
        for contract in reversed(requirement.contracts)
        for column in reversed(contract.columns)
    }
    return sources | columns


def _texts(requirement: Requirement) -> Iterator[Text]:
    """Yield all text, in which each thing is said once: cells of tables as far as they are understood, and prose."""
    for section in requirement.sections:
        if section.about != "questions" and section.title.bare:
            yield from section.text
    yield from (text for text in _cells(requirement) if text and not requirement.is_in_prose(text))


def _cells(requirement: Requirement) -> Iterator[Text]:
    for source in requirement.sources:
        yield from (source.what, source.format, source.delivered, source.loading)
    for contract in requirement.contracts:
        yield from (column.meaning for column in contract.columns)
    for column in requirement.published:
        yield from (column.column, column.meaning)
    for rule in requirement.rules:
        # Other checks ask for an owner, or a reader, that is left open in other words.
        yield from (rule.rule, *(text for text in (rule.owner,) if text.plain.startswith(ASK)), rule.because)
    for access in requirement.access:
        yield from (access.grain, *(text for text in (access.readers,) if text.plain.startswith(ASK)))
    for figure in requirement.figures:
        yield figure.what


def surplus(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find rows that have more cells than their table has columns."""
    for cell in requirement.surplus:
        yield finding(
            "cell_surplus",
            cell.line,
            f"this row has more cells than its table has columns, from {cell.plain!r} on",
            r"Does one of the cells of this row contain a | ? Write it as \| or between backticks.",
        )


def acceptance_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find a spec without a figure that shows that the result is right."""
    if not any(figure.counts and not says_nothing(figure.what) for figure in requirement.figures):
        yield finding(
            "acceptance_missing",
            requirement.line_of("acceptance"),
            "no figure says how to recognize the right result",
            "How many records are delivered, and how many rows do you expect in each table? Count them in the source, and "
            "list the figures.",
        )


CHECKS = (fields_missing, purpose_missing, draft, approval_missing, questions_open, vague_words, surplus, acceptance_missing)
