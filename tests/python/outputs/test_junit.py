from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.dbt_projects import Silence
from support.shop import Shop

from dpe_cli.errors import UsageError
from dpe_cli.outputs import junit
from dpe_cli.pipeline import validate
from dpe_cli.pipeline.checks import Check
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.pipeline.validate import Validation
from dpe_cli.project.dbt_runner import NodeResult
from dpe_cli.quality.reconciliation import Balance, Reconciliation

MOMENT = datetime(2013, 1, 31, 12, 30, 15, 999, tzinfo=UTC)
INTEGER, DECIMAL, WORD = r"\d+", r"\d+\.\d+", r"\S(.*\S)?"
# Requirements of Ant's schema for JUnit reports: children in this order, and attributes with these patterns. Jenkins' is laxer.
CHILDREN = {
    "testsuites": r"(testsuite )*",
    "testsuite": r"properties (testcase )*system-out system-err ",
    "testcase": r"((skipped|error|failure) )?",
}
ATTRIBUTES = {
    "testsuite": {
        "name": WORD,
        "package": WORD,
        "id": INTEGER,
        "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
        "hostname": WORD,
        "tests": INTEGER,
        "failures": INTEGER,
        "errors": INTEGER,
        "skipped": INTEGER,
        "time": DECIMAL,
    },
    "testcase": {"name": WORD, "classname": WORD, "time": DECIMAL},
    "failure": {"message": r".+", "type": r".+"},
    "error": {"message": r".+", "type": r".+"},
}
TEST = NodeResult(
    unique_id="test.shops.orders_are_unique",
    name="orders_are_unique",
    path="models/finance.yml",
    resource_type="test",
    status="pass",
    failures=0,
    message="",
    seconds=0.25,
    rule="SHOP-1-01",
    dimension="uniqueness",
    because="an order is paid once",
    severity="error",
    schema="quality",
    alias="orders_are_unique",
)
CHECKS = [
    Check(name, "fine")
    for name in ("counts", "reconciliation", "freshness", "row-level security", "who sees what", "spec coverage", "rules")
]


def _validation(*results: NodeResult, checks: list[Check] | None = None, balances: tuple[Balance, ...] = ()) -> Validation:
    return Validation(CHECKS if checks is None else checks, list(results), [], Reconciliation(list(balances)))


def _written(validation: Validation) -> ET.Element:
    return ET.fromstring(junit.document(validation, MOMENT))  # noqa: S314 our own


def _suite(validation: Validation, name: str) -> ET.Element:
    (suite,) = (suite for suite in _written(validation) if suite.get("name") == name)
    return suite


def _assert_valid(element: ET.Element) -> None:
    assert re.fullmatch(CHILDREN.get(element.tag, ""), "".join(f"{child.tag} " for child in element)), element.tag
    patterns = ATTRIBUTES.get(element.tag, {})
    assert set(patterns) == set(element.attrib)
    for name, pattern in patterns.items():
        assert re.fullmatch(pattern, element.attrib[name]), (element.tag, name, element.attrib[name])
    for child in element:
        _assert_valid(child)


def test_each_check_has_a_suite(first_run: tuple[Shop, RunSummary]) -> None:
    """Rules by dimension."""
    _, summary = first_run
    assert summary.validation is not None
    names = [suite.get("name") for suite in _written(summary.validation)]

    assert [
        "counts",
        "reconciliation",
        "rules: uniqueness",
        "rules: validity",
        "tests of no rule",
        "row-level security",
        "freshness",
        "coverage",
    ] == names


def test_the_document_is_valid(first_run: tuple[Shop, RunSummary]) -> None:
    """By Ant's schema, which the others are based on."""
    _, summary = first_run
    assert summary.validation is not None

    _assert_valid(_written(summary.validation))


def test_a_document_with_every_kind_of_problem_is_valid() -> None:
    """Failures, errors, skipped tests, and characters that XML cannot contain."""
    results = [
        replace(TEST, status="fail", failures=3),
        replace(TEST, status="error", message="Database Error\nwith a row"),
        replace(TEST, status="skipped"),
        replace(TEST, status="warn", name="bell\x07 <&> \U0001f514", dimension=None, rule=None),
    ]
    checks = [replace(check, faults=("one\x00 <&>", "two"), warnings=("three",)) for check in CHECKS]
    missing = Reconciliation([], {"a → b": "was never built"})

    _assert_valid(_written(Validation(checks, results, [], missing)))


