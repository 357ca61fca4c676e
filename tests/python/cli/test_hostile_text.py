"""Text from outside is shown by its codes, wherever dpe shows it, and no terminal obeys it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree as ET

import click
import pytest
import yaml
from support import hostile_shop
from support.hostile_shop import HOSTILE, ROLE, SHOWN, TENANT, Channel
from support.result_schemas import RESULTS, check_report

from dpe_cli.cli import report
from dpe_cli.cli.main import cli
from dpe_cli.cli.report import Report
from dpe_cli.safe_text.visible_text import has_hidden
from dpe_cli.server.server import Server

ORDERS = f"data/orders/monday {HOSTILE}.csv"
BOTH: tuple[Channel, ...] = get_args(Channel)
# The arguments of each command, in the order in which they run, and its channels; slow ones run once.
COMMANDS: dict[str, tuple[list[str], tuple[Channel, ...]]] = {
    "extract": ([], ("terminal",)),
    "run": (["--no-publish"], ("pipe",)),
    # It is another result of that command.
    "run --plan": ([], BOTH),
    "diff": ([HOSTILE], BOTH),
    "publish": ([], ("terminal",)),
    "validate": (["--junit", "junit.xml"], ("terminal",)),
    "docs build": ([], ("pipe",)),
    "spec list": ([], BOTH),
    "spec show": (["SHOP-1"], BOTH),
    # It ends in an error here, because the spec is not clear; test_spec_command.py validates its result.
    "spec approve": (["SHOP-1"], BOTH),
    "spec template": (["--pattern", "tenant-mart"], BOTH),
    "spec new": (["SHOP-2", f"Orders {HOSTILE}", "--source", ORDERS], ("terminal",)),
    "spec check": (["--report", "questions.md", "--sarif", "specs.json"], BOTH),
    "rules": (["--write"], BOTH),
    "rules show": (["SHOP-1-03"], BOTH),
    "loads list": ([], BOTH),
    "loads show": (["1"], BOTH),
    "rejects list": ([], BOTH),
    "rejects show": (["1"], BOTH),
    "rejects export": (["shop.orders"], BOTH),
    "rejects replay": (["shop.orders", "--file", ORDERS], BOTH),
    "access grant": ([ROLE, TENANT], BOTH),
    "access list": ([], BOTH),
    "rls check": (["--sarif", "sarif.json"], BOTH),
    "rls matrix": ([], ("terminal",)),
    "access revoke": ([ROLE, TENANT], BOTH),
    "source infer": ([ORDERS], BOTH),
    "init": ([f"new {HOSTILE}", "--name", "new", "--from", ORDERS], ("terminal",)),
    "loads undo": (["1"], ("terminal",)),
    "schema": ([], BOTH),
    "env": ([], BOTH),
    "db status": ([], BOTH),
    "db url": ([], BOTH),
    "db dump-options": ([], BOTH),
    "bootstrap": ([], BOTH),
}
# They become another program, or start and stop a server of their own and show only its directory.
LEFT_OUT = {"dbt", "db psql", "db start", "db stop"}
# These show none of the project's texts, or only harmless ones.
SILENT = {
    "extract",
    "publish",
    "docs build",
    "rules",
    "loads list",
    "loads undo",
    "schema",
    "spec list",
    "spec approve",
    "spec new",
    "spec show",
    "spec template",
    "env",
    "db status",
    "db url",
    "db dump-options",
    "bootstrap",
}
# These write data, which a pipe gets unchanged.
DATA = {("rejects export", "pipe")}
# Rich's own colours, and the cursor movements of progress bars.
OF_RICH = re.compile(r"\x1b\[(?!8m)(?:[0-9;]*m|\?25[lh]|\d*[AK])|\r")


@dataclass(frozen=True)
class Walk:
    """The project, and what each command wrote to each kind of channel."""

    directory: Path
    written: dict[tuple[str, Channel], str]
    reports: dict[str, Report]


@pytest.fixture(scope="module")
def walk(module_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Run every command, to a terminal or a pipe or both."""
    directory = hostile_shop.make(tmp_path_factory.mktemp("hostile") / "shop", module_server)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        for name, value in hostile_shop.environment(module_server).items():
            patch.setenv(name, value)
        walk = Walk(directory, {}, {})
        as_text = report._text

        def shown(result: Report) -> str:
            walk.reports[command] = result
            return as_text(result)

        patch.setattr(report, "_text", shown)
        for command, (arguments, channels) in COMMANDS.items():
            for channel in channels:
                walk.written[command, channel] = hostile_shop.written(channel, *command.split(), *arguments)
            if command == "diff":
                # With hostile arguments, it ends in an error.
                hostile_shop.written("pipe", "diff")
        yield walk
    hostile_shop.clear(module_server)


def _names(command: click.Command, before: str = "") -> Iterator[str]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            assert member is not None
            yield from _names(member, f"{before} {name}".strip())
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield before


def test_every_command_is_tested() -> None:
    """A new one has to be added to the commands above, or to the exceptions with a reason."""
    assert set(_names(cli)) == {*COMMANDS, *LEFT_OUT} - {"run --plan"}


