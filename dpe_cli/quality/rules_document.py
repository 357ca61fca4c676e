"""DATA_QUALITY_RULES.md: the rules of a project, written from its specs and tests."""

from __future__ import annotations

from collections.abc import Sequence

from dpe_cli.quality.dimensions import DIMENSIONS
from dpe_cli.quality.rules import NO_SPEC, Rule
from dpe_cli.safe_text.visible_text import visible
from dpe_cli.specs.spec import Spec

FILE = "DATA_QUALITY_RULES.md"


def document(rules: Sequence[Rule], specs: Sequence[Spec]) -> str:
    """Return the rules as Markdown, by pipeline and dimension; the same for the same rules."""
    parts = [
        "# Data quality rules\n",
        "Written by `dpe rules --write` from the specs and the tests. `dpe rules` shows whether the rules hold.\n",
    ]
    titles = {spec.ticket: f"[{spec.ticket}](specs/{spec.path.name}): {spec.title}" for spec in specs}
    for pipeline in [*titles, NO_SPEC]:
        of_pipeline = [rule for rule in rules if rule.pipeline == pipeline]
        if not of_pipeline:
            continue
        parts.append(f"## {titles.get(pipeline, 'In no spec')}\n")
        dimensions = [*DIMENSIONS, *sorted({rule.dimension for rule in of_pipeline} - set(DIMENSIONS))]
        for dimension in dimensions:
            listed = [rule for rule in of_pipeline if rule.dimension == dimension]
            if listed:
                parts.append(f"### {dimension.capitalize()}\n")
                parts += [_entry(rule) for rule in listed]
    return visible("\n".join(parts))


def _entry(rule: Rule) -> str:
    lines = [
        f"**{rule.rule_id}.** {rule.definition}\n",
        f"- severity {rule.severity}: {rule.thresholds}",
        f"- owner: {rule.owner}",
        f"- because: {rule.because}",
    ]
    for test in rule.tests:
        kind = f"; its kind in [{test.kind_path}]({test.kind_path})" if test.kind_path else ""
        lines.append(f"- implemented by `{test.name}` in [{test.path}]({test.path}): `{test.asks}`{kind}")
    return "\n".join(lines) + "\n"
