"""Secrets in text that leaves the machine."""

from __future__ import annotations

import pytest

from dpe_cli.redaction import HIDDEN, redact


@pytest.mark.parametrize(
    "written",
    ["a/b +é", "a%2Fb%20%2B%C3%A9", "a/b%20%2B%C3%A9", "a%2Fb+%2B%C3%A9", r"a\/b +é"],
    ids=["plain", "in a URL", "in a URL's path", "in a form", "in JSON"],
)
def test_a_secret_is_hidden_however_it_is_written(written: str) -> None:
    """As other programs' messages may have it."""
    assert f"refused: {HIDDEN}; try again" == redact(f"refused: {written}; try again", more=["a/b +é"])
