"""dbt's docs page shows text from authors and databases, and executes none of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest
from conftest import Cluster
from psycopg import sql
from support.browser import needs_browser, visit
from support.dbt_projects import Silence
from support.shop import Shop

from dpe_cli.pipeline import document
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.site.docs_page import filled, without_tags

DBTS_PAGE = resources.files("dbt.task.docs").joinpath("index.html").read_text(encoding="utf-8")
OPENS_A_TAG = re.compile(r"<(?:[A-Za-z/!?]|\Z)")


def _attack(name: str) -> str:
    return f"needle <img src=x onerror=top.executed.push('{name}')>"


def _in_yaml(name: str) -> str:
    return json.dumps(_attack(name))


DESCRIPTION = f"""{{% docs shops %}}
{_attack("description")}

## Grain

One `row` per **shop**, where a < b and `a < b` and `List<String>` and a &lt; b; see [the wiki](https://example.com/wiki),
<https://example.com/bare>, <shop@example.com> and [both](<https://example.com/both>).

| left | right |
|---|---|
| 1<2 | `<br>` |

[1](javascript:top.executed.push(1)) [2](JaVaScRiPt&colon;top.executed.push(2)) <javascript:top.executed.push(3)>
[4](java&Tab;script&#58;top.executed.push(4)) [5](data:text/html,<script>top.executed.push(5)</script>)
<a href="javascript:top.executed.push(6)">6</a> <svg/onload=top.executed.push(7)> <https://x/onmouseover=top.executed.push(8)>
{{% enddocs %}}
"""
MODEL = f"""
select shop, name from {{{{ source('shop', 'shops') }}}}
where name <> '<b>' /* {_attack("code")} */
"""
# Names and texts that people write in documentation.
DOCUMENTED = f"""
models:
  - name: fct_orders
    config: {{meta: {{rls: {{tenant_column: shop}}}}}}
    columns: [{{name: order_id, data_type: integer}}, {{name: shop, data_type: text}}, {{name: amount, data_type: integer}}]
  - name: dim_shops
    description: "{{{{ doc('shops') }}}}"
    config: {{meta: {{rls: {{shared: true}}, note: {_in_yaml("meta")}}}, tags: [{_in_yaml("tag")}]}}
    columns:
      - {{name: shop, data_type: text, description: {_in_yaml("column")}}}
      - {{name: name, data_type: text, description: "`a < b`"}}
exposures:
  - name: board
    label: {_in_yaml("label")}
    type: dashboard
    owner: {{name: {_in_yaml("owner")}, email: o@example.com}}
    url: "javascript:top.executed.push('url')"
    description: {_in_yaml("exposure")}
    depends_on: [ref('dim_shops')]
macros:
  - name: generate_schema_name
    description: {_in_yaml("macro")}
    arguments: [{{name: node, type: text, description: {_in_yaml("argument")}}}]
"""
FILES = {
    "models/finance/dim_shops.sql": MODEL,
    "models/finance/_finance__models.yml": DOCUMENTED,
    "models/shops.md": DESCRIPTION,
    "tests/singular/orders_are_not_cheap.sql": "select 1 as shop where false",
}

# Opens pages, follows every link that is not an address, searches, and finally writes what the page must not execute.
SCRIPT = """
    const seen = {}, page = view.document;
    for (const [name, place] of Object.entries({
        overview: "overview", model: "model/model.shops.dim_shops", exposure: "exposure/exposure.shops.board",
        macro: "macro/macro.shops.generate_schema_name", source: "source/source.shops.shop.shops",
    })) {
        view.location.hash = "#!/" + place;
        await wait(1500);
        const addresses = ["http:", "https:", "mailto:", "file:"];
        for (const link of page.querySelectorAll("a[href]")) if (!addresses.includes(link.protocol)) link.click();
        await wait(200);
        seen[name] = page.body.innerText;
        if (name == "model") seen.markdown = page.querySelector(".model-markdown").innerHTML;
    }
    const field = page.getElementById("search");
    field.value = "needle";
    for (const event of ["input", "change"]) field.dispatchEvent(new Event(event, {bubbles: true}));
    await wait(2000);
    seen.results = page.querySelector(".results").innerText;
    seen.images = page.querySelectorAll("img[src=x]").length;
    seen.executed = [...executed];
    seen.blocked = [...blocked];
    const written = page.body.appendChild(page.createElement("div"));
    written.innerHTML = "<img src=x onerror=top.executed.push('written')><a href='javascript:top.executed.push(`followed`)'>a</a>";
    written.querySelector("a").click();
    await wait(1000);
    return {...seen, executed_at_last: executed, blocked_at_last: blocked};
"""


@pytest.fixture(scope="module")
def seen(cluster_18: Cluster, first_run: tuple[Shop, RunSummary], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Build the site of a project in which every text attacks the page, and open it in a browser."""
    original, _ = first_run
    directory = tmp_path_factory.mktemp("docs")
    shutil.copytree(original.directory, directory / "shop", symlinks=True)
    with replace(cluster_18, template=original.server).new_database() as server:
        shop = replace(original, directory=directory / "shop", server=server)
        shop.write(FILES)
        with server.connect("admin") as connection:
            # Like a model that turns each delivered value into a column.
            connection.execute(sql.SQL("alter table finance.dim_shops add {} text").format(sql.Identifier(_attack("catalog"))))
        answer = visit(document.build(shop.project, server, Silence()), SCRIPT, directory)
    assert isinstance(answer, dict), answer
    # The characters that are inserted into texts have no width.
    return {name: value.replace("\u2060", "").replace("\ufeff", "") if isinstance(value, str) else value for name, value in answer.items()}


@needs_browser
def test_a_search_shows_what_was_written_and_executes_none_of_it(seen: dict[str, Any]) -> None:
    """Descriptions, labels, tags, code, and column names that only the database knows."""
    assert ([], [], 0) == (seen["executed"], seen["blocked"], seen["images"])
    shown = {name for name in ("description", "exposure", "macro", "label", "tag", "catalog") if _attack(name) in seen["results"]}
    assert {"description", "exposure", "macro", "label", "tag", "catalog"} == shown
    assert "where name <> '<b>' /* needle <img src=x" in seen["results"]


@needs_browser
def test_pages_show_what_was_written(seen: dict[str, Any]) -> None:
    """For a model, an exposure and a macro."""
    places = {
        "model": ("description", "column", "tag", "meta", "catalog", "code"),
        "exposure": ("label", "owner", "exposure"),
        "macro": ("macro", "argument"),
    }

    assert [] == [(place, name) for place, names in places.items() for name in names if _attack(name) not in seen[place]]


@needs_browser
def test_markdown_is_still_rendered(seen: dict[str, Any]) -> None:
    """Headings, tables, code and links; `<` is shown as written, also in code. Links to scripts are removed."""
    markdown = seen["markdown"]

    assert '<h2 id="grain">Grain</h2>' in markdown
    assert "<strong>shop</strong>, where a &lt; b and " in markdown
    for code in ("a &lt; b", "List&lt;String&gt;", "&lt;br&gt;"):
        assert f"<code>{code}</code>" in markdown
    assert "and a &lt; b; see" in markdown
    assert re.search(r"<td>1&lt;2</td>", markdown)
    addresses = re.findall(r'href="([^"]*)"', markdown.replace('href="javascript:top.executed.push(6)"&gt;', ""))
    assert ["https://example.com/wiki", "https://example.com/bare", "mailto:shop@example.com", "https://example.com/both"] == addresses[:4]
    assert ["https://x/onmouseover=top.executed.push(8)"] == addresses[4:]
    assert "&lt;<a " in markdown


@needs_browser
def test_the_pages_policy_stops_any_script_but_its_own(seen: dict[str, Any]) -> None:
    """If there were HTML on the page, or a link to a script, neither would be executed."""
    assert [] == seen["executed_at_last"]
    assert ["script-src-attr", "script-src-elem"] == sorted(seen["blocked_at_last"])


def _data(page: str, part: str) -> Any:
    """Return the manifest or the catalog in a page, as a browser reads it."""
    found = re.search(rf"\b{part}:(?=\{{)", page)
    assert found is not None
    return json.JSONDecoder().raw_decode(page, found.end())[0]


def _texts(data: object) -> Iterator[str]:
    match data:
        case str():
            yield data
        case dict():
            for name, value in data.items():
                yield from (name, *_texts(value))
        case list():
            for value in data:
                yield from _texts(value)


def test_no_text_in_the_page_can_open_a_tag() -> None:
    """Wherever it is in the data; but code stays unchanged, because users copy it from there."""
    hostile, code = "</script><!-- <img src=x><?x <", "select '<b>' where a <b\n"
    node = {"description": hostile, "tags": [hostile], "columns": {hostile: {"name": hostile}, "raw_code": {"description": hostile}}}
    manifest = {"nodes": {hostile: {**node, "raw_code": code, "compiled_code": code}}, "docs": {"x": {"block_contents": hostile}}}

    page = filled(DBTS_PAGE, manifest, {"nodes": {hostile: {"comment": hostile, "columns": {hostile: {"comment": hostile}}}}})

    texts = [text for part in ("manifest", "catalog") for text in _texts(_data(page, part))]
    assert [code, code] == [text for text in texts if OPENS_A_TAG.search(text)]
    assert DBTS_PAGE.count("</script>") == page.count("</script>")


def test_code_is_text_like_any_other_where_the_page_is_not_known() -> None:
    """If dbt's search showed code differently, `<` in code could still not open a tag."""
    page = DBTS_PAGE.replace("shorten(result.model[", "shortened(result.model[")

    raw_code = _data(filled(page, {"raw_code": "a <b"}, {}), "manifest")["raw_code"]

    assert "a <\u2060b" == raw_code


def test_text_that_looks_like_a_placeholder_is_text() -> None:
    """The manifest and the catalog are inserted into the page, not into each other."""
    place = "CATALOG.JSON INLINE DATA"

    page = filled(DBTS_PAGE, {"description": place}, {"comment": "MANIFEST.JSON INLINE DATA"})

    assert {"description": place} == _data(page, "manifest")
    assert {"comment": "MANIFEST.JSON INLINE DATA"} == _data(page, "catalog")


def test_the_policy_names_the_pages_own_script() -> None:
    """By its content, which includes the data."""
    page = filled(DBTS_PAGE, {"nodes": {}}, {"nodes": {}})

    [script] = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    head = f"<head><meta http-equiv=\"Content-Security-Policy\" content=\"script-src 'sha256-{digest}' 'unsafe-eval'; "
    assert head in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a < b, a<1, a <= b <> c -> d", "a < b, a<1, a <= b <> c -> d"),
        ("<b>x</b>", "<\u2060b>x<\u2060/b>"),
        ("at its end <", "at its end <\u2060"),
        ("<https://example.com/a?b=c>.", "<\u2060https://example.com/a?b=c\ufeff>."),
        ("<me@example.com>", "<\u2060me@example.com\ufeff>"),
        ("[x](<https://example.com>)", "[x](https://example.com)"),
        ("[x]: <https://example.com>\n", "[x]: https://example.com\n"),
        ("one\r\ntwo\x1b\u202e", "one\ntwo\\x1b\\u202e"),
    ],
)
def test_a_text_keeps_its_looks(text: str, shown: str) -> None:
    """What cannot open a tag stays; what could is split by a character without width, as is the end of an address."""
    assert shown == without_tags(text)
