"""The gate: a spec is clear, and true of its sources, or it is refused with questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from dpe_cli.errors import DpeError
from dpe_cli.safe_text.redaction import redact
from dpe_cli.specs import checks, patterns, source_data
from dpe_cli.specs.checks import data as data_checks
from dpe_cli.specs.checks import figures
from dpe_cli.specs.checks import patterns as pattern_checks
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.reading import wording
from dpe_cli.specs.requirement import Requirement, SourceEntry
from dpe_cli.specs.source_data import SourceData


@dataclass(frozen=True)
class Inspected:
    """A source whose records were read: how many, and whether there may be more."""

    source: str
    records: int
    is_cut: bool


@dataclass(frozen=True)
class Verdict:
    """What is unclear in a spec, and what it was held against. It is accepted if nothing is unclear."""

    requirement: Requirement
    findings: tuple[SpecFinding, ...]
    inspected: tuple[Inspected, ...]
    compared: int
    not_compared: tuple[str, ...]

    @property
    def is_accepted(self) -> bool:
        """Whether a pipeline may be built from it, and run."""
        return not self.findings


# Opens the records of a source that the project declares.
Reading = Callable[[], AbstractContextManager[SourceData]]


def check(requirement: Requirement, project_dir: Path, declared: Mapping[str, Reading], others: Sequence[SpecFinding] = ()) -> Verdict:
    """
    Hold a spec against itself, the registered patterns, and its sources.

    `declared` says how to read the sources that the project declares, by name; others are read where the spec says that they are.
    `others` are findings from elsewhere: the spec was changed after its approval, or the project does not do what it says.

    Raises:
        ProjectError: the project has a pattern that is not valid.
    """
    registered = patterns.registered(project_dir)
    found = dict.fromkeys([*checks.findings(requirement), *pattern_checks.findings(requirement, registered), *others])
    inspected: list[Inspected] = []
    compared: list[figures.Counted] = []
    for source in requirement.sources:
        try:
            reading = declared.get(source.name.bare)
            if reading is None and not wording.location(source.location):
                continue
            with reading() if reading is not None else source_data.read(source, project_dir) as data:
                found |= dict.fromkeys(data_checks.findings(requirement, source, data))
                counted = [] if data.is_cut else list(figures.compare(requirement, source, data))
                found |= dict.fromkeys(figures.findings(source, counted))
                compared += counted
                inspected.append(Inspected(source.name.bare, data.records, data.is_cut))
        except DpeError as error:
            found[_not_readable(source, error)] = None
    # What a spec or a server says may hold a secret: the password in the URL of a database.
    safe = (replace(finding_, what=redact(finding_.what), question=redact(finding_.question)) for finding_ in found)
    ordered = sorted(safe, key=lambda finding_: (finding_.line, finding_.kind.id))
    not_compared = tuple(map(str, figures.unchecked(requirement, compared)))
    return Verdict(requirement, tuple(ordered), tuple(inspected), len(compared), not_compared)


def _not_readable(source: SourceEntry, error: DpeError) -> SpecFinding:
    name, location, why = source.name.bare, wording.location(source.location).bare, str(error).partition(";")[0]
    place = f"should be at {location}, and cannot be read there" if location else "cannot be read where the project declares it"
    return finding(
        "source_not_readable",
        source.location.line or source.line,
        f"{name} cannot be read: {error}",
        f"{name} {place} ({why}). Is it delivered, is the place right, and is the pipeline allowed to read it?",
    )
