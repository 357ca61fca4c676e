"""What is unclear in a spec, from its text alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dpe_cli.specs.checks import access, contradictions, form, loading, meaning, published, rules, sources, transformations
from dpe_cli.specs.findings import SpecFinding
from dpe_cli.specs.requirement import ASK, Requirement

_CHECKS: tuple[Callable[[Requirement], Iterator[SpecFinding]], ...] = (
    *form.CHECKS,
    *sources.CHECKS,
    *loading.CHECKS,
    *meaning.CHECKS,
    *transformations.CHECKS,
    *contradictions.CHECKS,
    *published.CHECKS,
    *access.CHECKS,
    *rules.CHECKS,
)


def findings(requirement: Requirement) -> list[SpecFinding]:
    """Return what is unclear, in the order of its lines."""
    found = {finding: None for check in _CHECKS for finding in check(requirement)}
    asked = {finding.line for finding in found if finding.kind.name == "question_open"}
    # What a new spec leaves to fill in is asked for once.
    once = [finding for finding in found if finding.kind.name == "question_open" or ASK not in finding.what or finding.line not in asked]
    return sorted(once, key=lambda finding: (finding.line, finding.kind.id))
