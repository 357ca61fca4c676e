"""A project that builds every kind of relation that dbt knows, with every declaration; for tests of their protection."""

from __future__ import annotations

# Orders of two shops, the tenants: two of UA, one of HA. Built as every kind of relation that dbt knows.
PROJECT = {
    "seeds/orders.csv": """
        order_id,shop,amount
        1,UA,10
        2,UA,20
        3,HA,30
        """,
    "seeds/_seeds.yml": """
        seeds:
          - name: orders
            config:
              schema: finance
              column_types: {shop: text}
              meta: {rls: {tenant_column: shop}}
        """,
    "snapshots/orders_history.yml": """
        snapshots:
          - name: orders_history
            relation: ref('orders')
            config:
              schema: finance
              unique_key: order_id
              strategy: check
              check_cols: all
              meta: {rls: {tenant_column: shop}}
        """,
    "models/raw/stg_orders.sql": "select order_id, shop, amount from {{ ref('orders') }}",
    "models/core/int_orders.sql": "{{ config(materialized='table') }} select * from {{ ref('stg_orders') }}",
    "models/finance/fct_orders.sql": "select order_id, shop, amount from {{ ref('int_orders') }}",
    "models/finance/fct_added_orders.sql": """
        {{ config(materialized='incremental', unique_key='order_id', on_schema_change='fail') }}
        select order_id, shop, amount from {{ ref('int_orders') }}
        {% if is_incremental() %} where order_id > 1 {% endif %}
        """,
    "models/finance/orders_seen.sql": "{{ config(materialized='view') }} select order_id, shop, amount from {{ ref('fct_orders') }}",
    "models/finance/dim_shops.sql": "select distinct shop from {{ ref('int_orders') }}",
    "models/finance/fct_margins.sql": "select order_id, shop, amount from {{ ref('int_orders') }}",
    "models/finance/_finance__models.yml": """
        x-columns: &columns
          - {name: order_id, data_type: integer}
          - {name: shop, data_type: text}
          - {name: amount, data_type: integer}
        models:
          - {name: fct_orders, config: {meta: {rls: {tenant_column: shop}, masked: [amount]}}, columns: *columns}
          - {name: fct_added_orders, config: {meta: {rls: {tenant_column: shop}}}, columns: *columns}
          - {name: orders_seen, config: {meta: {rls: {tenant_column: shop}}}, columns: *columns}
          - {name: dim_shops, config: {meta: {rls: {shared: true}}}, columns: [{name: shop, data_type: text}]}
          - {name: fct_margins, config: {meta: {rls: {private: true}}}, columns: *columns}
        """,
    "tests/singular/large_orders.sql": """
        {{ config(severity='warn', store_failures_as='table') }}
        select * from {{ ref('fct_orders') }} where amount > 15
        """,
    "tests/singular/small_orders.sql": """
        {{ config(severity='warn', store_failures_as='view') }}
        select * from {{ ref('fct_orders') }} where amount < 25
        """,
}

# Each relation that the project builds: its declaration, and its rows.
TENANT_TABLES = ("finance.fct_orders", "finance.fct_added_orders", "finance.orders", "finance.orders_history")
SHARED_TABLES = ("finance.dim_shops",)
PRIVATE_TABLES = ("finance.fct_margins", "core.int_orders", "quality.large_orders")
VIEWS = ("finance.orders_seen", "finance.fct_orders__masked", "raw.stg_orders", "quality.small_orders")
