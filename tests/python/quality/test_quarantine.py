"""Rows that break a rule are not published but quarantined, with the rule's id, and return once they are corrected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql
from support.long_tests import LONG
from support.shop import Shop

from dpe_cli.errors import ServerError
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.publishing import publication, publisher
from dpe_cli.quality import quarantine
from dpe_cli.quality.rules import find_all as rules_of
from dpe_cli.server.contexts import system_context, tenant_context

QUARANTINE = "on_failure: quarantine, quarantine: {max_ratio: 0.9}"
NOTHING = "on_failure: null"
MODELS = """
    models:
      - name: fct_orders
        config: {meta: {rls: {tenant_column: shop}}}
        columns:
          - name: order_id
            data_type: integer
            data_tests:
              - unique:
                  name: orders_are_unique
                  config: {meta: {rule: SHOP-1-01, dimension: uniqueness, owner: sales, because: an order is paid once, %(unique)s}}
          - name: shop
            data_type: text
            data_tests:
              - relationships:
                  name: shops_are_known
                  arguments: {to: ref('dim_shops'), field: shop}
                  config: {meta: {rule: SHOP-1-03, dimension: consistency, owner: sales, because: somebody has to be paid, %(shops)s}}
          # A word of dbt's test `unique`, which counts.
          - {name: n_records, data_type: integer}
          - name: amount
            data_type: integer
            data_tests:
              - dpe.accepted_range:
                  name: orders_are_paid
                  arguments: {min_value: 1}
                  config: {meta: {rule: SHOP-1-04, dimension: validity, owner: sales, because: nothing is free, %(amounts)s}}
      - name: dim_shops
        config: {meta: {rls: {shared: true}}}
        columns: [{name: shop, data_type: text}, {name: name, data_type: text}]
    """


def _models(**limits: str) -> dict[str, str]:
    return {
        "models/finance/_finance__models.yml": MODELS % ({"unique": QUARANTINE, "shops": QUARANTINE, "amounts": QUARANTINE} | limits),
        "models/finance/fct_orders.sql": """
            -- depends_on: {{ ref('dim_shops') }}
            select order_id, shop, 1 as n_records, amount from {{ ref('stg_shop__orders') }}
            """,
        "specs/SHOP-1-orders-spec.md": SPEC,
    }


SPEC = """
    ---
    ticket: SHOP-1
    title: Orders
    owner: sales
    sources: [shop.orders, shop.shops]
    models: [fct_orders, dim_shops]
    ---

    | rule | definition |
    |---|---|
    | SHOP-1-01 | An order is there once. |
    | SHOP-1-02 | An order is not cheap. |
    | SHOP-1-03 | A shop is known. |
    | SHOP-1-04 | An order is paid. |
    """

# Order 2 was already delivered on Monday, XX is not a shop, and order 6 costs nothing.
BAD_DAY = {"data/orders/wednesday.csv": "order_id,shop,amount\n2,UA,20\n4,HA,40\n5,XX,50\n6,XX,-1\n"}


def _run(shop: Shop) -> RunSummary:
    return shop.run()


def _rows(shop: Shop, query: str) -> list[Any]:
    with shop.server.connect("transformer") as connection, system_context(connection, actor="test"):
        return connection.execute(query.encode()).fetchall()


def test_rows_that_break_rules_are_kept_out(shop: Shop) -> None:
    """With the ids of all the rules that they break; the others pass their tests and are published."""
    shop.write(_models() | BAD_DAY)

    summary = _run(shop)

    assert summary.build.not_published is None
    assert [("SHOP-1-01", 2), ("SHOP-1-03", 2), ("SHOP-1-04", 1)] == [(count.rule, count.rows) for count in summary.build.quarantined]
    assert [(1,), (3,), (4,)] == _rows(shop, "select order_id from finance.fct_orders order by 1")
    assert [(2, "UA", ["SHOP-1-01"]), (2, "UA", ["SHOP-1-01"]), (5, "XX", ["SHOP-1-03"]), (6, "XX", ["SHOP-1-03", "SHOP-1-04"])] == _rows(
        shop, "select order_id, shop, _rules from finance.fct_orders__quarantine order by 1"
    )
    rules = rules_of(shop.project.manifest, [])
    assert [2, None, 2, 1] == [quarantine.kept_out(shop.server, shop.project.manifest, rule) for rule in rules]


def test_what_replaced_a_quarantine_is_not_counted(shop: Shop, reader: Callable[..., str]) -> None:
    """A login that may create in the schema gave a table of its own the name of a quarantine, and a policy that runs its code."""
    shop.write(_models())
    stranger = sql.Identifier(reader(shop.server))
    with shop.server.connect("admin") as connection:
        connection.execute(
            sql.SQL(
                "grant create, usage on schema finance to {stranger};"
                " create sequence public.ran; grant all on public.ran to public; grant usage on schema public to public;"
                " set local role {stranger}; create table finance.fct_orders__quarantine (_rules text[]);"
                " grant select on finance.fct_orders__quarantine to dpe_transformer;"
                " alter table finance.fct_orders__quarantine enable row level security;"
                " create policy spying on finance.fct_orders__quarantine using (nextval('public.ran') > 0);"
                " insert into finance.fct_orders__quarantine values ('{{SHOP-1-01}}')"
            ).format(stranger=stranger)
        )

    with pytest.raises(ServerError, match="finance.fct_orders__quarantine: the quarantined rows cannot be counted .*the policy spying on"):
        quarantine.kept_out(shop.server, shop.project.manifest, rules_of(shop.project.manifest, [])[0])
    with shop.server.connect("admin") as connection:
        assert (False,) == connection.execute("select is_called from public.ran").fetchone()


def test_a_corrected_row_returns_automatically(shop: Shop) -> None:
    """With the next run, without having to be released."""
    shop.write(_models() | BAD_DAY)
    _run(shop)
    shop.write({"data/shops.csv": "shop,name\nHA,Hats\nUA,Umbrellas\nXX,Unknown no more\n"})

    _run(shop)

    assert [(1,), (3,), (4,), (5,)] == _rows(shop, "select order_id from finance.fct_orders order by 1")
    assert [(2,), (2,), (6,)] == _rows(shop, "select order_id from finance.fct_orders__quarantine order by 1")


def test_a_quarantine_has_the_policies_of_its_model(shop: Shop) -> None:
    """Each tenant sees its own rows there."""
    shop.write(_models() | BAD_DAY)
    _run(shop)

    with shop.server.connect("transformer") as connection, tenant_context(connection, "UA"):
        assert [(2,), (2,)] == connection.execute("select order_id from finance.fct_orders__quarantine").fetchall()
    with shop.server.connect("transformer") as connection:
        assert [] == connection.execute("select order_id from finance.fct_orders__quarantine").fetchall()


def test_without_failing_rows_the_quarantine_is_empty(shop: Shop) -> None:
    """But it exists, so that queries of it work."""
    shop.write(_models())
    _run(shop)

    assert [(0,)] == _rows(shop, "select count(*) from finance.fct_orders__quarantine")
    assert [(3,)] == _rows(shop, "select count(*) from finance.fct_orders")


def test_a_quarantine_is_removed_with_its_rules(shop: Shop) -> None:
    """Otherwise it would show forever what the last run with a rule kept out; undoing the publication restores it."""
    shop.write(_models())
    _run(shop)
    shop.write(_models(unique=NOTHING, shops=NOTHING, amounts=NOTHING))

    assert _run(shop).build.not_published is None
    assert [("finance__previous",)] == _quarantines(shop)

    with publisher.connected(shop.server) as connection:
        publication.undo(connection, shop.project.published_schemas)
    assert [("finance",)] == _quarantines(shop)


def test_a_quarantine_is_removed_with_its_rules_in_plain_dbt(shop: Shop) -> None:
    """Which builds in place; another role's table with such a name stays."""
    shop.write(_models())
    _run(shop)
    shop.write(_models(unique=NOTHING, shops=NOTHING, amounts=NOTHING))
    with shop.server.connect("admin") as connection:
        connection.execute(
            "create table finance.dim_shops__quarantine as select 1 as one; grant select on finance.dim_shops__quarantine to public"
        )

    run_dbt(shop.project, shop.server, ["run"])

    assert [] == _quarantines(shop)
    assert [(1,)] == _rows(shop, "select count(*) from finance.dim_shops__quarantine")


