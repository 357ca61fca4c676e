"""dbt_utils and dbt_expectations in a project from `dpe init`: what they build is protected, and their tests are rules of dpe."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from psycopg import sql
from support import tools
from support.long_tests import LONG
from support.recipes import Deployment

pytestmark = [pytest.mark.timeout(900), LONG]

TENANT = "materialized='table', meta={'rls': {'tenant_column': 'branch'}}"
MODELS_OF_UTILS = {
    "models/tools/days.sql": """
{{ config(materialized='table', meta={'rls': {'shared': true}}) }}
{{ dbt_utils.date_spine(datepart='day', start_date="cast('2026-01-01' as date)", end_date="cast('2026-02-01' as date)") }}
""",
    "models/tools/orders_by_key.sql": f"""
{{{{ config({TENANT}) }}}}
with orders as (

    {{{{ dbt_utils.union_relations([ref('fct_orders'), ref('int_orders')]) }}}}

),

single as (

    {{{{ dbt_utils.deduplicate('orders', partition_by='order_id', order_by='order_id') }}}}

)

select
    {{{{ dbt_utils.generate_surrogate_key(['branch', 'order_id']) }}}} as order_key,
    {{{{ dbt_utils.star(ref('fct_orders'), except=['amount']) }}}}
from single
""",
    "models/tools/products_of_branches.sql": f"""
{{{{ config({TENANT}) }}}}
{{% set products = dbt_utils.get_column_values(ref('fct_orders'), 'product') %}}
select branch, {{{{ dbt_utils.pivot('product', products, agg='sum', then_value='quantity') }}}}
from {{{{ ref('fct_orders') }}}}
group by branch
""",
    "models/tools/numbers_of_orders.sql": f"""
{{{{ config({TENANT}) }}}}
{{{{ dbt_utils.unpivot(ref('fct_orders'), cast_to='text', exclude=['branch', 'order_id'], remove=['ordered_on', 'product']) }}}}
""",
}
TESTS_OF_UTILS = """
models:
  - name: days
    data_tests:
      - dbt_utils.sequential_values: {arguments: {column_name: date_day, interval: 1, datepart: day}}
  - name: products_of_branches
    data_tests:
      - dbt_utils.not_constant: {arguments: {column_name: branch}}
  - name: orders_by_key
    data_tests:
      - dbt_utils.equal_rowcount: {arguments: {compare_model: ref('fct_orders')}}
      - dbt_utils.equality: {arguments: {compare_model: ref('fct_orders'), compare_columns: [order_id, branch, quantity]}}
      - dbt_utils.fewer_rows_than: {arguments: {compare_model: ref('days')}}
      - dbt_utils.unique_combination_of_columns:
          arguments: {combination_of_columns: [branch, order_id]}
          config: {meta: {rule: SHOP-1-02, dimension: uniqueness, owner: sales, because: branches number their orders}}
      - dbt_utils.expression_is_true:
          name: orders_are_small
          arguments: {expression: "quantity < 3"}
          config: {severity: warn, meta: {rule: SHOP-1-03, dimension: validity, owner: sales, because: large ones are a wholesaler's}}
      - dbt_utils.recency: {arguments: {datepart: day, field: ordered_on, interval: 10000}}
    columns:
      - name: order_key
        data_tests:
          - dbt_utils.not_empty_string
          - dbt_utils.not_null_proportion: {arguments: {at_least: 0.95}}
          - dbt_utils.at_least_one
          - dbt_utils.cardinality_equality: {arguments: {field: order_key, to: ref('orders_by_key')}}
      - name: order_id
        data_tests:
          - dbt_utils.relationships_where: {arguments: {to: ref('fct_orders'), field: order_id, from_condition: quantity > 0}}
          - dbt_utils.accepted_range: {arguments: {min_value: 1}}
"""
RULES_OF_UTILS = "| SHOP-1-02 | An order's number is used once in its branch. |\n| SHOP-1-03 | An order is small. |\n"


@pytest.fixture
def shop(deployment: Deployment) -> Deployment:
    """Give the project; its time zone is for dbt_date, which dbt_expectations uses."""
    with (deployment.directory / "dbt_project.yml").open("a", encoding="utf-8") as file:
        file.write('\nvars:\n  "dbt_date:time_zone": UTC\n')
    return deployment


def add_rules(deployment: Deployment, rules: str) -> None:
    """Write rules into the project's spec."""
    last = "| SHOP-1-01 | The amount of an order is greater than 0. |\n"
    tools.change(deployment, "specs/SHOP-1-orders-spec.md", last, last + rules)


def rules(deployment: Deployment) -> dict[str, tuple[str, int]]:
    """Return the status of each rule, and its number of failing rows."""
    return {rule["rule_id"]: (rule["status"], rule["failures"]) for rule in json.loads(tools.dpe(deployment, "rules --output json"))}


@tools.needs_packages("dbt_utils")
def test_models_and_rules_of_dbt_utils(shop: Deployment, reader: Callable[..., str]) -> None:
    """Macros that ask the database see the shadow schemas; a branch reads its own rows; a rule keeps the rows that break it."""
    tools.install(shop, "dbt_utils")
    tools.write(shop, MODELS_OF_UTILS | {"models/tools/_tools.yml": TESTS_OF_UTILS})
    add_rules(shop, RULES_OF_UTILS)

    assert tools.dpe(shop, "run --no-docs").endswith("DPE SUCCESS\n")

    assert {"SHOP-1-01": ("pass", 0), "SHOP-1-02": ("pass", 0), "SHOP-1-03": ("warn", 3)} == rules(shop)
    assert "dbt_utils.expression_is_true on orders_by_key" in tools.dpe(shop, "rules show SHOP-1-03")
    assert tools.dpe(shop, "validate").endswith("DPE SUCCESS\n")
    with shop.server.connect(reader(shop.server, "north")) as connection:
        for model in ("orders_by_key", "products_of_branches", "numbers_of_orders"):
            seen = connection.execute(sql.SQL("select distinct branch from {}").format(sql.Identifier("shop", model))).fetchall()
            assert [("north",)] == seen, model
        assert (31,) == connection.execute("select count(*) from shop.days").fetchone()


@tools.needs_packages("dbt_utils")
def test_a_rule_of_dbt_utils_that_fails_publishes_nothing(shop: Deployment) -> None:
    """As any other one."""
    tools.install(shop, "dbt_utils")
    tools.write(shop, MODELS_OF_UTILS | {"models/tools/_tools.yml": TESTS_OF_UTILS.replace("severity: warn, ", "")})
    add_rules(shop, RULES_OF_UTILS)

    assert "- rule SHOP-1-03 failed: orders_are_small (3 failing)" in tools.dpe(shop, "run --no-docs", status=1)

    assert [] == shop.orders()


# Of the table, of columns, and of columns together; some return rows that fail, some one row for the whole table.
TESTS_OF_EXPECTATIONS = """
models:
  - name: int_orders
    data_tests:
      - dbt_expectations.expect_table_row_count_to_be_between: {arguments: {min_value: 1, max_value: 10}}
      - dbt_expectations.expect_table_row_count_to_equal_other_table: {arguments: {compare_model: ref('fct_orders')}}
      - dbt_expectations.expect_table_columns_to_contain_set: {arguments: {column_list: [order_id, branch]}}
      - dbt_expectations.expect_compound_columns_to_be_unique: {arguments: {column_list: [order_id, branch]}}
      - dbt_expectations.expression_is_true: {arguments: {expression: amount = quantity * unit_price}}
    columns:
      - name: order_id
        data_tests:
          - dbt_expectations.expect_column_values_to_be_unique
          - dbt_expectations.expect_column_values_to_not_be_null
          - dbt_expectations.expect_column_values_to_be_of_type: {arguments: {column_type: integer}}
          - dbt_expectations.expect_column_values_to_be_increasing: {arguments: {sort_column: order_id}}
      - name: branch
        data_tests:
          - dbt_expectations.expect_column_values_to_be_in_set: {arguments: {value_set: [north, south]}}
          - dbt_expectations.expect_column_value_lengths_to_equal: {arguments: {value: 5}}
          - dbt_expectations.expect_column_values_to_match_regex: {arguments: {regex: "^[a-z]+$"}}
          - dbt_expectations.expect_column_distinct_count_to_equal: {arguments: {value: 2}}
      - name: ordered_on
        data_tests:
          - dbt_expectations.expect_row_values_to_have_recent_data: {arguments: {datepart: day, interval: 10000}}
      - name: quantity
        data_tests:
          - dbt_expectations.expect_column_mean_to_be_between:
              name: orders_are_small_on_average
              arguments: {min_value: 1, max_value: 2}
              config: {severity: warn, meta: {rule: SHOP-1-02, dimension: accuracy, owner: sales, because: branches are small}}
          - dbt_expectations.expect_column_quantile_values_to_be_between: {arguments: {quantile: 0.5, min_value: 1, max_value: 10}}
          - dbt_expectations.expect_column_values_to_be_between:
              name: orders_are_small
              arguments: {min_value: 1, max_value: 2}
              config: {severity: warn, meta: {rule: SHOP-1-03, dimension: validity, owner: sales, because: branches are small}}
"""


@tools.needs_packages("dbt_expectations", "dbt_date")
def test_rules_of_dbt_expectations(shop: Deployment) -> None:
    """A rule counts the rows that break it; one about the whole table fails with one row."""
    tools.install(shop, "dbt_date", "dbt_expectations")
    tools.write(shop, {"models/intermediate/_expectations.yml": TESTS_OF_EXPECTATIONS})
    (shop.directory / "models/intermediate/_intermediate__models.yml").unlink()
    add_rules(shop, "| SHOP-1-02 | Orders are small on average. |\n| SHOP-1-03 | An order is small. |\n")

    ran = tools.dpe(shop, "run --no-docs")

    assert ran.endswith("DPE SUCCESS\n")
    assert [1, 2, 3, 4, 5, 6] == shop.orders()
    assert {"SHOP-1-01": ("pass", 0), "SHOP-1-02": ("warn", 1), "SHOP-1-03": ("warn", 3)} == rules(shop)
    assert "dbt_expectations.expect_column_values_to_be_between" in tools.dpe(shop, "rules show SHOP-1-03")
    assert tools.dpe(shop, "validate").endswith("DPE SUCCESS\n")
