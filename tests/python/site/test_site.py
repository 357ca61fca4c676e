"""The docs site shows rules with their history, where people look for them, but no rows."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgpack
import pytest
from support.browser import dom, needs_browser
from support.dbt_projects import Silence
from support.shop import Shop

from dpe_cli.pipeline import document
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.quality.results import Run
from dpe_cli.site import pages

RUN_AT = datetime(2026, 11, 23, tzinfo=UTC)


def _built(shop: Shop) -> Path:
    return document.build(shop.project, shop.server, Silence())


def _manifest(page: Path) -> dict[str, Any]:
    """Return the manifest in the page, as a browser reads it."""
    text = page.read_text(encoding="utf-8")
    start = text.index("var n={manifest:") + len("var n={manifest:")
    found: dict[str, Any] = json.JSONDecoder().raw_decode(text[start:])[0]
    return found


def _rows(markdown: str) -> list[list[str]]:
    """Return the cells of all table rows."""
    lines = [line for line in markdown.splitlines() if line.startswith("| SHOP-")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def _overview(page: Path) -> str:
    return str(_manifest(page)["docs"]["doc.shops.__overview__"]["block_contents"])


def test_the_first_page_shows_all_rules(shop: Shop) -> None:
    """Each with its last runs: one held, failed, and holds again."""
    orders = "models/finance/fct_orders.sql"
    twice = "select order_id, shop, amount from {{ ref('stg_shop__orders') }} union all select 1, 'UA', 99 union all select 2, 'UA', 99"
    whole = (shop.directory / orders).read_text(encoding="utf-8")
    for written in (twice, whole):
        shop.write({orders: written})
        run_dbt(shop.project, shop.server, ["build"])

    first, second = _rows(_overview(_built(shop)))

    assert ["SHOP-1-01", "An order is there once.", "uniqueness", "error", "sales", "pass", "0", "", "·█·"] == first
    assert ["SHOP-1-02", "An order is not cheap.", "validity", "warn", "sales", "warn", "1"] == second[:7]
    assert "██" == second[8][0] + second[8][-1]


def test_a_relation_shows_its_rules(shop: Shop) -> None:
    """Those that read it, below its description, and no others."""
    nodes = _manifest(_built(shop))["nodes"]

    assert ["SHOP-1-01", "SHOP-1-02"] == [row[0] for row in _rows(nodes["model.shops.fct_orders"]["description"])]
    assert "" == nodes["model.shops.dim_shops"]["description"]


def test_the_projects_own_first_page_stays(shop: Shop) -> None:
    """Above the rules."""
    shop.write({"models/overview.md": "{% docs __overview__ %}\nOrders of shops.\n{% enddocs %}\n"})

    overview = _overview(_built(shop))

    assert overview.startswith("Orders of shops.\n")
    assert 2 == len(_rows(overview))


def test_what_another_tool_parsed_has_no_effect(shop: Shop) -> None:
    """dbt-osmosis leaves a parsed project that does not say whose it is, and dbt continues with it; other tools read the manifest, too."""
    page = _built(shop)
    parsed = page.with_name("partial_parse.msgpack")
    project = msgpack.unpackb(parsed.read_bytes(), strict_map_key=False)
    project["metadata"] |= {"project_name": None, "adapter_type": None}
    parsed.write_bytes(msgpack.packb(project))

    metadata = _manifest(_built(shop))["metadata"]

    assert ("shops", "postgres") == (metadata["project_name"], metadata["adapter_type"])


def test_the_text_of_a_rule_is_not_markup(shop: Shop) -> None:
    """Nor does it end the script that contains the page's data."""
    spec = shop.directory / "specs" / "SHOP-1-orders-spec.md"
    text = spec.read_text(encoding="utf-8")
    spec.write_text(text.replace("An order is not cheap.", "</script><b>a_b</b> \\| *c*"), encoding="utf-8")

    page = _built(shop)

    assert "&lt;/script&gt;&lt;b&gt;a\\_b&lt;/b&gt; \\| \\*c\\*" in _overview(page)


def test_what_ends_a_script_does_not_end_the_pages(shop: Shop) -> None:
    """A description is the project's own Markdown, and may mention HTML."""
    models = shop.directory / "models" / "finance" / "_finance__models.yml"
    models.write_text(models.read_text(encoding="utf-8").replace("- name: dim_shops", "- name: dim_shops\n    description: </script>!"))
    scripts = _built(shop).read_text(encoding="utf-8").count("</script>")

    models.write_text(models.read_text(encoding="utf-8").replace("</script>!", "</p>!"))
    assert scripts == _built(shop).read_text(encoding="utf-8").count("</script>")


def test_the_page_shows_no_row_and_names_no_tenant(shop: Shop) -> None:
    """Readers of the page may not be allowed to see the rows."""
    orders = shop.directory / "models" / "finance" / "fct_orders.sql"
    whole = orders.read_text(encoding="utf-8")
    orders.write_text("select 1 as order_id, 'Unmistakable Ltd'::text as shop, 1 as amount", encoding="utf-8")
    run_dbt(shop.project, shop.server, ["build"])
    orders.write_text(whole, encoding="utf-8")

    page = _built(shop).read_text(encoding="utf-8")

    found = "Unmistakable" in page
    assert not found


def test_the_first_page_shows_who_sees_what(shop: Shop) -> None:
    """For the published relations: a stranger, two tenants, and the role that builds, outside and inside a context."""
    lines = [line for line in _overview(_built(shop)).splitlines() if line.startswith(("| relation", "| finance"))]

    assert [
        "| relation | a stranger | a tenant | pipeline, no context | the transformer |",
        "| finance.dim\\_shops | 2 | 2 | 0 | 2 |",
        "| finance.fct\\_orders | 0 | 2; 1 | 0 | 3 |",
    ] == lines


@needs_browser
def test_a_browser_shows_rules(shop: Shop) -> None:
    """On the page of the model, as a table."""
    page = f"{_built(shop).as_uri()}#!/model/model.shops.fct_orders"

    assert re.search(r"<td>SHOP-1-02</td>\s*<td>An order is not cheap.</td>", dom(page))


@pytest.mark.parametrize(
    ("runs", "drawn"),
    [
        ([], ""),
        ([("pass", 0), ("pass", 0)], "··"),
        ([("warn", 1), ("fail", 800), ("fail", 400), ("pass", 0)], "▁█▄·"),
        ([("error", None), ("pass", 0)], "E·"),
    ],
)
def test_runs_are_drawn_as_characters(runs: list[tuple[str, int | None]], drawn: str) -> None:
    """Even a single failing row is visible."""
    assert drawn == pages.sparkline([Run(RUN_AT, status, failures) for status, failures in runs])
