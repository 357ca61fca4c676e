from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from dpe_cli.errors import SpecError, UnknownNameError
from dpe_cli.specs import spec

GOOD = """
---
ticket: DPE-7
title: Orders
owner: sales
sources: [shop.orders]
models: [fct_orders, dim_shops]
readers: each shop
---

# Orders

| table | one row |
|---|---|
| fct_orders | an order |

## Rules

| rule | definition |
|---|---|
| DPE-7-01 | Every order has a shop. |
| `DPE-7-02` | No order is free. |
|DPE-7-03|No order is free, DPE-7-09 neither.|

A line with | DPE-7-08 | in it is not a row.
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make the directory of specs, with a good one."""
    _write(tmp_path, GOOD)
    return tmp_path


def _write(directory: Path, text: str, *, name: str = "DPE-7-orders-spec.md") -> Path:
    path = directory / name
    path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return path


def test_a_spec_is_read(directory: Path) -> None:
    """Its fields, including those that dpe does not know, and the ids in the first column of its tables."""
    (found,) = spec.read_all(directory)

    assert ("DPE-7", "Orders", "sales") == (found.ticket, found.title, found.owner)
    assert (("shop.orders",), ("fct_orders", "dim_shops")) == (found.sources, found.models)
    assert "each shop" == found.requirement.text_of("readers").bare
    assert ("DPE-7-01", "DPE-7-02", "DPE-7-03") == found.rules


@pytest.mark.parametrize("text", ["\ufeff" + GOOD.lstrip(), GOOD.lstrip().replace("\n", "\r\n")], ids=["byte order mark", "windows"])
def test_traces_of_editors_are_accepted(tmp_path: Path, text: str) -> None:
    """They are not the analyst's fault."""
    path = tmp_path / "DPE-7-orders-spec.md"
    path.write_bytes(text.encode())

    assert "DPE-7" == spec.read(path).ticket


def test_a_spec_is_found_by_its_ticket_or_its_path(directory: Path) -> None:
    """Whatever the name of the file."""
    assert "DPE-7" == spec.find(directory, "DPE-7").ticket
    assert "DPE-7" == spec.find(Path("elsewhere"), str(directory / "DPE-7-orders-spec.md")).ticket


def test_an_unknown_ticket_names_the_known_ones(directory: Path) -> None:
    """Or the one that is most like it, or that there are none."""
    with pytest.raises(UnknownNameError, match=r"DPE-8: no such spec; did you mean DPE-7\?"):
        spec.find(directory, "DPE-8")
    with pytest.raises(UnknownNameError, match=r"orders: no such spec; there are DPE-7 in"):
        spec.find(directory, "orders")
    with pytest.raises(UnknownNameError, match=r"DPE-8: no such spec; there are none in nowhere/"):
        spec.find(directory / "nowhere", "DPE-8")


def test_a_path_that_does_not_exist_is_named(directory: Path) -> None:
    """Also one that is not text."""
    with pytest.raises(SpecError, match=r"gone-spec\.md: cannot be read \(.*No such file"):
        spec.find(directory, str(directory / "gone-spec.md"))
    binary = directory / "binary-spec.md"
    binary.write_bytes(b"---\nticket: \xff")
    with pytest.raises(SpecError, match=r"binary-spec\.md: cannot be read \(.*; give the path of a spec in UTF-8"):
        spec.read_all(directory)


FAULTS = {
    "no fence": ("# Orders\n", "spec.md, line 1: the front matter is missing; start the file with a line `---`"),
    "empty": ("", "spec.md, line 1: the front matter is missing"),
    "not closed": ("---\nticket: DPE-7\n", "spec.md, line 1: the front matter has no end; close it with a line `---`"),
    "no YAML": (
        "---\nticket: DPE-7\ntitle: [a, b\nowner: x\n---\n",
        "spec.md, line 4, column 6: the front matter is not valid YAML (did not find",
    ),
    "a tab": ("---\nticket: DPE-7\n\ttitle: x\n---\n", "spec.md, line 3, column 1: the front matter is not valid YAML ("),
    "a control character": ("---\nticket: \x07\n---\n", "spec.md: the front matter is not valid YAML (unacceptable character"),
    "no fields": ("---\njust text\n---\n", "spec.md, line 2: the front matter holds no fields; write them as `name: value`"),
    "nothing in it": ("---\n---\n", "spec.md, line 2: the front matter holds no fields"),
    "missing fields": (
        "---\nticket: DPE-7\ntitle: x\nsources: []\n---\n",
        "spec.md: the spec does not say its owner, models; add to its front matter, as in `owner: sales-operations`;",
    ),
    "a field with fields": (
        "---\nticket: DPE-7\nowner: {team: sales}\n---\n",
        "spec.md, line 3: owner holds fields of its own; write one value, or a list of them",
    ),
    "aliases that multiply": (
        f"---\nticket: DPE-7\na: &a [{', '.join('x' * 20)}]\nb: &b [{', '.join(['*a'] * 20)}]\nd: [{', '.join(['*b'] * 20)}]\n---\n",
        "d has more than 1,000 values; list only what belongs there",
    ),
    "a field twice": (
        "---\nticket: DPE-7\nowner: a\nowner: b\n---\n",
        "spec.md, line 4: the front matter has owner twice; keep one of the two",
    ),
    "a rule twice": (
        GOOD + "\n| DPE-7-02 | again |\n",
        "spec.md, line 26: rule DPE-7-02 is defined twice; give each rule an id of its own",
    ),
    "a misspelt rule": (GOOD + "\n| dpe-7-04 | in small letters |\n", "spec.md, line 26: 'dpe-7-04' is not the id of a rule; write it as"),
    "a rule without a number": (GOOD + "\n| DPE-7-4a | x |\n", "spec.md, line 26: 'DPE-7-4a' is not the id of a rule; write it as"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_errors_are_reported_with_their_place(tmp_path: Path, name: str) -> None:
    """File, line and column, what is wrong, and what to do."""
    text, message = FAULTS[name]
    path = _write(tmp_path, text)

    with pytest.raises(SpecError) as error:
        spec.read(path)

    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_two_specs_for_one_ticket_are_refused(directory: Path) -> None:
    """It would be unclear which one the rules belong to."""
    _write(directory, GOOD, name="DPE-7-returns-spec.md")

    with pytest.raises(SpecError, match=r"DPE-7-returns-spec\.md: DPE-7-orders-spec\.md already is the spec of ticket DPE-7"):
        spec.read_all(directory)
