"""The transformations, the figures of the acceptance and the open questions of a spec."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from dpe_cli.specs.reading import titles
from dpe_cli.specs.reading.markdown import Heading, Item, Paragraph, Table
from dpe_cli.specs.reading.outline import Part
from dpe_cli.specs.requirement import Figure, Question, Transformation
from dpe_cli.specs.text import DASHES, NOTHING, Text, joined
from dpe_cli.specs.vocabulary import says_nothing

NUMBER = re.compile(r"(?<![\w.,-])\d{1,3}(?:[,' ]\d{3})+(?:\.\d+)?(?![\w])|(?<![\w-])\d+(?:\.\d+)?(?!\w)")
_ANSWER = re.compile(
    r"(?:\*\*)?\b(?:answer(?:ed)?|decision|decided|resolved|a)\b(?:\*\*)?(?: by [\w .-]+)?:(?:\*\*)?\s*(?P<answer>.+)",
    re.IGNORECASE | re.DOTALL,
)


def transformations(parts: Sequence[Part]) -> list[Transformation]:
    """Return the steps: the items of numbered lists, or else all items and paragraphs, numbered in their order."""
    steps: list[tuple[int, list[Text]]] = []
    for part in parts:
        if part.about != "transformations":
            continue
        last: int | None = None
        for text, number in _steps(part):
            if number is None and last is not None:
                # A paragraph or a list below a step belongs to it.
                steps[-1][1].append(text)
            else:
                steps.append((len(steps) + 1 if number is None else number, [text]))
                last = number
    return [Transformation(number, joined(texts)) for number, texts in steps]


def _steps(part: Part) -> Iterator[tuple[Text, int | None]]:
    heading = re.match(r"\D*(\d+)\b", part.title.value)
    is_step = re.match(r"(?:step|transformation|t)?\s*\d+\b", part.title.lower) is not None
    for element in part.elements:
        if isinstance(element, Item):
            yield element.text, element.number if element.depth == 1 else None
        elif isinstance(element, Paragraph):
            yield element.text, int(heading[1]) if heading is not None and is_step else None
            is_step = False


def figures(parts: Sequence[Part]) -> list[Figure]:
    """Return the figures of the acceptance."""
    found: list[Figure] = []
    for part in parts:
        if part.about != "acceptance":
            continue
        of_tables = [figure for table in part.tables for figure in _of_table(table)]
        found += of_tables or [figure for text in part.texts for figure in _of_text(text)]
    return found


def _of_table(table: Table) -> Iterator[Figure]:
    positions = titles.columns(table.headings, titles.ACCEPTANCE)
    what = positions.get("what", 0)
    for row in table.rows:
        counts = [
            (heading.plain, cell)
            for position, (heading, cell) in enumerate(zip(table.headings, row.cells, strict=False))
            if position not in positions.values() and position != what and not says_nothing(cell)
        ]
        if row.cell(what):
            yield Figure(row.cell(what), tuple(counts), row.cell(positions.get("reported by")))


def _of_text(text: Text) -> Iterator[Figure]:
    for sentence in text.sentences:
        for match in NUMBER.finditer(sentence.value):
            before, after = sentence.value[: match.start()], sentence.value[match.end() :]
            what = (
                before.rpartition(",")[2].strip(f" :={DASHES}")
                if before.rstrip().endswith((":", "=", "is", "are"))
                else after.partition(",")[0]
            )
            yield Figure(Text(what.strip(" .:"), sentence.line_at(match.start())), (("count", sentence.part(match.start(), match.end())),))


def questions(parts: Sequence[Part]) -> list[Question]:
    """Return the open questions; `None.` is not one."""
    found: list[Question] = []
    for part in parts:
        if part.about != "questions":
            continue
        for element in part.elements:
            if isinstance(element, Table):
                found += [_question(row.cells[0], row.cells[1:]) for row in element.rows if row.cells]
            elif not isinstance(element, Heading) and not says_nothing(element.text) and not _says_none(element.text):
                found.append(_question(element.text, ()))
    return found


def _says_none(text: Text) -> bool:
    return re.fullmatch(r"(?:there are )?(?:no|none|nothing)\b[^?]{0,40}", text.lower) is not None


def _question(text: Text, others: Sequence[Text]) -> Question:
    answer = next((cell for cell in others if not says_nothing(cell)), NOTHING)
    match = _ANSWER.search(text.value)
    if match is not None:
        answer = text.part(match.start("answer"), match.end("answer"))
    return Question(text, answer)
