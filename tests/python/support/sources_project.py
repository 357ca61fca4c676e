"""A project with sources of several kinds, two models and a rule."""

PROJECT = {
    "models/raw/_shop__sources.yml": """
        sources:
          - name: other
            schema: raw
            tables: [{name: orders, columns: [{name: id}]}]
          - name: shop
            schema: raw
            config: {meta: {spec: DPE-7}}
            tables:
              - name: orders
                identifier: raw_orders
                description: Orders, a file a day.
                external:
                  location: "{{ env_var('SHOP_DATA', 'data') }}/*.csv"
                  file_format: csv
                  disposition: append
                  delimiter: ";"
                  quote: "'"
                  escape: "\\\\"
                  null_string: "NA"
                  header: false
                  encoding: latin-1
                  compression: gz
                  extra_columns: ignore
                  max_record_bytes: 1000
                  rejects: {max_rows: 100, max_ratio: 0.01}
                config: {meta: {rls: {tenant_column: shop}}, tags: [daily]}
                columns:
                  - {name: order_id, data_type: bigint, description: The shop's number.}
                  - {name: shop, data_type: text}
              - name: shops
                external: {location: shops.csv, file_format: csv, disposition: replace}
                columns: [{name: shop, data_type: text}]
          - name: weather
            schema: raw
            tables:
              - name: hours
                external: {location: weather.csv, file_format: csv, disposition: append}
                columns: [{name: hour, data_type: timestamptz}]
        """,
    "models/raw/stg_orders.sql": "select order_id, shop from {{ source('shop', 'orders') }}",
    "models/finance/fct_orders.sql": "select order_id, shop from {{ ref('stg_orders') }}",
    "models/finance/fct_nothing.sql": "select 1 as order_id",
    "models/finance/_finance__models.yml": """
        models:
          - name: fct_orders
            config: {meta: {rls: {tenant_column: shop}}}
            columns:
              - name: order_id
                data_type: bigint
                data_tests:
                  - not_null
                  - unique:
                      name: orders_are_unique
                      config:
                        severity: warn
                        meta: {rule: DPE-7-01, dimension: uniqueness, owner: sales, because: an order is paid once}
              - {name: shop, data_type: text}
          - name: fct_nothing
            config: {meta: {rls: {private: true}}}
            columns: [{name: order_id, data_type: integer}]
        """,
}