def test_counts_are_those_of_the_cases() -> None:
    """CI systems add them up."""
    suite = _suite(
        _validation(TEST, replace(TEST, status="fail", failures=3), replace(TEST, status="error"), replace(TEST, status="skipped")),
        "rules: uniqueness",
    )

    assert {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
        "time": "1.000",
        "timestamp": "2013-01-31T12:30:15",
    }.items() <= suite.attrib.items()


def test_a_rule_that_failed_is_a_failure_with_its_reason() -> None:
    """And the number of rows that break it."""
    suite = _suite(_validation(replace(TEST, status="fail", failures=1234)), "rules: uniqueness")

    (case,) = suite.findall("testcase")
    (failure,) = case
    assert ("SHOP-1-01: orders_are_unique", "failure", "1,234 failing; an order is paid once") == (
        case.get("name"),
        failure.tag,
        failure.get("message"),
    )


def test_a_rule_that_warns_is_reported_and_is_not_a_failure() -> None:
    """In the suite's output."""
    suite = _suite(_validation(replace(TEST, status="warn", failures=2, severity="warn")), "rules: uniqueness")

    assert "SHOP-1-01: orders_are_unique: 2 failing; an order is paid once\n" == suite.findtext("system-out")
    assert ("0", "0") == (suite.get("failures"), suite.get("errors"))


def test_a_check_that_warns_is_reported_and_is_not_a_failure() -> None:
    """For example freshness."""
    suite = _suite(_validation(checks=[Check("freshness", "", (), ("shop.orders: was last loaded 3 days ago",))]), "freshness")

    assert "shop.orders: was last loaded 3 days ago\n" == suite.findtext("system-out")
    assert "0" == suite.get("failures")


def test_the_message_of_a_test_that_could_not_run_is_omitted() -> None:
    """The server's message may quote a row."""
    broken = replace(TEST, status="error", message='Database Error in test x\n  invalid input syntax for type integer: "Jane Doe"')

    assert b"Jane" not in junit.document(_validation(broken), MOMENT)
    assert "could not be run" in (_suite(_validation(broken), "rules: uniqueness")[1][0].get("message") or "")


def test_each_balance_is_a_case() -> None:
    """With all its numbers if it does not add up."""
    good = Balance("a → b", "records", Decimal(3), Decimal(3))
    bad = Balance("a → b", "sum of amount", Decimal(30), Decimal("20.5"), filtered=Decimal(5))
    first, second = _suite(_validation(balances=(good, bad)), "reconciliation").findall("testcase")

    assert (None, "30 delivered, 0 rejected, 0 deduplicated, 5 filtered: 25 expected, 20.5 found, -4.5 unexplained") == (
        first.find("failure"),
        second[0].get("message"),
    )


def test_all_faults_of_a_check_are_reported() -> None:
    """One line for each."""
    suite = _suite(
        _validation(checks=[Check("row-level security", "", ("finance.a: is open", "finance.b: is open"))]), "row-level security"
    )

    assert "finance.a: is open\nfinance.b: is open" == suite.findtext("testcase/failure")


def test_secrets_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they come from."""
    monkeypatch.setenv("DPE_LOADER_PASSWORD", "hush")

    assert b"hush" not in junit.document(_validation(checks=[Check("counts", "", ("cannot log in with hush",))]), MOMENT)


def test_the_file_is_written_with_its_directories(tmp_path: Path) -> None:
    """CI systems collect reports in a directory."""
    junit.write(_validation(TEST), tmp_path / "reports" / "dpe.xml")

    assert "testsuites" == ET.parse(tmp_path / "reports" / "dpe.xml").getroot().tag  # noqa: S314 our own


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    """As a usage error."""
    with pytest.raises(UsageError, match="cannot be written"):
        junit.write(_validation(TEST), tmp_path)


def test_a_validation_that_fails_has_failures(shop: Shop) -> None:
    """Like the exit status."""
    with shop.server.connect("admin") as connection:
        connection.execute("delete from raw.orders where order_id = 2")
    validation = validate.validate(shop.project, shop.server, "SHOP-1", Silence())

    assert not validation.holds
    assert "1" == _suite(validation, "counts").get("failures")
