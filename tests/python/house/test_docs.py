"""The documentation describes the present code. Run this file as a script to regenerate docs/commands.md and docs/rls-checks.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
import jsonschema
import pytest
import yaml

from dpe_cli.access import checks, strays
from dpe_cli.blocks.contract import Column
from dpe_cli.cli.main import COMMANDS, cli
from dpe_cli.sources.options import schema
from dpe_cli.sources.options.formats import FORMATS
from dpe_cli.sources.options.parse import Place, from_dict, option_names, parse

REPOSITORY = Path(__file__).parents[3]
PAGE = REPOSITORY / "docs" / "commands.md"
CHECKS_PAGE = REPOSITORY / "docs" / "rls-checks.md"
CHECKS_HEAD = """# Checks of row-level security

Written by `python tests/python/house/test_docs.py` from `dpe_cli/access/sql/checks`. What `dpe rls check` looks for
([row-level security](row-level-security.md)); the meaning of an id never changes. An error makes the exit status 1, and
prevents `dpe run` from publishing and `dpe validate` from succeeding; a warning does not.

| check | severity | what it finds | why that matters |
|---|---|---|---|"""
TESTS = REPOSITORY / "tests" / "python"
OPTIONS_PAGE = REPOSITORY / "docs" / "sources" / "options.md"
OPTIONS_HEAD = """# Options of the external block

Written by `python tests/python/house/test_docs.py` from the classes in `dpe_cli/sources/options/formats.py`. Editors know them too: `dpe schema >
.dpe/external.schema.json`, and a first line `# yaml-language-server: $schema=../../.dpe/external.schema.json` in the file.

In addition, a column may have `meta.path` (JSON, APIs, taps), `meta.start` and `meta.width` (lines of fixed width).
"""
HEAD = """# Commands

Written by `python tests/python/house/test_docs.py` from the help texts; `dpe COMMAND --help` shows the same.

Exit status: 0 success; 1 something was refused, exceeded its limit of rejects, or failed a rule; 2 a usage error or a bug.
Results go to standard output, everything else to standard error. Every option can also be set as a variable, `DPE_…`.
"""


def _pages(command: click.Command, context: click.Context) -> Iterator[str]:
    help_text = command.get_help(context)
    yield f"## {context.command_path}\n\n```\n{help_text}\n```\n"
    if isinstance(command, click.Group) and context.command_path != "dpe":
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            if member is not None:
                yield from _pages(member, click.Context(member, info_name=name, parent=context, terminal_width=120, max_content_width=120))


def render() -> str:
    """Return the text of docs/commands.md."""
    # As on the command line, including -h.
    root = click.Context(cli, info_name="dpe", terminal_width=120, max_content_width=120, **cli.context_settings)
    parts = list(_pages(cli, root))
    for name in COMMANDS:
        command = cli.get_command(root, name)
        if command is not None:
            parts += _pages(command, click.Context(command, info_name=name, parent=root, terminal_width=120, max_content_width=120))
    return "\n".join([HEAD, *parts])


def test_every_command_is_documented() -> None:
    """docs/commands.md matches the help texts."""
    assert render() == PAGE.read_text(encoding="utf-8")


def render_checks() -> str:
    """Return the text of docs/rls-checks.md."""
    rows = [f"| {one.check_id} | {one.severity} | {one.title} | {one.why} |" for one in (*checks.checks(), strays.CHECK)]
    return "\n".join([CHECKS_HEAD, *rows, ""])


def test_every_check_is_documented() -> None:
    """docs/rls-checks.md matches the checks."""
    assert render_checks() == CHECKS_PAGE.read_text(encoding="utf-8")


def render_options() -> str:
    """Return the text of docs/sources/options.md."""
    parts = [OPTIONS_HEAD]
    nested: dict[str, type] = {}
    for name, kind in FORMATS.items():
        page = kind.documentation.removeprefix("docs/sources/")
        parts += [f"## `file_format: {name}`\n\n[More]({page})\n", *_table(kind)]
        nested |= kind.nested
    for name, kind in nested.items():
        parts += [f"## `{name}`\n", *_table(kind)]
    return "\n".join(parts)


def _table(kind: type) -> list[str]:
    rows = [
        f"| `{option.name}` | {'required' if option.default is None else f'`{option.default}`' if option.default else ''} | {option.meaning} |"
        for option in schema.options(kind)
    ]
    return ["| option | default | meaning |", "|---|---|---|", *rows, ""]


def test_every_option_is_documented() -> None:
    """docs/sources/options.md matches the formats."""
    assert render_options() == OPTIONS_PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("option", option_names())
def test_every_option_of_a_csv_source_is_explained(option: str) -> None:
    """docs/sources/csv.md has a row for each option of the external block; options of a location have their own page."""
    pages = ("csv.md", "places.md")
    assert any(f"`{option}" in (REPOSITORY / "docs" / "sources" / page).read_text(encoding="utf-8") for page in pages)


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
            parsed = parse(table["external"], columns, place=Place(table["name"], kind.documentation))
            # As it is stored next to the manifest.
            assert parsed == from_dict(json.loads(json.dumps(asdict(parsed))))
            assert all(column["description"] for column in [table, *table["columns"]])


def test_the_schema_accepts_what_dpe_accepts() -> None:
    """Editors complete and check the block with it: the examples pass, and a misspelt option is marked."""
    validator = jsonschema.Draft7Validator(schema.editors_schema())
    for page in sorted((REPOSITORY / "docs" / "sources").glob("*.md")):
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


def test_each_promise_names_a_test() -> None:
    """The security model names the test for each promise, and it exists."""
    text = (REPOSITORY / "docs" / "security-model.md").read_text(encoding="utf-8")
    promises = [line for line in text.splitlines() if line.startswith("| ") and line.endswith("` |")]
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", text)

    assert len(promises) > 30
    assert len(named) >= len(promises)
    assert [] == [f"{file}::{name}" for file, name in named if f"\ndef {name}(" not in (TESTS / file).read_text(encoding="utf-8")]


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    CHECKS_PAGE.write_text(render_checks(), encoding="utf-8")
    OPTIONS_PAGE.write_text(render_options(), encoding="utf-8")
