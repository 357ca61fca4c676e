"""What is unclear in a spec, from its text alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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
    untestable = {finding.line for finding in once if finding.kind.name == "rule_untestable"}
    asked_for = [rule.rule.plain for rule in requirement.rules if rule.rule.line in untestable]
    # A rule that cannot be tested is asked for as a whole.
    once = [finding for finding in once if finding.kind.name != "vague_words" or not _is_about(finding, asked_for)]
    return sorted(once, key=lambda finding: (finding.line, finding.kind.id))


def _is_about(finding: SpecFinding, texts: Sequence[str]) -> bool:
    """Return whether the sentence of a finding is one of these texts, is in one of them, or contains one."""
    sentence = finding.what.partition(": ")[2]
    return any(sentence in text or text in sentence for text in texts)
