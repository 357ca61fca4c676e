"""The gate accepts clear specs, and refuses unclear ones with the right question to the right person."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from make_places import make

from dpe_cli.specs import gate
from dpe_cli.specs.findings import kinds
from dpe_cli.specs.gate import Verdict
from dpe_cli.specs.reading.read import read

HERE = Path(__file__).parent
EXPECTED: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load((HERE / "expected.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make the data of a domain once."""
    return cache(lambda domain: make(domain, tmp_path_factory.mktemp(domain)))


def _verdict(place: Callable[[str], Path], kind: str, name: str) -> Verdict:
    return gate.check(read(HERE / kind / name), place(EXPECTED[kind][name]["domain"]), {})


def _plain(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d)", "", text.replace("`", "").casefold())


@pytest.mark.parametrize("name", EXPECTED["good"])
def test_a_clear_spec_is_accepted(place: Callable[[str], Path], name: str) -> None:
    """In whatever style it is written; all of its sources were read."""
    verdict = _verdict(place, "good", name)

    assert [] == [(finding.kind.name, finding.line, finding.what) for finding in verdict.findings]
    assert list(verdict.requirement.source_names) == [source.source for source in verdict.inspected]


@pytest.mark.parametrize("name", EXPECTED["unclear"])
def test_an_unclear_spec_is_refused(place: Callable[[str], Path], name: str) -> None:
    """With its fault and no other, the line where a person would point, who has to answer, and what the question has to say."""
    expected = EXPECTED["unclear"][name]

    verdict = _verdict(place, "unclear", name)

    assert [expected["kind"]] == [finding.kind.name for finding in verdict.findings]
    [finding] = verdict.findings
    assert finding.line in {expected["line"], *expected.get("or_lines", [])}
    assert expected["answers"] == finding.answers
    assert [] == [says for says in expected["says"] if _plain(says) not in _plain(f"{finding.what} {finding.question}")]


def test_the_unclear_specs_have_faults_of_most_kinds() -> None:
    """The others are tried in test_checks.py."""
    assert {entry["kind"] for entry in EXPECTED["unclear"].values()} <= kinds().keys()
