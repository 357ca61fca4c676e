"""
The rules, from specs and dbt's tests: what they require, where they are written, and why.

A rule has one test or several, with its id in their meta. Its definition is the row in its spec's table of rules; if there
is none, it is derived from the test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpe_cli.errors import UnknownNameError
from dpe_cli.quality import coverage
from dpe_cli.specs.requirement import RuleRow
from dpe_cli.specs.spec import Spec
from dpe_cli.words import did_you_mean

NO_SPEC = "no spec"

_COMMENT = re.compile(r"^\s*--\s?(.*)$")
_JINJA = re.compile(r"\{\{.*?\}\}|\{#.*?#\}|\{%.*?%\}", re.DOTALL)


@dataclass(frozen=True)
class Test:
    """A dbt test that implements a rule. `asks` is what it requires, `path` its file, `kind_path` the file of its kind."""

    test_id: str
    name: str
    asks: str
    path: str
    kind: str | None
    kind_path: str | None
    severity: str
    warn_if: str
    error_if: str
    definition: str
    warn_share: float | None = None
    error_share: float | None = None
    quarantines: bool = False


@dataclass(frozen=True)
class Rule:
    """A rule with its tests; `definition` is its spec's, if there is one."""

    rule_id: str
    pipeline: str
    spec: str | None
    definition: str
    dimension: str
    severity: str
    owner: str
    because: str
    tests: tuple[Test, ...]

    @property
    def thresholds(self) -> str:
        """When its tests warn and fail; by test name if they differ."""
        limits = {test.name: ", ".join(_thresholds(test)) for test in self.tests}
        if len(set(limits.values())) == 1:
            return next(iter(limits.values()))
        return "; ".join(f"{name} {limit}" for name, limit in limits.items())


def find_all(manifest: Mapping[str, Any], specs: Sequence[Spec]) -> list[Rule]:
    """Return the rules that have a test in dbt's manifest, by id."""
    tests: dict[str, list[str]] = {}
    for test in coverage.rule_tests(manifest):
        tests.setdefault(test.rule_id, []).append(test.unique_id)
    described = {row.rule_id: (spec, row) for spec in specs for row in spec.rows}
    return [_rule(manifest, rule_id, ids, *described.get(rule_id, (None, None))) for rule_id, ids in sorted(tests.items())]


def find(rules: Sequence[Rule], rule_id: str) -> Rule:
    """
    Return a rule by its id, ignoring case.

    Raises:
        UnknownNameError: no test has this id.
    """
    for rule in rules:
        if rule.rule_id.casefold() == rule_id.casefold():
            return rule
    hint = did_you_mean(rule_id, (rule.rule_id for rule in rules), "`dpe rules` lists the rules")
    raise UnknownNameError(f"{rule_id}: no test has a rule with this id; {hint}")


def _rule(manifest: Mapping[str, Any], rule_id: str, unique_ids: Sequence[str], spec: Spec | None, row: RuleRow | None) -> Rule:
    nodes = [manifest["nodes"][unique_id] for unique_id in sorted(unique_ids)]
    tests = tuple(_test(manifest, node) for node in nodes)
    meta = nodes[0]["config"]["meta"]
    return Rule(
        rule_id=rule_id,
        pipeline=spec.ticket if spec else NO_SPEC,
        spec=spec.path.name if spec else None,
        definition=(row.definition if row else "") or " ".join(test.definition for test in tests),
        dimension=str(meta.get("dimension") or "none"),
        severity="error" if any(test.severity == "error" for test in tests) else "warn",
        owner=str(meta.get("owner") or "-"),
        because=str(meta.get("because") or "-"),
        tests=tests,
    )


def _test(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> Test:
    config = node["config"]
    metadata = node.get("test_metadata") or {}
    kind, arguments = metadata.get("name"), metadata.get("kwargs") or {}
    macro = next((macro_id for macro_id in node["depends_on"]["macros"] if macro_id.endswith(f".test_{kind}")), "") if kind else ""
    # Only the project's own kinds have a file that users can open.
    kind_path = manifest["macros"][macro]["original_file_path"] if macro and macro.split(".")[1] == node["package_name"] else None
    written = ".".join(filter(None, (metadata.get("namespace"), kind)))
    asks = _description(written, node, arguments) if kind else "a query of its own"
    return Test(
        test_id=node["unique_id"],
        name=node["name"],
        asks=asks,
        path=node["original_file_path"],
        kind=kind,
        kind_path=kind_path,
        severity=str(config.get("severity") or "error").lower(),
        warn_if=config.get("warn_if") or "!= 0",
        error_if=config.get("error_if") or "!= 0",
        definition=_definition(node, kind, arguments, asks),
        warn_share=(config.get("meta") or {}).get("warn_share"),
        error_share=(config.get("meta") or {}).get("error_share"),
        quarantines=(config.get("meta") or {}).get("on_failure") == "quarantine",
    )


def _tested(node: Mapping[str, Any]) -> str:
    tested: Sequence[str] = [node["attached_node"]] if node.get("attached_node") else node["depends_on"]["nodes"]
    return ", ".join(".".join(unique_id.split(".")[2:]) for unique_id in tested)


def _description(kind: str, node: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """Describe a generic test in the words of its YAML."""
    given = {name: value for name, value in arguments.items() if name not in {"model", "column_name"}}
    column = f"{node['column_name']} of " if node.get("column_name") else ""
    options = "".join(f", {name} {_value(value)}" for name, value in given.items())
    where = f", where {node['config']['where']}" if node["config"].get("where") else ""
    return f"{kind} on {column}{_tested(node)}{options}{where}"


def _definition(node: Mapping[str, Any], kind: str | None, arguments: Mapping[str, Any], asks: str) -> str:
    """Define a rule that no spec defines, from the test's description, or from its kind and arguments."""
    if node.get("description"):
        return " ".join(str(node["description"]).split())
    if kind is None:
        return _first_comment(str(node.get("raw_code") or "")) or f"{_sentence(node['name'])}."
    column, model = node.get("column_name"), _tested(node)
    definitions_of_kinds = {
        "not_null": f"Every row of {model} has a {column}.",
        "unique": f"No two rows of {model} have the same {column}.",
        "accepted_values": f"Every {column} of {model} is one of {_value(arguments.get('values'))}.",
        "relationships": f"Every {column} of {model} is among the {arguments.get('field')} of {_value(arguments.get('to'))}.",
    }
    return definitions_of_kinds.get(kind) or f"{_sentence(node['name'])}: {asks}."


def _sentence(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _first_comment(code: str) -> str:
    """Return the comment with which a query starts, as one line."""
    lines = []
    for line in _JINJA.sub("", code).strip().splitlines():
        comment = _COMMENT.match(line)
        if comment is None:
            break
        lines.append(comment.group(1).strip())
    return " ".join(lines)


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_value(item) for item in value)
    return str(value)


def _thresholds(test: Test) -> list[str]:
    """Describe when a test warns and fails; only one of error severity fails."""
    fails = [("fails", test.error_if, test.error_share)] if test.severity == "error" else []
    warns = ("warns", test.warn_if, test.warn_share)
    limits = fails if fails and warns[1:] == fails[0][1:] else [*fails, warns]
    quarantine = ["quarantines the rows that break it"] if test.quarantines else []
    return [*quarantine, *(f"{verb} {_limit(limit, share)}" for verb, limit, share in limits)]


def _limit(limit: str, share: float | None) -> str:
    if share is not None:
        return f"if more than {share * 100:g} % of the rows do"
    return "on any row" if limit.strip() in {"!= 0", "> 0"} else f"if the count is {limit.strip()}"
