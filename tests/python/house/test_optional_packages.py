"""A package that only some sources need is named if it is missing."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from dpe_cli import optional_packages
from dpe_cli.errors import UsageError


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what needs it, and how to install it."""
    monkeypatch.setitem(sys.modules, "duckdb", None)

    with pytest.raises(
        UsageError, match=r"^reading JSON: needs the package duckdb; install it .*: pip install 'data-provisioning-engine\[duckdb\]'$"
    ):
        optional_packages.needed("duckdb", by="reading JSON")


def test_every_extra_is_one_of_the_package() -> None:
    """Otherwise pip would not know it."""
    declared = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(optional_packages.EXTRAS.values()) <= set(declared["optional-dependencies"])
