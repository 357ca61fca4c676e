"""What is unclear in a spec, from its text alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from dpe_cli.specs.checks import access, form, published, rules, sources, transformations
from dpe_cli.specs.findings import SpecFinding
from dpe_cli.specs.requirement import Requirement

_CHECKS: tuple[Callable[[Requirement], Iterator[SpecFinding]], ...] = (
    *form.CHECKS,
    *sources.CHECKS,
    *transformations.CHECKS,
    *published.CHECKS,
    *access.CHECKS,
    *rules.CHECKS,
)


def findings(requirement: Requirement) -> list[SpecFinding]:
    """Return what is unclear, in the order of its lines."""
    found = {finding: None for check in _CHECKS for finding in check(requirement)}
    return sorted(found, key=lambda finding: (finding.line, finding.kind.id))
