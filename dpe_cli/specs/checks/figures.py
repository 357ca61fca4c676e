"""Figures of the acceptance that count something in a source, and what the source says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from dpe_cli.specs import phrases, vocabulary
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.reading.others import NUMBER
from dpe_cli.specs.requirement import Figure, Requirement, SourceEntry
from dpe_cli.specs.source_data import Condition, SourceData
from dpe_cli.specs.text import Text

_RECORDS = Phrases("figures", "records")
_FILLERS = Phrases("figures", "fillers")
_PUBLISHED = Phrases("figures", "published")
_DELIVERED_AND_PUBLISHED = Phrases("figures", "delivered and published")
_OF_ALL = Phrases("figures", "of all")
_OF_THEM = Phrases("figures", "of them")
_DIFFERENT = Phrases("figures", "different")
_WITHOUT = Phrases("figures", "without")
_SUM = Phrases("figures", "sum")
_WITH_VALUE = Phrases("figures", "with value")
_SEPARATOR = re.compile(r"\s*[·/,;]\s*")
# A figure of more characters describes what no query can count.
_LONGEST = 300


@dataclass(frozen=True)
class Counted:
    """A figure of a source that was compared: what the spec says, and what the source says."""

    figure: Figure
    what: str
    said: Decimal
    found: Decimal


def compare(requirement: Requirement, source: SourceEntry, data: SourceData) -> Iterator[Counted]:
    """Yield the figures about a source, as far as they say clearly what they count."""
    is_above = False
    for figure in requirement.figures:
        if not re.search(r"[^\W\d]", figure.what.plain) or len(figure.what.plain) > _LONGEST:
            continue
        what = _DELIVERED_AND_PUBLISHED.sub("delivered", figure.what.plain)
        rest = _about(requirement, source, what)
        if rest is None and is_above and (_OF_THEM.match(what) or _first_noun(requirement, what.casefold()) is None):
            rest = _OF_THEM.sub("", what)
        else:
            is_above = rest is not None
        if rest is not None and not _PUBLISHED.is_in(what):
            yield from _of_values(figure, rest, data)
            yield from _of_headings(requirement, figure, rest, data)


def _of_headings(requirement: Requirement, figure: Figure, rest: str, data: SourceData) -> Iterator[Counted]:
    """Yield the counts of a figure, of all records and of each tenant that is a heading."""
    for heading, cell in figure.counts:
        numbers = _numbers(cell)
        where = _of_heading(requirement, heading, data)
        is_clear = len(numbers) == 1 or (numbers and _DELIVERED_AND_PUBLISHED.is_in(figure.what))
        if where is not None and is_clear and "%" not in cell.bare:
            found = _found(rest, where, data)
            if found is not None:
                yield Counted(figure, figure.what.plain, numbers[0], found)


def findings(source: SourceEntry, compared: Sequence[Counted]) -> Iterator[SpecFinding]:
    """Yield the figures that the source refutes."""
    for counted in compared:
        if counted.said != counted.found:
            yield finding(
                "acceptance_refuted",
                counted.figure.what.line,
                f"{counted.what}: the spec says {counted.said:,}, and {source.name.bare} has {counted.found:,}",
                f"According to the spec, the figure for “{counted.what}” is {counted.said:,}; what {source.name.bare} delivers now has "
                f"{counted.found:,}. Is the delivery complete, or was the figure counted in another one?",
            )


def _about(requirement: Requirement, source: SourceEntry, what: str) -> str | None:
    """Return what a figure says besides the source that it is about; None if it is about another one, or none."""
    lower = what.casefold()
    for other in sorted(requirement.sources, key=lambda other: -len(other.name.bare)):
        name = other.name.bare.casefold()
        if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", lower):
            return re.sub(rf"`?{re.escape(name)}`?", " ", what, flags=re.IGNORECASE) if other is source else None
    first = _first_noun(requirement, lower)
    if first is not None:
        name, noun = first
        return re.sub(rf"\b{noun}\b", " ", what, count=1, flags=re.IGNORECASE) if name == source.name.bare else None
    return what if len(requirement.sources) == 1 and _RECORDS.is_in(lower) else None


def _first_noun(requirement: Requirement, text: str) -> tuple[str, str] | None:
    """Return the source whose noun comes first in a text, and the noun; of `orders` and `order lines`, the longer one."""
    found = []
    for source in requirement.sources:
        noun = _noun(source)
        if match := re.search(rf"\b{noun}\b", text):
            found.append((match.start(), -len(match[0]), source.name.bare, noun))
    return min(found)[2:] if found else None


def _noun(source: SourceEntry) -> str:
    words = vocabulary.words_of(source.table)
    if words.endswith("ies"):
        return words[:-3] + "(?:y|ies)"
    return (words[:-1] if words.endswith("s") and not words.endswith("ss") else words) + "s?"


def _of_values(figure: Figure, rest: str, data: SourceData) -> Iterator[Counted]:
    """Yield the counts of a list of values: `DE · AT · CH`, with `58 · 37 · 25`."""
    names = [name for name in _SEPARATOR.split(rest.strip(" :")) if name]
    if len(names) < 2:
        return
    column = data.column_with(names)
    for _, cell in figure.counts:
        numbers = _numbers(cell)
        if column is not None and len(numbers) == len(names):
            for name, number in zip(names, numbers, strict=True):
                yield Counted(figure, name, number, Decimal(data.count([data.is_value(column, name)])))


def _found(rest: str, where: Sequence[Condition], data: SourceData) -> Decimal | None:
    """Return what a source says of a figure, among the records for which conditions hold; None if it is not clear what is counted."""
    rest = " ".join(rest.split())
    if match := _DIFFERENT.fullmatch(rest):
        column = _column(match["column"], data)
        return Decimal(data.distinct(column)) if column is not None and not where else None
    if match := _WITHOUT.search(rest):
        column = _column(_FILLERS.sub(" ", match["column"]), data)
        if column is None or _FILLERS.sub(" ", rest[: match.start()]).strip():
            return None
        return Decimal(data.count([data.is_blank(column), *where]))
    if match := _SUM.match(rest):
        column = _column(re.split(r",| in | of ", match["column"])[0], data)
        return data.sum(column, where) if column is not None else None
    if (equal := _equal(rest, data)) is not None:
        return Decimal(data.count([equal, *where]))
    return Decimal(data.count(where)) if not _FILLERS.sub(" ", rest).strip() else None


def _equal(rest: str, data: SourceData) -> Condition | None:
    """Return the condition that a figure names: `with status closed`, `where status = closed`; None if it names none."""
    match = _WITH_VALUE.fullmatch(rest.replace("`", "").strip())
    if match is None:
        return None
    words = match["words"].split()
    for length in range(len(words) - 1, 0, -1):
        column = _column(" ".join(words[:length]), data)
        value = re.sub(r"^(?:is|=|:|of)\s+", "", " ".join(words[length:])).strip(" \"'“”")
        if column is not None and data.count([condition := data.is_value(column, value, in_any_case=True)]):
            return condition
    return None


def _column(words: str, data: SourceData) -> str | None:
    """Return the column of a source that words mean: its name, its name as words, or the plural of one."""
    words = " ".join(words.replace("`", " ").replace("_", " ").casefold().split())
    ends = phrases.words("figures", "ends of names")
    for candidate in (words, words.removesuffix("s"), words.removesuffix("es"), re.sub("ies$", "y", words)):
        for name in data.places:
            own = vocabulary.words_of(name)
            if candidate and candidate in {own, name.casefold(), *(own.removesuffix(end) for end in ends)}:
                return name
    return None


def _of_heading(requirement: Requirement, heading: str, data: SourceData) -> Sequence[Condition] | None:
    """Return the conditions that the heading of a count states: none, or that the tenant is the one it names; None if it is another one."""
    if not heading or _OF_ALL.fullmatch(heading):
        return ()
    tenant = data.find(requirement.text_of("tenant").bare)
    if tenant is None or not data.count([condition := data.is_value(tenant, heading)]):
        return None
    return (condition,)


def _numbers(cell: Text) -> list[Decimal]:
    return [Decimal(re.sub(r"[,' ]", "", match[0])) for match in NUMBER.finditer(cell.bare)]


def unchecked(requirement: Requirement, compared: Sequence[Counted]) -> list[Text]:
    """Return the figures that no rule reports and that were not compared."""
    done = {counted.figure for counted in compared}
    return [figure.what for figure in requirement.figures if figure.counts and not figure.reported_by and figure not in done]
