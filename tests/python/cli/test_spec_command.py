"""`dpe spec`, as people and programs use it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import cast

import pytest
from support import dbt_projects
from support.result_schemas import check_report

from dpe_cli.cli import main
from dpe_cli.cli.app import App
from dpe_cli.cli.report import Report, show
from dpe_cli.errors import SpecError, UnknownNameError, UsageError

SPECS = Path(__file__).parents[1] / "specs"
GOOD, UNCLEAR = "SHOP-30-price-history-spec.md", "09-column_unknown.md"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project without sources, with the data of shops, a clear spec and one with an unknown column."""
    project = dbt_projects.make(tmp_path_factory.mktemp("specs") / "shops", {})
    shutil.copytree(SPECS / "places" / "shop" / "data", project / "data")
    (project / "specs").mkdir()
    shutil.copy(SPECS / "good" / GOOD, project / "specs" / GOOD)
    shutil.copy(SPECS / "unclear" / UNCLEAR, project / "specs" / "SHOP-52-returns-spec.md")
    return project


def _dpe(directory: Path, *arguments: str) -> Report:
    app = App(given_project_dir=directory)
    return cast("Report", main.cli.main(args=["spec", *arguments], standalone_mode=False, obj=app))


def test_a_clear_spec_passes(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what the spec was held against."""
    status = show(_dpe(directory, "check", "SHOP-30"), "text")

    shown = capsys.readouterr().out
    assert (0, "1 spec: nothing is unclear") == (status, shown.partition("\n")[0])
    assert "shop.price_changes: 66 records" in shown


def test_an_unclear_spec_fails_with_a_question(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For the analyst by name, with the line."""
    report = _dpe(directory, "check", str(directory / "specs/SHOP-52-returns-spec.md"))
    status = show(report, "text")

    shown = " ".join(capsys.readouterr().out.split())
    assert 1 == status
    assert "for the analyst (" in shown
    assert "47 SPEC301 transformation 2 names order_total, which no source has" in shown


def test_programs_get_all_specs_by_default(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the schema says."""
    report = _dpe(directory, "check")
    check_report("spec check", report)
    assert 1 == show(report, "json")

    result = json.loads(capsys.readouterr().out)
    assert {"SHOP-30": True, "SHOP-52": False} == {spec["ticket"]: spec["accepted"] for spec in result["specs"]}
    [finding] = next(spec["findings"] for spec in result["specs"] if spec["ticket"] == "SHOP-52")
    assert ("column_unknown", 47, "analyst") == (finding["kind"], finding["line"], finding["answers"])


def test_a_spec_that_cannot_be_read_hides_no_other(directory: Path) -> None:
    """It is named, and the others are checked."""
    path = directory / "specs" / "SHOP-99-broken-spec.md"
    path.write_text("---\nticket: [\n---\n", encoding="utf-8")
    try:
        report = _dpe(directory, "check")
    finally:
        path.unlink()

    check_report("spec check", report)
    data = cast("dict[str, list[dict[str, object]]]", report.data)
    assert ["SHOP-30", "SHOP-52"] == sorted(str(spec["ticket"]) for spec in data["specs"])
    assert 1 == len(data["errors"]) == report.exit_status


def test_the_report_can_be_sent(directory: Path, tmp_path: Path) -> None:
    """Markdown, with the questions in order, and what was read."""
    _dpe(directory, "check", "SHOP-52", "--report", str(tmp_path / "questions.md"))

    text = (tmp_path / "questions.md").read_text(encoding="utf-8")
    assert text.startswith("# SHOP-52: questions\n\nspecs/SHOP-52-returns-spec.md\n\n## For the analyst (")
    assert "1. **Line 47** (SPEC301): transformation 2 names order\\_total" in text
    assert "- shop.returns: " in text


def test_a_code_host_gets_sarif(directory: Path, tmp_path: Path) -> None:
    """With the line of the spec."""
    _dpe(directory, "check", "SHOP-52", "--sarif", str(tmp_path / "specs.sarif"))

    [run] = json.loads((tmp_path / "specs.sarif").read_text(encoding="utf-8"))["runs"]
    [result] = run["results"]
    assert "SPEC301" == result["ruleId"] == run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"]
    place = result["locations"][0]["physicalLocation"]
    assert ("specs/SHOP-52-returns-spec.md", 47) == (place["artifactLocation"]["uri"], place["region"]["startLine"])


def test_specs_are_listed(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With their pattern and what they publish."""
    assert 0 == show(_dpe(directory, "list"), "json")

    specs = json.loads(capsys.readouterr().out)["specs"]
    assert ["SHOP-30", "SHOP-52"] == sorted(spec["ticket"] for spec in specs)
    assert ["scd2-history", ["dim_prices"]] == next([spec["pattern"], spec["models"]] for spec in specs if spec["ticket"] == "SHOP-30")


def test_a_new_spec_is_filled_in_and_asks_for_the_rest(directory: Path) -> None:
    """The columns of its source, and a question for each thing that only a person knows."""
    report = _dpe(directory, "new", "SHOP-70", "Orders by day", "--pattern", "tenant-mart", "--source", str(directory / "data/orders.csv"))
    path = directory / "specs" / "SHOP-70-orders-by-day-spec.md"
    try:
        text = path.read_text(encoding="utf-8")
        checked = _dpe(directory, "check", "SHOP-70")
    finally:
        path.unlink()

    assert "wrote specs/SHOP-70-orders-by-day-spec.md" == report.headline
    assert "Key: order_id\n" in text
    assert "| net_amount | numeric | no | TBD: what does it mean? |\n" in text
    assert "\nPattern: tenant-mart\nPublishes a table of which each reader sees the rows of its own tenants.\n" in text
    findings = cast("dict[str, list[dict[str, list[dict[str, object]]]]]", checked.data)["specs"][0]["findings"]
    assert {"draft", "question_open", "pattern_unfit", "currency_missing", "late_records"} >= {str(finding["kind"]) for finding in findings}
    assert "files.orders, column shop: What does it mean?" in [finding["question"] for finding in findings]


def test_a_new_spec_replaces_none(directory: Path) -> None:
    """A ticket has one spec."""
    with pytest.raises(UsageError, match=r"specs/SHOP-30-price-history-spec\.md: already is the spec of SHOP-30"):
        _dpe(directory, "new", "SHOP-30", "Prices")
    with pytest.raises(UsageError, match=r"TICKET: shop 1 is not a ticket; write it as capital letters and a number"):
        _dpe(directory, "new", "shop 1", "Prices")


def test_an_approval_is_for_the_text_that_was_approved(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After an edit it no longer counts, and the difference is shown."""
    path = directory / "specs" / GOOD
    text = path.read_text(encoding="utf-8")
    approved = _dpe(directory, "approve", "SHOP-30")
    check_report("spec approve", approved)
    try:
        assert _dpe(directory, "check", "SHOP-30").exit_status == 0
        path.write_text(text.replace("above 0 EUR and at most 500 EUR", "above 0 EUR and at most 900 EUR"), encoding="utf-8")

        [finding] = cast("dict[str, list[dict[str, list[dict[str, object]]]]]", _dpe(directory, "check", "SHOP-30").data)["specs"][0][
            "findings"
        ]
        shown = _dpe(directory, "show", "SHOP-30")
    finally:
        path.write_text(text, encoding="utf-8")
        shutil.rmtree(directory / "specs" / "approved")

    assert ("approval_outdated", 68, "analyst") == (finding["kind"], finding["line"], finding["answers"])
    check_report("spec show", shown)
    show(shown, "text")
    printed = capsys.readouterr().out
    assert "approval     changed since" in printed
    assert "at most 900 EUR" in printed


def test_an_unclear_spec_is_not_approved(directory: Path) -> None:
    """Its questions come first."""
    with pytest.raises(SpecError, match=r"SHOP-52-returns-spec\.md: 1 question not answered yet; see `dpe spec check SHOP-52`"):
        _dpe(directory, "approve", "SHOP-52")
    assert not (directory / "specs" / "approved").exists()


def test_a_template_has_every_part(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says what the pattern is for."""
    show(_dpe(directory, "template", "--pattern", "scd2-history"), "text")

    shown = capsys.readouterr().out
    for title in (
        "Purpose",
        "Sources",
        "Transformations",
        "Published columns",
        "Who may see what",
        "Rules",
        "Acceptance",
        "Open questions",
    ):
        assert f"# {title}\n" in shown
    assert "pattern: scd2-history\n" in shown


def test_what_does_not_exist_is_named(directory: Path) -> None:
    """With the nearest name."""
    with pytest.raises(UnknownNameError, match=r"SHOP-31: no such spec; did you mean SHOP-30\?"):
        _dpe(directory, "check", "SHOP-31")
    with pytest.raises(UnknownNameError, match=r"tenant-marts: no such pattern; did you mean tenant-mart\?"):
        _dpe(directory, "template", "--pattern", "tenant-marts")
