"""The table of tools next to dbt is complete; what it says is shown by tests (tests/python/tools/tools.yml)."""

from __future__ import annotations

from typing import Any

import pytest
from support import tools
from support.guides import REPOSITORY

RESULTS = [pytest.param(result, id=f"{row['tool']}: {result['what'][:40]}") for row in tools.TABLE for result in row["results"]]


@pytest.mark.parametrize("result", RESULTS)
def test_each_result_is_shown_by_tests(result: dict[str, Any]) -> None:
    """Which exist."""
    assert result["tests"]
    for test in result["tests"]:
        file, _, function = test.partition("::")
        assert f"\ndef {function}(" in (tools.TESTS / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("result", RESULTS)
def test_each_limit_has_a_remedy(result: dict[str, Any]) -> None:
    """Only what works without any needs none."""
    assert "works" == result["result"] or result["instead"]


@pytest.mark.parametrize("row", [pytest.param(row, id=row["tool"]) for row in tools.TABLE if "requirements" in row])
def test_each_version_is_the_pinned_one(row: dict[str, Any]) -> None:
    """Of its distribution."""
    assert row["version"] == tools.pinned(row["requirements"], row["distribution"])


def test_each_environment_has_a_row() -> None:
    """Those of tools and of schedulers."""
    places = [path for place in ("tools", "recipes") for path in (tools.TESTS / place).glob("*.txt")]

    assert {str(path.relative_to(tools.TESTS)) for path in places} == {row["requirements"] for row in tools.TABLE if "requirements" in row}


def test_the_page_shows_the_options_of_dbt_osmosis() -> None:
    """With which the tests run it."""
    page = (REPOSITORY / "docs/reference/compatibility.md").read_text(encoding="utf-8")

    assert f"`dbt-osmosis yaml refactor {tools.KEEP_CONTRACTS}`" in page
