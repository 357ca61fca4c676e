"""The patterns that a spec names: whether they are registered, and whether the spec says what they need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.patterns import Pattern
from dpe_cli.specs.reading import wording
from dpe_cli.specs.requirement import Requirement, SourceEntry
from dpe_cli.specs.text import Text
from dpe_cli.specs.vocabulary import is_open, says_nothing
from dpe_cli.words import nearest

_FILES = ("s3://", "gs://", "az://", "sftp://", "file://")


def findings(requirement: Requirement, registered: Mapping[str, Pattern]) -> Iterator[SpecFinding]:
    """Yield what is wrong with the patterns that a spec names."""
    listed = ", ".join(registered)
    named = requirement.fields.get("pattern")
    names = [name for value in (named.values if named else ()) for name in value.names()]
    line = named.line if named else 1
    if not names or all(says_nothing(name) or is_open(name) for name in names):
        of_rows = [source for source in requirement.sources if source.pattern]
        if not of_rows:
            yield finding(
                "pattern_missing",
                line,
                "the spec names no pattern",
                f"Which pattern should {requirement.ticket} be built with? The registered ones are {listed}.",
            )
        names = []
    for name in names:
        yield from _of_pipeline(requirement, name, line, registered)
    for source in requirement.sources:
        for name in source.pattern.names():
            if (pattern := registered.get(name.bare)) is None:
                yield _unknown(requirement, name, registered)
            elif why := _misfit(source, pattern):
                yield _unfit(requirement, name.line, pattern, f"{source.name.bare} {why}")


def _of_pipeline(requirement: Requirement, name: Text, line: int, registered: Mapping[str, Pattern]) -> Iterator[SpecFinding]:
    pattern = registered.get(name.bare)
    if pattern is None:
        yield _unknown(requirement, Text(name.bare, line), registered)
        return
    if pattern.of == "source":
        misfits = [f"{source.name.bare} {why}" for source in requirement.sources if (why := _misfit(source, pattern))]
        if misfits and len(misfits) == len(requirement.sources):
            yield _unfit(requirement, line, pattern, misfits[0])
    if pattern.needs.tenant and not requirement.text_of("tenant"):
        yield _unfit(requirement, line, pattern, "the spec names no tenant column")
    if len(requirement.tables) < pattern.needs.tables:
        yield _unfit(requirement, line, pattern, f"the spec publishes {len(requirement.tables)} table, and it needs {pattern.needs.tables}")


def _misfit(source: SourceEntry, pattern: Pattern) -> str:
    """Return why a source cannot be loaded by a pattern; empty if it can, or if that cannot be seen."""
    if not source.location:
        return ""
    kind = _kind(wording.location(source.location).bare)
    if kind is not None and pattern.needs.location and kind not in pattern.needs.location:
        return f"comes from {_WORDS[kind]}, and the pattern is for {' or '.join(_WORDS[wanted] for wanted in pattern.needs.location)}"
    loading = wording.loading(source.loading)
    if pattern.needs.loading is not None and loading is not None and loading != pattern.needs.loading:
        return f"is loaded as “{source.loading.plain}”, and the pattern is for {_LOADINGS[pattern.needs.loading]}"
    return ""


_WORDS = {"file": "a file", "api": "an API", "database": "a database", "tap": "a Singer tap"}
_LOADINGS = {
    "append": "deliveries that are added to the earlier ones",
    "replace": "deliveries that replace the earlier ones",
    "incremental": "what is new or changed since the last time",
}


def _kind(location: str) -> str | None:
    """Return what a location is; None if the environment says so."""
    if location.startswith("${"):
        return None
    if location.startswith("singer:"):
        return "tap"
    if location.startswith(("http://", "https://")):
        return "file" if wording.is_file(location) else "api"
    return "database" if "://" in location and not location.startswith(_FILES) else "file"


def _unknown(requirement: Requirement, name: Text, registered: Mapping[str, Pattern]) -> SpecFinding:
    near = nearest(name.bare, registered)
    return finding(
        "pattern_unknown",
        name.line,
        f"the pattern {name.bare} is not registered",
        f"{requirement.ticket} asks for the pattern {name.bare}, which is not registered ({', '.join(registered)} are). "
        + (f"Is {near} meant" if near else "Which one fits")
        + ", or should this one be registered?",
    )


def _unfit(requirement: Requirement, line: int, pattern: Pattern, why: str) -> SpecFinding:
    return finding(
        "pattern_unfit",
        line,
        f"the pattern {pattern.name} does not fit: {why}",
        f"{requirement.ticket} asks for the pattern {pattern.name} (“{pattern.purpose}”), but {why}. Which pattern fits, or "
        "what is missing in the spec?",
    )
