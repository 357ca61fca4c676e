"""The table of tools names the versions that its tests run with."""

from __future__ import annotations

from typing import Any

import pytest
from support import tools
from support.guides import REPOSITORY
from support.long_tests import LONG

pytestmark = LONG


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row["tool"], marks=tools.needs_packages(row["package"])) for row in tools.TABLE if "package" in row]
)
def test_a_row_has_the_version_of_its_package(row: dict[str, Any]) -> None:
    """As its sources name it."""
    assert row["version"] == tools.version_of_package(row["package"])


@pytest.mark.parametrize("row", [pytest.param(row, id=row["tool"]) for row in tools.TABLE if "requirements" in row])
def test_a_row_has_the_version_of_its_distribution(row: dict[str, Any]) -> None:
    """In its environment."""
    environment = REPOSITORY / ".dpe" / row["requirements"].removesuffix(".txt")
    if not (environment / "installed").exists():
        pytest.skip(f"{row['tool']} is not installed; `make compatibility` installs it, where there is a network")

    assert row["version"] == tools.version_in(environment, row["distribution"])
