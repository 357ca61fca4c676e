"""What dpe asks about a spec that is clear but for one place."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.long_tests import LONG

from dpe_cli.specs import escalation, gate, source_data
from dpe_cli.specs.findings import SpecFinding
from dpe_cli.specs.reading.read import read
from dpe_cli.specs.requirement import SourceEntry
from dpe_cli.specs.text import Text

CLEAR = """\
---
ticket: SHOP-1
title: Orders
status: approved
owner: sales operations
requested_by: head of sales
approved_by: head of sales
pattern: file-full-refresh
sources: [shop.orders]
models: [fct_orders]
tenant: shop
---
# SHOP-1: Orders

## Purpose

Each shop wants to know every morning what it sold.

## Sources

| source | what | location | format | delivered | how it is loaded |
|---|---|---|---|---|---|
| shop.orders | orders of the shops | data/orders.csv | csv | daily | the newest delivery only |

### Columns of shop.orders

Key: order_id

| column | type | may be empty | meaning |
|---|---|---|---|
| order_id | integer | no | number of the order |
| shop | text | no | who sold it |
| amount | numeric | yes | total, in EUR |

## Transformations

1. Orders whose `amount` is empty are left out.

### Published columns

| table | column | from |
|---|---|---|
| fct_orders | order_id, shop, amount | shop.orders as delivered |

## Who may see what

| table | one row | who sees it |
|---|---|---|
| fct_orders | an order | each shop its own (by shop) |

## Rules

| rule | dimension | definition | severity | owner | because |
|---|---|---|---|---|---|
| SHOP-1-01 | uniqueness | Every `order_id` of fct_orders occurs once. | error | sales operations | orders would be counted twice |

## Acceptance

| what | count | reported by |
|---|---|---|
| orders delivered | 3 | |
"""
ORDERS = "order_id,shop,amount\n1,Bern,10.50\n2,Bern,\n3,Basel,7.00\n"

Check = Callable[..., list[SpecFinding]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Check the clear spec after a change, against three orders."""

    def _check(before: str = "", after: str = "", orders: str = ORDERS) -> list[SpecFinding]:
        assert before in CLEAR
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / "orders.csv").write_text(orders, encoding="utf-8")
        path = tmp_path / "SHOP-1-orders-spec.md"
        path.write_text(CLEAR.replace(before, after, 1) if before else CLEAR, encoding="utf-8")
        return list(gate.check(read(path), tmp_path, {}).findings)

    return _check


def test_the_spec_is_clear(check: Check) -> None:
    """Otherwise the others would show nothing."""
    assert [] == check()


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("field_missing", "owner: sales operations\n", ""),
        ("purpose_missing", "Each shop wants to know every morning what it sold.\n", ""),
        ("cell_surplus", "| 3 | |", "| 3 | | by file | "),
        ("acceptance_missing", "| orders delivered | 3 | |\n", ""),
        ("pattern_unfit", "data/orders.csv | csv", "https://shop.example/orders | api"),
        ("source_unlisted", "sources: [shop.orders]", "sources: []"),
        ("key_missing", "Key: order_id\n", ""),
        ("key_missing", "Key: order_id\n", "Key: order_no\n"),
        ("type_missing", "| shop | text |", "| shop | |"),
        ("blank_refuted", "| numeric | yes |", "| numeric | no |"),
        ("tenant_unknown", "tenant: shop", "tenant: region"),
        ("columns_missing", "| fct_orders | order_id, shop, amount | shop.orders as delivered |\n", ""),
        ("dimension_missing", "uniqueness", "goodness"),
    ],
)
def test_a_spec_that_is_unclear_in_one_place(check: Check, kind: str, before: str, after: str) -> None:
    """Is asked about it; a place may raise a second question, for example about the owner of what has no source."""
    found = check(before, after)

    assert kind in [finding.kind.name for finding in found]


def test_a_phrase_may_be_broken_at_the_end_of_a_line(check: Check) -> None:
    """Editors break lines."""
    found = check("are left out.", "are left out, as\n   needed.")

    assert [("vague_words", "'as needed' leaves open")] == [(finding.kind.name, finding.what[:23]) for finding in found]


def test_an_example_does_not_end_a_sentence(check: Check) -> None:
    """What follows `e.g.` belongs to the sentence that is quoted."""
    [found] = check("are left out.", "are left out, e.g. Those of Bern etc.")

    assert "e.g. Those of Bern" in found.what


def test_a_source_that_only_the_project_locates_is_asked_for_without_a_place(check: Check, tmp_path: Path) -> None:
    """The question once said that it should be at nothing."""
    check("data/orders.csv", "as declared")
    declared = SourceEntry(Text("shop.orders", 1), location=Text("data/missing.csv", 1))

    verdict = gate.check(read(tmp_path / "SHOP-1-orders-spec.md"), tmp_path, {"shop.orders": lambda: source_data.read(declared, tmp_path)})

    [found] = [finding for finding in verdict.findings if finding.kind.name == "source_not_readable"]
    assert found.question.startswith("shop.orders cannot be read where the project declares it (")


