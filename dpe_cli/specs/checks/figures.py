"""Figures of the acceptance that count something in a source, and what the source says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from dpe_cli.specs import vocabulary
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.reading.others import NUMBER
from dpe_cli.specs.requirement import Figure, Requirement, SourceEntry
from dpe_cli.specs.source_data import SourceData
from dpe_cli.specs.text import Text

# What counts records, whatever they are called.
_RECORDS = r"(?:records?|rows?|lines?|entries|entry)"
_FILLER = re.compile(
    rf"\b(?:delivered|in (?:the )?(?:\w+ )?(?:files?|source|delivery|workbook|sheet|database|table|export|register)s?|of (?:the )?(?:files?|source)|number of|count of|total|all|overall|the|"
    rf"altogether|{_RECORDS}|as delivered|and|received|of|from|for|with|in)\b|[,:.()]",
    re.IGNORECASE,
)
# These are of what is published, or of a part of the records that a person understands and dpe does not.
_PUBLISHED = re.compile(r"\bpublished\b|\bpublication\b|\bafter\b|\bresult|\bout of\b|\breport(?:ed)?\b", re.IGNORECASE)
_DELIVERED_AND_PUBLISHED = re.compile(r"\bdelivered,? and published\b", re.IGNORECASE)
_ALL = re.compile(r"(?:all|total|count|sum|number|figure|value|overall|how many|expected)\b.*|", re.IGNORECASE)
_OF_THEM = re.compile(r"^\s*(?:of (?:them|these|those|which)|thereof)\b:?", re.IGNORECASE)
_SEPARATOR = re.compile(r"\s*[·/,;]\s*")
_SUM = re.compile(r"(?:sum|total)(?: of)?\s+(?P<column>.+)", re.IGNORECASE)


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
        if not re.search(r"[^\W\d]", figure.what.plain):
            continue
        what = _DELIVERED_AND_PUBLISHED.sub("delivered", figure.what.plain)
        rest = _about(requirement, source, what)
        if rest is None and is_above and (_OF_THEM.match(what) or not _names_source(requirement, what)):
            rest = _OF_THEM.sub("", what)
        else:
            is_above = rest is not None
        if rest is None or _PUBLISHED.search(what):
            continue
        yield from _of_values(figure, rest, data)
        for heading, cell in figure.counts:
            numbers = [_number(match[0]) for match in NUMBER.finditer(cell.bare)]
            where = _of_heading(requirement, heading, data)
            if (
                where is None
                or (len(numbers) != 1 and not _DELIVERED_AND_PUBLISHED.search(figure.what.plain))
                or not numbers
                or "%" in cell.bare
            ):
                continue
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
                f"According to the spec, the figure for “{counted.what}” is {counted.said:,}; what {source.name.bare} delivers now has {counted.found:,}. Is the "
                "delivery complete, or was the figure counted in another one?",
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
    return what if len(requirement.sources) == 1 and re.search(rf"\b{_RECORDS}\b", lower) else None


def _names_source(requirement: Requirement, what: str) -> bool:
    return _first_noun(requirement, what.casefold()) is not None


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
        numbers = [_number(match[0]) for match in NUMBER.finditer(cell.bare)]
        if column is not None and len(numbers) == len(names):
            for name, number in zip(names, numbers, strict=True):
                yield Counted(figure, name, number, Decimal(data.count(f"trim({data.places[column]}) = ?", name)))


def _found(rest: str, where: tuple[str, tuple[str, ...]], data: SourceData) -> Decimal | None:
    """Return what a source says of a figure; None if it is not clear what is counted."""
    rest = " ".join(rest.split())
    condition, arguments = where
    if match := re.fullmatch(
        r"(?:number of )?(?:different|distinct|unique) (?P<column>.+?)(?: delivered| in.*| of.*)?", rest, re.IGNORECASE
    ):
        column = _column(match["column"], data)
        return Decimal(data.distinct(column)) if column is not None and condition == "true" else None
    if match := re.search(r"\b(?:without|with no|lacking|missing)\s+(?:an? |any |the |their )?(?P<column>.+)$", rest, re.IGNORECASE):
        column = _column(_FILLER.sub(" ", match["column"]), data)
        if column is None or _FILLER.sub(" ", rest[: match.start()]).strip():
            return None
        place = data.places[column]
        return Decimal(data.count(f"({place} is null or trim({place}) = '') and {condition}", *arguments))
    if match := _SUM.match(rest):
        column = _column(re.split(r",| in | of ", match["column"])[0], data)
        return data.sum(column, condition, *arguments) if column is not None else None
    if (equal := _equal(rest, data)) is not None:
        column, value = equal
        return Decimal(data.count(f"lower(trim({data.places[column]})) = ? and {condition}", value.casefold(), *arguments))
    return Decimal(data.count(condition, *arguments)) if not _FILLER.sub(" ", rest).strip() else None


def _equal(rest: str, data: SourceData) -> tuple[str, str] | None:
    """Return the column and its value that a figure names: `with status closed`, `where status = closed`."""
    match = re.fullmatch(
        r"(?:with|of|where|whose|in|that have)\s+(?:the |an? )?(?P<words>.+)", rest.replace("`", "").strip(), re.IGNORECASE
    )
    if match is None:
        return None
    words = match["words"].split()
    for length in range(len(words) - 1, 0, -1):
        column = _column(" ".join(words[:length]), data)
        value = re.sub(r"^(?:is|=|:|of)\s+", "", " ".join(words[length:])).strip(" \"'“”")
        if column is not None and data.count(f"lower(trim({data.places[column]})) = ?", value.casefold()):
            return column, value
    return None


def _column(words: str, data: SourceData) -> str | None:
    """Return the column of a source that words mean: its name, its name as words, or the plural of one."""
    words = " ".join(words.replace("`", " ").replace("_", " ").casefold().split()).strip()
    for candidate in (words, words.removesuffix("s"), words.removesuffix("es"), re.sub("ies$", "y", words)):
        for name in data.places:
            own = vocabulary.words_of(name)
            if candidate and candidate in {
                own,
                name.casefold(),
                *(own.removesuffix(suffix) for suffix in (" id", " no", " code", " number", " g", " eur")),
            }:
                return name
    return None


def _of_heading(requirement: Requirement, heading: str, data: SourceData) -> tuple[str, tuple[str, ...]] | None:
    """Return the condition that the heading of a count states: none, or that the tenant is the one it names."""
    if _ALL.fullmatch(heading.casefold()):
        return "true", ()
    tenant = data.find(requirement.text_of("tenant").bare)
    if tenant is None or not data.count(f"trim({data.places[tenant]}) = ?", heading):
        return None
    return f"trim({data.places[tenant]}) = ?", (heading,)


def _number(text: str) -> Decimal:
    return Decimal(re.sub(r"[,' ]", "", text))


def unchecked(requirement: Requirement, compared: Sequence[Counted]) -> list[Text]:
    """Return the figures that no rule reports and that were not compared."""
    done = {counted.figure for counted in compared}
    return [figure.what for figure in requirement.figures if figure.counts and not figure.reported_by and figure not in done]