def _quarantines(shop: Shop) -> list[Any]:
    return _rows(shop, "select schemaname from pg_tables where tablename = 'fct_orders__quarantine'")


@pytest.mark.parametrize("limit", ["{max_rows: 1}", *(pytest.param(limit, marks=LONG) for limit in ("{max_ratio: 0.2}", "null"))])
def test_more_than_the_limit_is_not_published(shop: Shop, limit: str) -> None:
    """Then the delivery is bad, not only some rows."""
    shop.write(_models(shops=f"on_failure: quarantine, quarantine: {limit}") | BAD_DAY)

    summary = _run(shop)

    [failed] = [result for result in summary.build.results if result.has_failed]
    assert "rule SHOP-1-03: 2 of 7 rows break it, more than its quarantine allows" in failed.message
    assert "model fct_orders failed" in str(summary.build.not_published)
    with pytest.raises(psycopg.errors.UndefinedTable):
        _rows(shop, "select from finance.fct_orders__quarantine")


def test_only_tables_have_a_quarantine(shop: Shop) -> None:
    """Otherwise the build fails with a message."""
    shop.write(
        _models()
        | {
            "models/finance/fct_orders.sql": """
        {{ config(materialized='view', contract={'enforced': false}) }}
        select order_id, shop, amount from {{ ref('stg_shop__orders') }}
        """
        }
    )

    [failed] = [result for result in _run(shop).build.results if result.has_failed]

    assert "fct_orders (models/finance/fct_orders.sql): only a table can have rows in quarantine" in failed.message


def test_a_rule_that_reads_another_model_needs_it_first(shop: Shop) -> None:
    """A test's ref makes dbt build it before the test, not before the model."""
    shop.write(
        _models() | {"models/finance/fct_orders.sql": "select order_id, shop, 1 as n_records, amount from {{ ref('stg_shop__orders') }}"}
    )

    [failed] = [result for result in _run(shop).build.results if result.has_failed]

    assert "reads dim_shops, which may be built after it; add the line `-- depends_on: {{ ref('dim_shops') }}`" in failed.message


def test_a_misspelt_on_failure_is_refused(shop: Shop) -> None:
    """Otherwise it would quarantine nothing."""
    shop.write(_models(shops="on_failure: quarantin"))

    [failed] = [result for result in _run(shop).build.results if result.has_failed]

    assert "on_failure is quarantin; write quarantine, or omit it" in failed.message
