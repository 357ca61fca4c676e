"""What dpe reads from a spec, in whatever style an analyst writes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dpe_cli.errors import SpecError
from dpe_cli.specs.reading import markdown
from dpe_cli.specs.reading.read import read
from dpe_cli.specs.requirement import Requirement
from dpe_cli.specs.text import Text


@pytest.fixture
def read_text(tmp_path: Path) -> Callable[[str], Requirement]:
    """Read a spec from a text."""

    def _read(text: str) -> Requirement:
        path = tmp_path / "SHOP-1-orders-spec.md"
        path.write_text(text, encoding="utf-8")
        return read(path)

    return _read


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("| `a|b` | c |", ["`a|b`", "c"]),
        (r"| a\|b | c |", ["a|b", "c"]),
        ("| ``a`|b`` | c |", ["``a`|b``", "c"]),
        ("| ` | c |", ["`", "c"]),
        ("a | b", ["a", "b"]),
        ("| a | |", ["a", ""]),
    ],
    ids=["in backticks", "escaped", "in two backticks", "a backtick alone", "without outer lines", "an empty one"],
)
def test_the_cells_of_a_row(line: str, cells: list[str]) -> None:
    """A `|` in backticks, or after a backslash, belongs to its cell."""
    assert cells == markdown.cells(line)


def test_surplus_cells_are_kept_apart(read_text: Callable[[str], Requirement]) -> None:
    """They would be lost in Markdown."""
    spec = read_text("# SHOP-1: Orders\n\n| a | b |\n|---|---|\n| 1 | 2 | 3 |\n")

    assert [("3", 5)] == [(cell.bare, cell.line) for cell in spec.surplus]


def test_a_table_needs_no_line_below_its_headings(read_text: Callable[[str], Requirement]) -> None:
    """Which Markdown requires, and people forget."""
    spec = read_text("## Sources\n\n| source | location |\n| shop.orders | data/orders.csv |\n")

    assert [("shop.orders", "data/orders.csv", 4)] == [(source.name.bare, source.location.bare, source.line) for source in spec.sources]


def test_a_bold_line_is_a_title(read_text: Callable[[str], Requirement]) -> None:
    """As word processors write them."""
    spec = read_text("**Purpose**\n\nSales want to know.\n")

    assert ["Sales want to know."] == [text.plain for text in spec.prose("purpose")]


def test_a_field_occurs_once(read_text: Callable[[str], Requirement]) -> None:
    """YAML would keep the last one, silently."""
    with pytest.raises(SpecError, match="line 4: the front matter has owner twice"):
        read_text("---\nticket: SHOP-1\nowner: sales\nowner: finance\n---\n")


def test_fields_of_an_older_style(read_text: Callable[[str], Requirement]) -> None:
    """Lines at the start, with other names for the fields."""
    spec = read_text("# Orders\n\n**Ticket**: SHOP-1\n**Business Owner**: sales\n\n## Purpose\n\nOwner: of the word\n")

    assert ("SHOP-1", "sales") == (spec.ticket, spec.text_of("owner").bare)


def test_the_ticket_may_be_in_the_name_of_the_file(read_text: Callable[[str], Requirement]) -> None:
    """If nothing else says it."""
    assert read_text("# Orders\n").ticket == "SHOP-1"


def test_given_when_then_is_one_rule(read_text: Callable[[str], Requirement]) -> None:
    """With the number that it has among the rules."""
    spec = read_text("## Rules\n\n- Given an order\n- When it is paid\n- Then it has an amount\n- Given a shop\n- Then it has a name\n")

    assert ["SHOP-1-01", "SHOP-1-02"] == [rule.rule_id for rule in spec.rules]
    assert spec.rules[0].definition == "Given an order When it is paid Then it has an amount"


def test_bullets_of_word_processors_are_items(read_text: Callable[[str], Requirement]) -> None:
    """`•` is not a mark of Markdown."""
    spec = read_text("## Transformations\n\n• Test orders are left out.\n• Amounts are rounded.\n")

    assert ["Test orders are left out.", "Amounts are rounded."] == [step.text.plain for step in spec.transformations]


def test_a_list_below_a_step_belongs_to_it(read_text: Callable[[str], Requirement]) -> None:
    """And keeps its own line."""
    spec = read_text("## Transformations\n\n1. Late means:\n   - by road: an hour\n   - by rail: a day\n2. Rest.\n")

    assert [(1, 3), (2, 6)] == [(step.number, step.text.line) for step in spec.transformations]
    assert spec.transformations[0].text.line_at(spec.transformations[0].text.value.index("by rail")) == 5


def test_an_abbreviation_does_not_end_a_sentence() -> None:
    """`e.g.` is followed by a capital letter, too."""
    text = Text("Towns, e.g. Berlin, are kept.\nOthers are left out.", 7)

    assert [("Towns, e.g. Berlin, are kept.", 7), ("Others are left out.", 8)] == [(part.plain, part.line) for part in text.sentences]


def test_an_answered_question_has_its_answer(read_text: Callable[[str], Requirement]) -> None:
    """Where it was asked."""
    [question] = read_text("## Open questions\n\n- Do cancelled orders count? Answer: they do not.\n").questions

    assert question.answer.plain == "they do not."


def test_none_is_not_a_question(read_text: Callable[[str], Requirement]) -> None:
    """It says that there are none."""
    assert () == read_text("## Open questions\n\nNone.\n").questions


def test_a_title_of_repeated_words_takes_no_time(read_text: Callable[[str], Requirement]) -> None:
    """It once took a time that doubled with each two words."""
    start = time.process_time()
    read_text(f"## {'data quality ' * 15}x\n")

    assert time.process_time() - start < 2


def test_a_file_that_is_too_large_is_not_a_spec(read_text: Callable[[str], Requirement]) -> None:
    """Data was given instead of its spec."""
    with pytest.raises(SpecError, match="larger than 2.0 MB; a spec is text"):
        read_text("a;b;c\n" * 1_000_000)


def test_a_table_of_ten_thousand_rows_is_read(read_text: Callable[[str], Requirement]) -> None:
    """In seconds."""
    rows = "".join(f"| column_{number} | integer | no | number {number} |\n" for number in range(10_000))
    start = time.process_time()
    spec = read_text(
        f"---\nticket: SHOP-1\nsources: [shop.orders]\n---\n## Columns of shop.orders\n\n"
        f"Key: column_1\n\n| column | type | may be empty | meaning |\n|---|---|---|---|\n{rows}"
    )

    assert len(spec.contracts[0].columns) == 10_000
    assert time.process_time() - start < 20
