"""Where a spec and its implementation differ: what tests say of the rules, and what models declare of their readers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from dpe_cli.project.model import Model
from dpe_cli.quality.coverage import RuleTest
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.requirement import ASK, Access, Requirement, RuleRow
from dpe_cli.specs.spec import Spec

_BY = re.compile(r"\bby\s+`?(?P<column>\w+)`?")
_EVERYONE = re.compile(r"\b(?:everyone|everybody|all readers|every reader)\b", re.IGNORECASE)
_OWN = re.compile(r"\bown\b|\bits\b|\btheir\b", re.IGNORECASE)


def differences(requirement: Requirement, tests: Sequence[RuleTest], models: Sequence[Model]) -> Iterator[SpecFinding]:
    """Yield where the tests of a spec's rules, or the models that it publishes, do not do what it says; missing ones are left out."""
    for rule in requirement.rules:
        yield from _of_rule(rule, [test for test in tests if test.rule_id == rule.rule_id])
    for access in requirement.access:
        for model in models:
            if model.name == access.table.bare:
                yield from _of_access(access, model)


def different_from_specs(tests: Sequence[RuleTest], specs: Sequence[Spec], models: Sequence[Model]) -> list[str]:
    """Return where the tests of rules, or what models declare of their readers, differ from what specs say."""
    return [
        f"{spec.path.name}, line {found.line}: {found.what}; change the one that is wrong"
        for spec in specs
        for found in differences(spec.requirement, tests, models)
    ]


def _of_rule(rule: RuleRow, tests: Sequence[RuleTest]) -> Iterator[SpecFinding]:
    severity = "warn" if rule.severity.lower.startswith("warn") or rule.severity.lower.startswith("report") else "error"
    if tests and rule.severity:
        implemented = "error" if any(test.severity == "error" for test in tests) else "warn"
        if implemented != severity:
            yield _rule_differs(rule, tests[0], "severity", severity, implemented)
    for test in tests:
        for name in ("dimension", "owner"):
            wanted, found = getattr(rule, name), getattr(test, name)
            if wanted and found and wanted.lower != found.casefold():
                yield _rule_differs(rule, test, name, wanted.bare, found)


def _rule_differs(rule: RuleRow, test: RuleTest, name: str, wanted: str, found: str) -> SpecFinding:
    return finding(
        "rule_differs",
        rule.line,
        f"rule {rule.rule_id}: the spec has the {name} {wanted!r}, and its test {test.test} ({test.path}) has {found!r}",
        f"Which {name} does rule {rule.rule_id} have: {wanted}, as the spec says, or {found}, as its test {test.test} has it?",
    )


def _of_access(access: Access, model: Model) -> Iterator[SpecFinding]:
    table, text = access.table.bare, access.readers.plain
    if text.startswith(ASK):
        return
    declared = ", ".join(model.tenant_columns) or model.declared
    by = _BY.search(text)
    if by is not None and by["column"] not in model.tenant_columns:
        yield finding(
            "tenant_differs",
            access.table.line,
            f"{table}: according to the spec a reader sees its own rows by {by['column']}, and the model declares {declared}",
            f"By which column do readers of {table} see their own rows: {by['column']} (the spec), or {declared} (the model)?",
        )
    if by is not None:
        return
    is_of_all, is_of_own = _EVERYONE.search(text) is not None, _OWN.search(text) is not None
    if is_of_all and not is_of_own and model.declared != "shared":
        yield finding(
            "readers_differ",
            access.table.line,
            f"{table}: according to the spec {text!r} see all rows, and the model declares {model.declared}",
            f"Does everyone see all rows of {table}, as the spec says, or shall they be {model.declared}, as the model has it?",
        )
    elif is_of_own and not is_of_all and model.declared == "shared":
        yield finding(
            "readers_differ",
            access.table.line,
            f"{table}: according to the spec {text!r} see only their own rows, and the model shows all rows to all readers",
            f"Who sees the rows of {table}: {text}, as the spec says, or everyone, as the model has it?",
        )