def test_each_result_is_what_its_schema_says(walk: Walk) -> None:
    """Of every command; docs/reference/results.schema.json has them, for programs that read --output json."""
    # These end in an error here; ingest/test_replay.py and test_spec_command.py validate their results.
    assert set(COMMANDS) - {"rejects replay", "spec approve"} == set(walk.reports)
    for command, result in walk.reports.items():
        check_report(command.removesuffix(" --plan"), result)


def test_every_command_with_output_has_a_schema() -> None:
    """Those that become another program have no result."""
    assert set(_names(cli)) - {"dbt", "db psql"} == {name for name in RESULTS["$defs"] if name.islower()}


def test_no_command_writes_a_hidden_character(walk: Walk) -> None:
    """Neither to a terminal nor to a pipe, in a result, progress or an error."""
    raw = {place for place, text in walk.written.items() if has_hidden(OF_RICH.sub("", text))}

    assert DATA == raw


def test_hostile_text_is_shown_all_the_same(walk: Walk) -> None:
    """As codes, and markup as it was written: a person sees what was delivered."""
    silent = {command for (command, channel), text in walk.written.items() if SHOWN not in text and (command, channel) not in DATA}

    # YAML has codes of its own.
    assert silent == {*SILENT, "source infer"}


def test_a_reject_is_shown_on_its_own_lines(walk: Walk) -> None:
    """A record has as many lines as line feeds, whatever other characters begin a line."""
    assert walk.written["rejects show", "pipe"].endswith(f"\n{SHOWN},UA,3,x\n")


def test_an_export_to_a_pipe_is_exact(walk: Walk) -> None:
    """It will be corrected and replayed, so a pipe gets each character as delivered."""
    header, record = csv.reader(io.StringIO(walk.written["rejects export", "pipe"]))

    assert HOSTILE == header[-1]
    assert [HOSTILE, "UA", "3", "x"] == record[-4:]


@pytest.mark.usefixtures("walk")
def test_json_holds_the_values_and_hides_nothing() -> None:
    """A machine reads what was delivered; a terminal that shows the document finds nothing to obey."""
    document = hostile_shop.written("terminal", "rejects", "list", "--all", "--output", "json").replace("\r\n", "\n")

    assert not has_hidden(document)
    assert f"{HOSTILE},UA,3,x" == json.loads(document)[0]["raw"]


def test_inferred_yaml_is_the_same_to_yaml(walk: Walk) -> None:
    """Names have hidden characters as codes that YAML reads; comments have them as visible codes."""
    text = walk.written["source infer", "pipe"]

    columns = yaml.safe_load(text)["sources"][0]["tables"][0]["columns"]
    assert HOSTILE == columns[-1]["name"]


def test_junit_has_hidden_characters_as_codes(walk: Walk) -> None:
    """In a failed check on a table with a hostile name, and in the name of a test."""
    root = ET.fromstring((walk.directory / "junit.xml").read_text(encoding="utf-8"))  # noqa: S314 our own
    texts = [text for element in root.iter() for text in (element.text or "", *element.attrib.values())]

    assert not any(map(has_hidden, texts))
    assert any(f"orders{SHOWN}" in text for text in texts)
    assert any(f'finance."table {SHOWN}"' in text for text in texts)


def test_sarif_has_hidden_characters_as_codes(walk: Walk) -> None:
    """In the values, not just in the JSON, so that a viewer that shows a message shows no control character."""
    results = json.loads((walk.directory / "sarif.json").read_text(encoding="utf-8"))["runs"][0]["results"]

    assert all(SHOWN in result["message"]["text"] and not has_hidden(result["message"]["text"]) for result in results)
    assert {f'finance."table {SHOWN}"'} == {result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] for result in results}


def test_the_document_of_rules_has_hidden_characters_as_codes(walk: Walk) -> None:
    """In the words of a rule, which its author wrote."""
    text = (walk.directory / "DATA_QUALITY_RULES.md").read_text(encoding="utf-8")

    assert f"- because: {SHOWN}\n" in text
    assert not has_hidden(text)


@pytest.mark.parametrize("part", ["manifest", "catalog"])
def test_the_docs_site_has_hidden_characters_as_codes(walk: Walk, part: str) -> None:
    """In dbt's description of the project, and in the database's catalog."""
    text = (walk.directory / "target" / "static_index.html").read_text(encoding="utf-8")
    data = json.JSONDecoder().raw_decode(text, re.search(rf"\b{part}:(?={{)", text).end())[0]  # type: ignore[union-attr]
    texts = list(_texts(data))

    assert SHOWN in data["nodes"]["model.shops.dim_shops"]["columns"]
    # Also zero-width, but added by dpe.
    assert not [one for one in texts if has_hidden(one.replace("\u2060", "").replace("\ufeff", ""))]


def _texts(data: object) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for name, value in data.items():
            yield name
            yield from _texts(value)
    elif isinstance(data, list):
        for value in data:
            yield from _texts(value)
