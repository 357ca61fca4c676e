from __future__ import annotations

import pytest
from support.shop import Shop

from dpe_cli.pipeline import checks
from dpe_cli.quality import freshness
from dpe_cli.quality.freshness import Freshness
from dpe_cli.safe_text import redaction

SOURCES = "models/raw/_shop__sources.yml"
DAYS = "freshness: {warn_after: {count: 2, period: day}, error_after: {count: 4, period: day}}"


def _measured(shop: Shop, declared: str = DAYS) -> list[Freshness]:
    """Measure with this freshness declaration of the source of orders."""
    text = (shop.directory / SOURCES).read_text(encoding="utf-8")
    shop.write(
        {
            SOURCES: text.replace(
                "config: {meta: {rls: {tenant_column: shop}}}", f"config: {{meta: {{rls: {{tenant_column: shop}}}}, {declared}}}"
            )
        }
    )
    project = shop.project
    with shop.server.connect("transformer") as connection:
        return freshness.measure(connection, project.manifest, list(project.sources.values()))


def _age(shop: Shop, days: int) -> None:
    with shop.server.connect("admin") as connection:
        connection.execute("update dpe.extracts set finished_at = now() - make_interval(days => %s) where source = 'shop.orders'", [days])


@pytest.mark.parametrize(("days", "status"), [(0, "pass"), (1, "pass"), (3, "warn"), (5, "error")])
def test_the_ledger_decides_how_fresh_a_source_is(shop: Shop, days: int, status: str) -> None:
    """If the source does not declare a column for it."""
    _age(shop, days)

    (orders,) = _measured(shop)
    assert ("shop.orders", status) == (orders.source, orders.status)


def test_a_source_that_is_too_old_says_what_to_do(shop: Shop) -> None:
    """With its age and the limit."""
    _age(shop, 5)

    assert (
        "shop.orders: was last loaded 5 days ago, more than 4 days; ask its sender, then run `dpe extract source:shop.orders`"
        == _measured(shop)[0].said
    )


def test_a_source_that_declares_nothing_is_not_measured(shop: Shop) -> None:
    """Reference data may have any age."""
    assert [] == _measured(shop, "tags: [orders]")


def test_undone_rows_do_not_count_as_fresh(shop: Shop) -> None:
    """The extract before them counts."""
    with shop.server.connect("admin") as connection:
        connection.execute("update dpe.loads set removed_at = now() where source = 'shop.orders'")

    (orders,) = _measured(shop)
    assert ("error", "shop.orders: was never loaded; run `dpe extract source:shop.orders`") == (orders.status, orders.said)


def test_a_column_may_define_how_fresh_a_source_is(shop: Shop) -> None:
    """Or an expression, as in dbt."""
    (orders,) = _measured(shop, f'{DAYS}, loaded_at_field: "now() - make_interval(days => amount / 10 + 2)"')

    assert "warn" == orders.status


def test_a_filter_restricts_the_rows(shop: Shop) -> None:
    """As in dbt."""
    declared = DAYS.removesuffix("}") + ", filter: order_id = 3}"
    (orders,) = _measured(shop, f'{declared}, loaded_at_field: "now() - make_interval(days => amount / 10 + 2)"')

    assert "error" == orders.status


def test_a_query_may_define_how_fresh_a_source_is(shop: Shop) -> None:
    """It may name the source's relation as dbt does."""
    (orders,) = _measured(shop, f"{DAYS}, loaded_at_query: \"select now() - interval '3 days' from {{{{ this }}}} limit 1\"")

    assert "warn" == orders.status


def test_a_failed_query_shows_no_secret(shop: Shop) -> None:
    """A value that PostgreSQL quotes may be one that a source delivered."""
    redaction.remember("correct horse")
    (orders,) = _measured(shop, f"{DAYS}, loaded_at_query: \"select 'correct+horse'::date\"")

    assert 'invalid input syntax for type date: "***"' in orders.said


def test_a_query_that_writes_is_refused(shop: Shop) -> None:
    """It could be code of another role that the query calls."""
    with shop.server.connect("admin") as connection:
        connection.execute("create sequence public.leak; grant all on public.leak to public; grant usage on schema public to public")

    (orders,) = _measured(shop, f"{DAYS}, loaded_at_query: \"select now() from (select nextval('public.leak')) as leak\"")

    assert "its load time cannot be queried (cannot execute nextval() in a read-only transaction)" in orders.said


def test_a_failed_query_is_reported(shop: Shop) -> None:
    """It does not pass."""
    (orders,) = _measured(shop, f"{DAYS}, loaded_at_field: loaded_on")

    assert 'shop.orders: its load time cannot be queried (column "loaded_on" does not exist); correct its freshness in dbt' == orders.said
    assert "error" == orders.status


def test_old_data_warns_and_too_old_data_fails() -> None:
    """Like severities."""
    check = checks.check_freshness([Freshness("a", "warn", None, None, "a: is old"), Freshness("b", "error", None, None, "b: is older")])

    assert (("b: is older",), ("a: is old",)) == (check.faults, check.warnings)
