"""The documentation matches the program: its generated pages, examples, links and promises."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import generate
import jsonschema
import pytest
import yaml

from dpe_cli.blocks.contract import Column
from dpe_cli.server.server import Server
from dpe_cli.sources.options import schema
from dpe_cli.sources.options.formats import FORMATS
from dpe_cli.sources.options.parse import SourceDeclaration, from_dict, option_names, parse

REPOSITORY = Path(__file__).parents[3]
GUIDES = REPOSITORY / "docs" / "guides"
TESTS = REPOSITORY / "tests" / "python"


@pytest.mark.parametrize("name", generate.PAGES)
def test_the_reference_says_what_the_program_says_of_itself(name: str) -> None:
    """`make reference` writes each page from its source."""
    assert generate.PAGES[name]() == (generate.REFERENCE / name).read_text(encoding="utf-8")


def test_each_kind_of_question_about_a_spec_has_a_page() -> None:
    """With an example, why it matters, and how to mend it; no page is left from a kind that no longer exists."""
    directory = generate.REFERENCE / generate.FINDINGS
    pages = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.md")}

    assert generate.spec_findings() == pages
    assert all("\n## Example\n" in text and "\n## How to fix it\n" in text for name, text in pages.items() if name != "README.md")


def test_the_tables_of_the_ledger_are_described(module_server: Server) -> None:
    """From the comments in the database."""
    with module_server.connect("admin") as connection:
        page = generate.ledger_tables(connection)

    assert page == (generate.REFERENCE / generate.LEDGER_PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize("option", option_names())
def test_every_option_of_a_csv_source_is_explained(option: str) -> None:
    """docs/guides/sources/csv.md has a row for each option of the external block; that of a place has a page of its own."""
    pages = ("csv.md", "places.md")
    assert any(f"`{option}" in (GUIDES / "sources" / page).read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_complete_example(name: str) -> None:
    """Its page shows a source that dpe can read unchanged."""
    kind = FORMATS[name]
    text = (REPOSITORY / kind.documentation).read_text(encoding="utf-8")
    assert "file_format: " + name in text
    for example in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        for table in yaml.safe_load(example)["sources"][0]["tables"]:
            metas = {column["name"]: column.get("config", {}).get("meta", {}) for column in table["columns"]}
            columns = [Column(column["name"], column["data_type"], **metas[column["name"]]) for column in table["columns"]]
            parsed = parse(table["external"], columns, declaration=SourceDeclaration(table["name"], kind.documentation))
            # As it is stored with the manifest.
            assert parsed == from_dict(json.loads(json.dumps(asdict(parsed))))
            assert all(column["description"] for column in [table, *table["columns"]])


def test_the_schema_accepts_what_dpe_accepts() -> None:
    """Editors complete and check the block with it: the examples pass, and a misspelt option is marked."""
    validator = jsonschema.Draft7Validator(schema.editors_schema())
    for page in sorted((GUIDES / "sources").glob("*.md")):
        for example in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            assert [] == [error.message for error in validator.iter_errors(yaml.safe_load(example))]
    for path in (REPOSITORY / "models").rglob("*sources.yml"):
        assert [] == [error.message for error in validator.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))]

    wrong = {"location": "a.csv", "file_format": "csv", "disposition": "append", "delimeter": ";"}
    faults = list(validator.iter_errors({"sources": [{"tables": [{"external": wrong}]}]}))
    assert ["sources.0.tables.0.external"] == [".".join(map(str, fault.path)) for fault in faults]
    assert "delimeter" in faults[0].message


@pytest.mark.parametrize("page", sorted(REPOSITORY.glob("*.md")) + sorted((REPOSITORY / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file."""
    # Code is not a link, though a regular expression may look like one.
    text = re.sub(r"`[^`\n]+`", "", page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [] == [target for target in targets if not (page.parent / target).exists()]


def test_the_index_lists_every_page() -> None:
    """docs/README.md leads to each page, and to the folder of decisions; the kinds of question about specs have an index of their own."""
    docs = REPOSITORY / "docs"
    index = (docs / "README.md").read_text(encoding="utf-8")
    pages = [str(page.relative_to(docs)) for page in docs.rglob("*.md") if "decisions" not in page.parts]

    findings = f"reference/{generate.FINDINGS}/"
    assert [] == [page for page in pages if page != "README.md" and not page.startswith(findings + "SPEC") and f"]({page})" not in index]
    of_findings = (docs / findings / "README.md").read_text(encoding="utf-8")
    assert [] == [page for page in pages if page.startswith(findings + "SPEC") and f"]({page.removeprefix(findings)})" not in of_findings]


def test_each_promise_names_a_test() -> None:
    """The security model says which test holds a promise: it is there."""
    text = (REPOSITORY / "docs" / "background" / "security-model.md").read_text(encoding="utf-8")
    promises = [line for line in text.splitlines() if line.startswith("| ") and line.endswith("` |")]
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", text)

    assert len(promises) > 30
    assert len(named) >= len(promises)
    assert [] == [f"{file}::{name}" for file, name in named if f"\ndef {name}(" not in (TESTS / file).read_text(encoding="utf-8")]


def test_the_figures_of_the_readme_were_measured() -> None:
    """Each stands in docs/background/benchmarks.md, too."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8").partition("## What sets dpe apart")[2].partition("\n## ")[0]
    measured = (REPOSITORY / "docs/background/benchmarks.md").read_text(encoding="utf-8")
    figures = re.findall(r"\d+\.\d+|\d+(?= MB)", readme)

    assert len(figures) >= 8
    assert [] == [figure for figure in figures if not re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.]*\d)", measured)]
