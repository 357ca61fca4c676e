"""Fields, status, approval, open questions, and words that leave something open."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.requirement import ASK, NONE, Requirement
from dpe_cli.specs.text import Text

# Who decides, or when, is written in a cell or a field, and this says that it is not known yet.
OPEN = re.compile(
    r"\?+|tb[acd]\.?\b.*|to be (?:confirmed|defined|decided|determined|agreed|announced|named)\b.*|open|unknown|unclear|pending|not (?:yet )?(?:known|decided|named)|"
    r"xxx+|todo\b.*|\w.*\?",
    re.IGNORECASE,
)
_VAGUE = re.compile(
    r"\betc\b\.?|\bT\.?B\.?[ADC]\b\.?|\bto be (?:confirmed|defined|decided|determined|agreed|clarified|discussed)\b|"
    r"\b(?:as|if|where|when) (?:needed|required|necessary|appropriate|applicable|possible|desired)\b|"
    r"\band so (?:on|forth)\b|\band the like\b|\band others\b|\bor (?:similar|something|so|the like)\b|\bsome kind of\b|\bsomehow\b|"
    r"\bas usual\b|\bthe usual\b|\bas (?:discussed|agreed|before)\b|\bwill (?:confirm|be (?:confirmed|clarified|defined|provided|decided))\b|"
    r"\bnot (?:yet )?(?:clear|decided|final)\b|\bmore or less\b|\bfor (?:now|the time being)\b|\?\?+|\[\s*\.{3}\s*\]|\bXXX\b|\bTODO\b",
    re.IGNORECASE,
)
_SHORT = 300
_CODE = re.compile(r"`[^`]*`")
_DRAFTS = re.compile(
    r"draft|wip|work in progress|in (?:review|progress|preparation)|proposed|proposal|new|open|outline|review", re.IGNORECASE
)
_APPROVED = re.compile(r"approved|accepted|final|released|done|signed off|implemented|live|in production", re.IGNORECASE)


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


def is_open(text: Text) -> bool:
    """Return whether a cell or field says that its content is not known yet."""
    return OPEN.fullmatch(text.bare) is not None


def vague_words(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find words that leave something open, outside of the open questions."""
    purposes = list(requirement.prose("purpose"))
    for text in _texts(requirement):
        for sentence in text.sentences():
            if sentence.plain.startswith(ASK):
                asked = sentence.plain.removeprefix(ASK).strip()
                yield finding(
                    "question_open",
                    sentence.line,
                    f"not filled in yet: {asked}",
                    f"{_place(requirement, sentence)}{asked[:1].upper()}{asked[1:]}",
                )
                continue
            without_code = _CODE.sub(lambda match: " " * len(match[0]), sentence.value)
            if match := _VAGUE.search(without_code):
                word = sentence.value[match.start() : match.end()]
                yield finding(
                    "vague_words",
                    sentence.line_at(match.start()),
                    f"{word!r} leaves open what is meant: {sentence.plain}",
                    f"The spec says: “{_with_context(text, sentence)}” What exactly does “{word}” stand for here? Please list it in full.",
                )
            elif without_code.rstrip().endswith("?") and text not in purposes and not re.search(r"[\"“”„]", sentence.value):
                yield finding(
                    "vague_words",
                    sentence.line_at(len(sentence.value.rstrip()) - 1),
                    f"a question without an answer: {sentence.plain}",
                    sentence.plain,
                )


def _with_context(text: Text, sentence: Text) -> str:
    """Return the text that a sentence belongs to, if it is short, so that the reader knows what it is about."""
    return text.plain if len(text.plain) <= _SHORT else sentence.plain


def _place(requirement: Requirement, text: Text) -> str:
    """Return the column or the source that a question in a table is about, before the question."""
    for contract in requirement.contracts:
        for column in contract.columns:
            if column.name.line == text.line:
                return f"{contract.source}, column {column.name.bare}: "
    return next((f"{source.name.bare}: " for source in requirement.sources if source.line == text.line), "")


def _texts(requirement: Requirement) -> Iterator[Text]:
    """Yield all text, in which each thing is said once: cells of tables as far as they are understood, and prose."""
    for section in requirement.sections:
        if section.about != "questions" and section.title.bare:
            yield from section.text
    for source in requirement.sources:
        yield from (
            text for text in (source.what, source.format, source.delivered, source.loading) if text and not _is_in_prose(requirement, text)
        )
    for contract in requirement.contracts:
        yield from (column.meaning for column in contract.columns if not _is_in_prose(requirement, column.meaning))
    for column in requirement.published:
        yield from (text for text in (column.column, column.meaning) if text and not _is_in_prose(requirement, text))
    for rule in requirement.rules:
        yield from (
            text
            for text in (rule.rule, *(text for text in (rule.owner,) if text.plain.startswith(ASK)), rule.because)
            if text and not _is_in_prose(requirement, text)
        )
    for access in requirement.access:
        yield from (
            text
            for text in (access.grain, *(text for text in (access.readers,) if text.plain.startswith(ASK)))
            if text and not _is_in_prose(requirement, text)
        )
    for figure in requirement.figures:
        if not _is_in_prose(requirement, figure.what):
            yield figure.what


def _is_in_prose(requirement: Requirement, text: Text) -> bool:
    return any(prose.line <= text.line <= prose.line_at(len(prose.value)) for section in requirement.sections for prose in section.text)


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
    if not any(figure.counts and not NONE.fullmatch(figure.what.bare) for figure in requirement.figures):
        yield finding(
            "acceptance_missing",
            requirement.line_of("acceptance"),
            "no figure says how to recognize the right result",
            "How many records are delivered, and how many rows do you expect in each table? Count them in the source, and list the figures.",
        )


CHECKS = (fields_missing, purpose_missing, draft, approval_missing, questions_open, vague_words, surplus, acceptance_missing)
