"""
The results of a validation as JUnit XML for CI systems.

It contains no rows or values: the message of a rule that could not be run is omitted, because it may quote one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from dpe_cli.errors import UsageError
from dpe_cli.pipeline.checks import Check
from dpe_cli.pipeline.validate import Validation
from dpe_cli.project.dbt_runner import HELD, SKIPPED, WARNED, NodeResult
from dpe_cli.quality.dimensions import DIMENSIONS
from dpe_cli.quality.reconciliation import Balance, Reconciliation
from dpe_cli.safe_text.redaction import redact
from dpe_cli.safe_text.visible_text import on_one_line, visible

_RAN = (*HELD, *WARNED, *SKIPPED, "fail")
# Suites, and the checks whose faults are in them.
_COUNTS, _RECONCILIATION, _SECURITY, _FRESHNESS, _COVERAGE = "counts", "reconciliation", "row-level security", "freshness", "coverage"
_CHECKS = {
    "counts": _COUNTS,
    "reconciliation": _RECONCILIATION,
    "freshness": _FRESHNESS,
    "row-level security": _SECURITY,
    "who sees what": _SECURITY,
    "spec coverage": _COVERAGE,
    "rules": _COVERAGE,
}


@dataclass(frozen=True)
class Case:
    """A test case. `failure` says what is wrong; with `is_error` it could not be tested."""

    name: str
    classname: str
    seconds: float = 0.0
    failure: str | None = None
    is_error: bool = False
    is_skipped: bool = False


@dataclass
class Suite:
    """A group of cases; `messages` are lines for people, which do not make it fail."""

    name: str
    cases: list[Case] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def write(validation: Validation, path: Path) -> None:
    """
    Write a validation as JUnit XML.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(document(validation, datetime.now(UTC)))
    except OSError as error:
        raise UsageError(f"--junit: {path} cannot be written ({error.strerror}); name a file that can") from error


def document(validation: Validation, moment: datetime) -> bytes:
    """Return a validation as JUnit XML."""
    found = suites(validation)
    root = ET.Element("testsuites")
    for number, suite in enumerate(found):
        _append(root, suite, number, moment)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def suites(validation: Validation) -> list[Suite]:
    """Return the suites: counts, reconciliation, the rules by dimension, row-level security, freshness, and coverage."""
    of_checks = {name: Suite(name) for name in (_COUNTS, _RECONCILIATION, _SECURITY, _FRESHNESS, _COVERAGE)}
    for check in validation.checks:
        suite = of_checks.get(_CHECKS.get(check.name, _COVERAGE), of_checks[_COVERAGE])
        suite.messages += check.warnings
        suite.cases += _balances(validation.reconciliation) if suite.name == _RECONCILIATION else [_of_check(check)]
    of_rules = [_rules(f"rules: {dimension}", validation.results, dimension) for dimension in (*DIMENSIONS, None)]
    ordered = [
        of_checks[_COUNTS],
        of_checks[_RECONCILIATION],
        *of_rules,
        of_checks[_SECURITY],
        of_checks[_FRESHNESS],
        of_checks[_COVERAGE],
    ]
    return [suite for suite in ordered if suite.cases]


def _of_check(check: Check) -> Case:
    return Case(check.name, f"dpe.{_classname(check.name)}", failure="\n".join(check.faults) or None)


def _balances(reconciliation: Reconciliation) -> list[Case]:
    classname = f"dpe.{_RECONCILIATION}"
    counted = [
        Case(f"{balance.name}: {balance.quantity}", classname, failure=None if balance.holds else _difference(balance))
        for balance in reconciliation.balances
    ]
    return counted + [Case(name, classname, failure=why, is_error=True) for name, why in reconciliation.uncounted.items()]


def _difference(balance: Balance) -> str:
    return (
        f"{balance.delivered:,} delivered, {balance.rejected:,} rejected, {balance.deduplicated:,} deduplicated, "
        f"{balance.filtered:,} filtered: {balance.expected:,} expected, {balance.found:,} found, {balance.unexplained:,} unexplained"
    )


def _rules(name: str, results: Iterable[NodeResult], dimension: str | None) -> Suite:
    """Return the tests of one dimension; without one, the tests without a rule, and what was built."""
    suite = Suite(name if dimension else "tests of no rule")
    for result in results:
        if (result.dimension if result.dimension in DIMENSIONS else None) != dimension:
            continue
        title = f"{result.rule}: {result.name}" if result.rule else result.name
        failure: str | None = None
        if result.status == "fail":
            failure = f"{_rows(result)}{f'; {result.because}' if result.because else ''}"
        elif result.status not in _RAN:
            failure = f"{result.name} ({result.path}) could not be run; `dpe validate` shows why"
        elif result.status == "warn":
            suite.messages.append(f"{title}: {_rows(result)}{f'; {result.because}' if result.because else ''}")
        suite.cases.append(
            Case(
                title,
                f"dpe.{_classname(suite.name)}",
                result.seconds,
                failure,
                is_error=result.status not in _RAN,
                is_skipped=result.status in SKIPPED,
            )
        )
    return suite


def _rows(result: NodeResult) -> str:
    return f"{result.failures or 0:,} failing"


def _append(root: ET.Element, suite: Suite, number: int, moment: datetime) -> None:
    """Add a suite with everything that the schemas of Ant and Jenkins require, in the order of the stricter one."""
    element = ET.SubElement(
        root,
        "testsuite",
        {
            "name": _line(suite.name),
            "package": "dpe",
            "id": str(number),
            "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%S"),
            # The machine's name is private; the schema has this word for that.
            "hostname": "localhost",
            "tests": str(len(suite.cases)),
            "failures": str(sum(case.failure is not None and not case.is_error for case in suite.cases)),
            "errors": str(sum(case.is_error for case in suite.cases)),
            "skipped": str(sum(case.is_skipped for case in suite.cases)),
            "time": f"{sum(case.seconds for case in suite.cases):.3f}",
        },
    )
    ET.SubElement(element, "properties")
    for case in suite.cases:
        attributes = {"name": _line(case.name), "classname": _line(case.classname), "time": f"{case.seconds:.3f}"}
        testcase = ET.SubElement(element, "testcase", attributes)
        if case.is_skipped:
            ET.SubElement(testcase, "skipped")
        elif case.failure is not None:
            text = _text(case.failure)
            kind = "error" if case.is_error else "failure"
            ET.SubElement(testcase, kind, {"message": text.splitlines()[0], "type": _line(suite.name)}).text = text
    ET.SubElement(element, "system-out").text = "".join(f"{_line(line)}\n" for line in suite.messages)
    ET.SubElement(element, "system-err")


def _classname(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def _text(text: str) -> str:
    """Return a text without secrets and without characters that XML 1.0 cannot contain."""
    return visible(redact(text))


def _line(text: str) -> str:
    return on_one_line(_text(text))
