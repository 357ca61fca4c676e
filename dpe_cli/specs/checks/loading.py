"""Sources of which the spec does not say how they are loaded, and what counts if a record comes again."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dpe_cli.specs import vocabulary
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.reading import wording
from dpe_cli.specs.requirement import Requirement, SourceEntry
from dpe_cli.specs.text import Text

# That records come late, or are corrected, is not enough: the spec has to say what counts then.
_LATE = Phrases("sources", "late")
_COUNTS_THEN = Phrases("sources", "counts then")
_NEWEST_COUNTS = Phrases("sources", "newest counts")
_VERSION = Phrases("sources", "version")


def loading_unclear(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find sources of which the spec does not say what a second delivery does to the first."""
    for source in requirement.sources:
        if (source.what or source.location or source.delivered) and wording.loading(source.loading) is None:
            said = f" ({source.loading.plain!r})" if source.loading else ""
            yield finding(
                "loading_unclear",
                source.loading.line or source.line,
                f"the spec does not say how {source.name.bare} is loaded{said}",
                f"When {source.name.bare} is delivered again: does the new delivery replace the earlier ones, is it added to "
                "them, or does it hold "
                "only what is new or changed since (then: by which column is that seen)?",
            )


def late_records(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find sources that grow, without a word on records that come late or are corrected."""
    texts = [*requirement.prose("sources", "source columns", "transformations"), *(step.text for step in requirement.transformations)]
    for source in requirement.sources:
        if wording.loading(source.loading) not in {"append", "incremental"}:
            continue
        about = [text for text in (*texts, source.loading, source.delivered, source.what) if _concerns(requirement, text, source)]
        if not any(_says_what_counts(text, source) for text in about):
            hint = next((text for text in about if _LATE.is_in(text)), None)
            said = f" The spec says only: “{hint.plain}”" if hint is not None else ""
            yield finding(
                "late_records",
                source.loading.line if hint is None else hint.line,
                f"{source.name.bare} grows, and the spec does not say what counts if a record arrives late, or is corrected",
                f"Can a record of {source.name.bare} arrive after its day was published, or be delivered again with other values?{said} "
                "What counts then: the newest version, the first one, or both; and do figures that were already published change?",
            )


def _says_what_counts(text: Text, source: SourceEntry) -> bool:
    """Return whether a text about late or corrected records, or a sentence about a source, says what then counts."""
    if _LATE.is_in(text):
        return _COUNTS_THEN.is_in(text)
    return any(_NEWEST_COUNTS.is_in(sentence) and (_names(sentence, source) or _VERSION.is_in(sentence)) for sentence in text.sentences)


def _names(text: Text, source: SourceEntry) -> bool:
    noun = re.escape(vocabulary.words_of(source.table)).removesuffix("s")
    return re.search(rf"\b{noun}s?\b", text.lower) is not None


def _concerns(requirement: Requirement, text: Text, source: SourceEntry) -> bool:
    """Return whether a text may be about a source: unless it names only other ones."""
    others = [other for other in requirement.sources if other.name.bare != source.name.bare]
    if source.name.bare in text.bare or re.search(rf"\b{re.escape(source.table)}\b", text.lower):
        return True
    return not any(other.name.bare in text.bare for other in others)


CHECKS = (loading_unclear, late_records)