def test_the_first_step_is_not_the_first_record(check: Check) -> None:
    """Sentences begin with `First,`."""
    assert [] == check("Orders whose `amount` is empty are left out.", "First, orders without an amount are left out.")


def test_control_characters_are_not_sent(check: Check, tmp_path: Path) -> None:
    """A spec may contain them, and the report is read in a terminal, too."""
    check("| who sold it |", "| who sold it \x1b[31m etc. |")
    verdict = gate.check(read(tmp_path / "SHOP-1-orders-spec.md"), tmp_path, {})

    report = escalation.document([verdict], directory=tmp_path)

    assert "etc." in report
    assert "\x1b" not in report


@LONG
def test_ten_thousand_transformations_take_seconds(check: Check) -> None:
    """Each is compared with few others only."""
    steps = "".join(f"{number}. `net_{number}` = amount * {number}, and orders of shop {number} are kept.\n" for number in range(2, 10_000))
    start = time.process_time()

    check("are left out.\n", f"are left out.\n{steps}")

    assert time.process_time() - start < 60


def test_records_are_numbered_as_in_their_file(check: Check) -> None:
    """Also after one whose key is empty."""
    found = check(
        "| orders delivered | 3 | |", "| orders delivered | 5 | |", orders=ORDERS.replace("2,Bern,", ",Bern,") + "4,Bern,1\n1,Basel,2\n"
    )

    [repeated] = [finding for finding in found if finding.kind.name == "key_not_unique"]
    assert "1 is in records 1 and 5" in repeated.what


def test_a_limit_of_zero_needs_no_unit(check: Check) -> None:
    """It is the same in each."""
    rule = "Every `order_id` of fct_orders occurs once."

    assert [] == check(rule, "The `amount` of an order in fct_orders is greater than 0.")
    assert ["threshold_unit"] == [finding.kind.name for finding in check(rule, "The `amount` of an order in fct_orders is greater than 5.")]


@pytest.mark.parametrize("place", ["{data}/orders.csv", "`{data}/my orders.csv`"])
def test_a_source_may_be_anywhere(check: Check, tmp_path: Path, place: str) -> None:
    """Its path may be absolute, and have spaces if it is in backticks."""
    check()
    (tmp_path / "data" / "my orders.csv").write_text(ORDERS, encoding="utf-8")

    assert [] == check("| data/orders.csv |", f"| {place.format(data=tmp_path / 'data')} |")


def test_no_password_is_sent(check: Check) -> None:
    """Neither what is wrong nor the question shows it."""
    found = check("| data/orders.csv | csv |", "| postgresql://reader:very-secret@127.0.0.1:1/crm | database |")

    [unreadable] = [finding for finding in found if finding.kind.name == "source_not_readable"]
    assert "very-secret" not in f"{unreadable.what} {unreadable.question}"


def test_an_inner_address_is_not_called(check: Check) -> None:
    """Who writes a spec does not decide what is called in the network of those who check it."""
    found = check("| data/orders.csv |", "| http://127.0.0.1:1/orders.csv |")

    [unreadable] = [finding for finding in found if finding.kind.name == "source_not_readable"]
    assert "allow_private_addresses" in unreadable.what


@pytest.mark.parametrize(
    "answer",
    [
        "The newest version counts, and figures that were already published change.",
        "Orders never arrive late and are never corrected.",
        "Deliveries are final.",
        "An order that is delivered again replaces the earlier one.",
    ],
)
def test_the_question_about_late_records_takes_its_own_words_for_an_answer(check: Check, answer: str) -> None:
    """Also in a sentence that does not repeat it."""
    grows = ("| daily | the newest delivery only |", "| daily | each file once |")
    assert "late_records" in [finding.kind.name for finding in check(*grows)]

    assert "late_records" not in [finding.kind.name for finding in check(grows[0], f"{grows[1]}\n\n{answer}")]


def test_a_step_may_name_what_it_defines(check: Check) -> None:
    """Another one then uses it."""
    steps = "`is_large` is the answer to whether `amount` is more than 100 EUR.\n2. Orders with `is_large` are listed first by `amount`."

    assert [] == check("1. Orders whose `amount` is empty are left out.", f"1. {steps}")


def test_a_key_that_names_a_column_often_names_it_once(check: Check) -> None:
    """It takes no more memory."""
    assert [] == check("Key: order_id", "Key: " + ", ".join(["order_id"] * 5000))


def test_the_question_about_blanks_of_tenants_is_answered_in_the_spec(check: Check) -> None:
    """It says to whom such records belong, or that they are left out."""
    orders, step = ORDERS.replace("3,Basel", "3,"), "1. Orders whose `amount` is empty are left out."
    assert ["tenant_blank"] == [finding.kind.name for finding in check(orders=orders)]

    assert [] == check(step, f"{step}\n2. Orders without a shop were sold at fairs; they are published for no shop.", orders=orders)
