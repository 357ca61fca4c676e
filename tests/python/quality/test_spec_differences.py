"""What tests and models say is held against the spec, from both sides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from dpe_cli.project.model import Model
from dpe_cli.quality import spec_differences
from dpe_cli.quality.coverage import RuleTest
from dpe_cli.specs.spec import read

SPEC = """
    ---
    ticket: SHOP-1
    owner: sales
    sources: [shop.orders]
    models: [fct_orders, dim_shops]
    ---

    ## Who may see what

    | table | one row | who sees it |
    |---|---|---|
    | fct_orders | an order | each shop its own (by `shop`) |
    | dim_shops | a shop | everyone with access |

    ## Rules

    | rule | dimension | definition | severity | owner | because |
    |---|---|---|---|---|---|
    | SHOP-1-01 | uniqueness | An order is there once. | error | sales | it is paid once |
    """
TEST = RuleTest("SHOP-1-01", "orders_are_unique", "test.x", "models/_shop.yml", "uniqueness", "sales", "it is paid once", "error")
ORDERS = Model("model.fct_orders", "fct_orders", "finance", "fct_orders", ("shop",), "tenant_column")
SHOPS = Model("model.dim_shops", "dim_shops", "finance", "dim_shops", (), "shared")


def _faults(tmp_path: Path, tests: list[RuleTest], models: list[Model]) -> list[str]:
    path = tmp_path / "SHOP-1-orders-spec.md"
    path.write_text(dedent(SPEC).lstrip(), encoding="utf-8")
    return spec_differences.different_from_specs(tests, [read(path)], models)


def test_what_agrees_has_no_fault(tmp_path: Path) -> None:
    """Whatever the case of letters; what is not there yet is found elsewhere."""
    assert [] == _faults(tmp_path, [replace(TEST, owner="Sales")], [ORDERS, SHOPS])
    assert [] == _faults(tmp_path, [], [])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (replace(TEST, severity="warn"), "the spec has the severity 'error', and its test orders_are_unique (models/_shop.yml) has 'warn'"),
        (
            replace(TEST, dimension="validity"),
            "the spec has the dimension 'uniqueness', and its test orders_are_unique (models/_shop.yml) has 'validity'",
        ),
        (replace(TEST, owner="finance"), "the spec has the owner 'sales', and its test orders_are_unique (models/_shop.yml) has 'finance'"),
    ],
    ids=["severity", "dimension", "owner"],
)
def test_a_test_that_does_otherwise_is_a_fault(tmp_path: Path, changed: RuleTest, said: str) -> None:
    """With the line of the rule: a test that warns publishes what the spec says is to stop."""
    expected = f"SHOP-1-orders-spec.md, line 19: rule SHOP-1-01: {said}; change the one that is wrong"

    assert [expected] == _faults(tmp_path, [changed], [ORDERS, SHOPS])


def test_a_rule_of_several_tests_is_as_severe_as_one_of_them(tmp_path: Path) -> None:
    """A second test may warn earlier."""
    assert [] == _faults(tmp_path, [replace(TEST, test="orders_are_few", severity="warn"), TEST], [ORDERS, SHOPS])


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            replace(ORDERS, tenant_columns=("region",)),
            "line 12: fct_orders: according to the spec a reader sees its own rows by shop, and the model declares region",
        ),
        (
            replace(ORDERS, tenant_columns=(), declared="shared"),
            "line 12: fct_orders: according to the spec a reader sees its own rows by shop, and the model declares shared",
        ),
        (
            replace(SHOPS, declared="private"),
            "line 13: dim_shops: according to the spec 'everyone with access' see all rows, and the model declares private",
        ),
    ],
    ids=["another column", "all rows", "no reader"],
)
def test_a_model_that_shows_other_rows_is_a_fault(tmp_path: Path, model: Model, said: str) -> None:
    """The spec is what was approved, and the declaration decides who sees a row."""
    assert [f"SHOP-1-orders-spec.md, {said}; change the one that is wrong"] == _faults(tmp_path, [TEST], [model])
