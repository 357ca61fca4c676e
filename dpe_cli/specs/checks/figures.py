"""Figures of the acceptance that count something in a source, and what the source says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dpe_cli.specs import vocabulary
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.reading.others import NUMBER
from dpe_cli.specs.requirement import Figure, Requirement, SourceEntry
from dpe_cli.specs.source_data import SourceData
from dpe_cli.specs.text import Text

# What counts records, whatever they are called.
_RECORDS = r"(?:records?|rows?|lines?|entries|entry|observations?)"
_FILLER = re.compile(
    rf"\b(?:delivered|in (?:the )?(?:\w+ )?(?:files?|source|delivery|workbook|sheet|database|table|export)s?|of (?:the )?(?:files?|source)|number of|count of|total|all|overall|the|in total|altogether|{_RECORDS}|"
    r"as delivered|and|received|of|from|for|with in|in)\b|[,:.()]",
    re.IGNORECASE,
)
_PUBLISHED = re.compile(r"\bpublished\b|\bpublication\b|\bafter\b|\bresult|\bout of\b|\breport(?:ed)?\b", re.IGNORECASE)
_ALL = re.compile(r"(?:all|total|count|sum|number|figure|value|overall|how many|expected)\b.*|", re.IGNORECASE)


@dataclass(frozen=True)
class Counted:
    """A figure of a source that was compared: what the spec says, and what the source says."""

    figure: Figure
    said: int
    found: int


def compare(requirement: Requirement, source: SourceEntry, data: SourceData) -> Iterator[Counted]:
    """Yield the figures about a source, as far as they say clearly what they count."""
    for figure in requirement.figures:
        what = figure.what.plain
        if _PUBLISHED.search(re.sub(r"\bdelivered,? and published\b", "delivered", what, flags=re.IGNORECASE)):
            continue
        rest = _about(requirement, source, what)
        if rest is None or (condition := _condition(requirement, rest, data)) is None:
            continue
        for heading, cell in figure.counts:
            where = _of_heading(requirement, heading, data)
            numbers = [_number(match[0]) for match in NUMBER.finditer(cell.bare)]
            if where is None or not numbers or "%" in cell.bare:
                continue
            kind, argument = condition
            if kind == "different":
                if where != ("true", ()):
                    continue
                counted = data.distinct(argument)
            else:
                counted = data.count(f"({kind}) and ({where[0]})", *([argument] if "?" in kind else []), *where[1])
            yield Counted(figure, numbers[0], counted)


def findings(source: SourceEntry, compared: Sequence[Counted]) -> Iterator[SpecFinding]:
    """Yield the figures that the source refutes."""
    for counted in compared:
        if counted.said != counted.found:
            yield finding(
                "acceptance_refuted", counted.figure.what.line,
                f"{counted.figure.what.plain}: the spec says {counted.said:,}, and {source.name.bare} has {counted.found:,}",
                f"According to the spec there are {counted.said:,} ({counted.figure.what.plain}); what {source.name.bare} delivers now has {counted.found:,}. Is the "
                "delivery complete, or was the figure counted in another one?",
            )


def _about(requirement: Requirement, source: SourceEntry, what: str) -> str | None:
    """Return what a figure says besides the source that it is about; None if it is about another one, or several."""
    lower = what.casefold()
    for other in sorted(requirement.sources, key=lambda other: -len(other.name.bare)):
        name = other.name.bare.casefold()
        if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", lower):
            return re.sub(rf"`?{re.escape(name)}`?", " ", lower) if other is source else None
    nouns = {other.name.bare: _nouns(other) for other in requirement.sources}
    first = _first_noun(lower, nouns)
    if first is not None:
        name, noun = first
        return re.sub(rf"\b{noun}\b", " ", lower, count=1) if name == source.name.bare else None
    if len(requirement.sources) == 1 and re.search(rf"\b{_RECORDS}\b", lower):
        return lower
    return None


def _nouns(source: SourceEntry) -> list[str]:
    words = vocabulary.words_of(source.table)
    stem = words[:-3] + "(?:y|ies)" if words.endswith("ies") else (words[:-1] if words.endswith("s") and not words.endswith("ss") else words) + "s?"
    return [stem]


def _first_noun(text: str, nouns: dict[str, list[str]]) -> tuple[str, str] | None:
    found = [
        (match.start(), -len(match[0]), name, noun) for name, patterns in nouns.items() for noun in patterns if (match := re.search(rf"\b{noun}\b", text))
    ]
    if not found:
        return None
    _, _, name, noun = min(found)
    return name, noun


def _condition(requirement: Requirement, rest: str, data: SourceData) -> tuple[str, str] | None:
    """Return the condition that the rest of a figure states, or `different` and a column; None if it is not clear."""
    rest = " ".join(rest.split())
    if match := re.fullmatch(r"(?:number of )?(?:different|distinct|unique) (?P<column>.+?)(?: delivered| in.*| of.*)?", rest):
        column = _column(requirement, match["column"], data)
        return None if column is None else ("different", column)
    if match := re.search(r"\b(?:without|with no|lacking|missing)\s+(?:an? |any |the |their )?(?P<column>.+)$", rest):
        column = _column(requirement, _FILLER.sub(" ", match["column"]), data)
        if column is None or _FILLER.sub(" ", rest[: match.start()]).strip():
            return None
        place = data.places[column]
        return f"{place} is null or trim({place}) = ''", ""
    if match := re.fullmatch(r"(?P<before>.*?)(?:where |with |of |whose )?(?:the |an? )?`?(?P<column>[\w ]+?)`?\s*(?:=|\bis\b|:)\s*[`'\"“]?(?P<value>[\w .-]+?)[`'\"”]?", rest):
        column = _column(requirement, match["column"], data)
        if column is None or _FILLER.sub(" ", match["before"]).strip():
            return None
        return f"lower(trim({data.places[column]})) = ?", match["value"]
    return ("true", "") if not _FILLER.sub(" ", rest).strip() else None


def _column(requirement: Requirement, words: str, data: SourceData) -> str | None:
    """Return the column of a source that words mean: its name, its name as words, or the plural of one."""
    words = " ".join(words.replace("`", " ").split()).strip()
    for candidate in (words, words.removesuffix("s"), words.removesuffix("es"), re.sub("ies$", "y", words)):
        for name in data.places:
            own = vocabulary.words_of(name)
            if candidate and candidate.replace("_", " ") in {own, name.casefold(), own.removesuffix(" id"), own.removesuffix(" no"), own.removesuffix(" code")}:
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


def _number(text: str) -> int:
    return round(float(re.sub(r"[,' ]", "", text)))


def unchecked(requirement: Requirement, compared: Sequence[Counted]) -> list[Text]:
    """Return the figures that no rule reports and that were not compared."""
    done = {counted.figure for counted in compared}
    return [figure.what for figure in requirement.figures if figure.counts and not figure.reported_by and figure not in done]
