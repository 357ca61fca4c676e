"""Whether specs and tests have the same rules, and whether each test says what rules need."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpe_cli.quality.dimensions import DIMENSIONS
from dpe_cli.specs.spec import Spec


@dataclass(frozen=True)
class RuleTest:
    """A dbt test with the id of a rule in its meta, and what else its meta says; `path` is the file that declares it."""

    rule_id: str
    test: str
    unique_id: str
    path: str
    dimension: str
    owner: str
    because: str
    severity: str = "error"


def rule_tests(manifest: Mapping[str, Any]) -> list[RuleTest]:
    """Return the tests of dbt's manifest that implement a rule, by the rule's id and their name."""
    found = [_rule_test(node) for node in manifest["nodes"].values() if node["resource_type"] == "test" and _meta(node).get("rule")]
    return sorted(found, key=lambda test: (test.rule_id, test.test))


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return node.get("config", {}).get("meta") or {}


def _rule_test(node: Mapping[str, Any]) -> RuleTest:
    meta = _meta(node)
    return RuleTest(
        rule_id=str(meta["rule"]),
        test=node["name"],
        unique_id=node["unique_id"],
        path=node["original_file_path"],
        dimension=str(meta.get("dimension", "")),
        owner=str(meta.get("owner", "")),
        because=str(meta.get("because", "")),
        severity=str(node["config"].get("severity") or "error").lower(),
    )


def rules_without_test(tests: Sequence[RuleTest], specs: Sequence[Spec]) -> list[str]:
    """Return the faults of specs whose rules no test implements."""
    tested = {test.rule_id for test in tests}
    return [
        f"{spec.path.name}: rule {rule_id} has no test; give a test this id in its meta"
        for spec in specs
        for rule_id in spec.rules
        if rule_id not in tested
    ]


def tests_without_spec(tests: Sequence[RuleTest], specs: Sequence[Spec]) -> list[str]:
    """Return the faults of tests whose rule no spec describes."""
    described = {rule_id for spec in specs for rule_id in spec.rules}
    return [
        f"{test.path}: {test.test} has rule {test.rule_id}, which is not in a spec; describe it in its ticket's spec"
        for test in tests
        if test.rule_id not in described
    ]


def incomplete_tests(tests: Sequence[RuleTest]) -> Iterator[str]:
    """Yield the faults of tests without an owner, a reason or a known dimension."""
    for test in tests:
        missing = [name for name in ("owner", "because") if not getattr(test, name)]
        where = f"{test.path}: {test.test}"
        if missing:
            yield f"{where} has no {' and no '.join(missing)}; add {'it' if len(missing) == 1 else 'them'} to the test's meta"
        if test.dimension not in DIMENSIONS:
            yield f"{where} has the dimension {test.dimension or 'none'}; choose one of {', '.join(DIMENSIONS)}"


def missing_from_project(specs: Sequence[Spec], sources: Collection[str], models: Collection[str]) -> list[str]:
    """Return the faults of specs whose sources or models the project does not have; `sources` and `models` are its names."""
    faults = []
    for spec in specs:
        name, wanted = spec.path.name, spec
        faults += [f"{name}: source {source} is not in the project; declare it" for source in wanted.sources if source not in sources]
        faults += [f"{name}: model {model} is not in the project; write it" for model in wanted.models if model not in models]
    return faults
