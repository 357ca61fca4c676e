"""
Write the pages of docs/reference that say what the program says of itself, as `make reference` does.

Their sources are the help texts, the checks of row-level security, the options of the external block, the comments of the generic
tests, the lists of dbt's own tests and of tools next to dbt, and the comments on the tables of the ledger.
`tests/python/house/test_docs.py` compares the pages with them.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
import result_schemas
import yaml

from dpe_cli.access import project_checks
from dpe_cli.cli.main import COMMANDS, cli
from dpe_cli.server.bootstrap import bootstrap_server
from dpe_cli.server.connection import Connection
from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.server.server import Server
from dpe_cli.sources.options import schema
from dpe_cli.sources.options.formats import FORMATS
from dpe_cli.specs import findings

REPOSITORY = Path(__file__).parents[1]
REFERENCE = REPOSITORY / "docs" / "reference"

COMMANDS_HEAD = """# Commands

The help texts; `dpe COMMAND --help` shows the same.

Exit status: 0 all is well; 1 something was refused, exceeded its reject limit, or failed a rule; 2 a usage error or a bug;
128 + the number of the signal that ended it, such as 143 for SIGTERM. It is also 1 if nothing has a name that was given: a command,
an option, a source, a ticket, a rule, a relation; the message names the nearest one.
Results go to standard output, everything else to standard error. Every option can be given as a variable: `DPE_OUTPUT`,
or with the command's name, `DPE_RUN_NOTIFY`; `DPE_LIMIT` is for every `--limit`. A variable that
begins with `DPE_` and has no effect is reported.
"""

CHECKS_HEAD = """# Checks of row-level security

What `dpe rls check` looks for ([row-level security](../guides/row-level-security.md)). An id never changes its meaning. An error
makes the exit status 1, and keeps `dpe run` from publishing and `dpe validate` from succeeding; a warning does not.

| check | severity | what it finds | why that matters |
|---|---|---|---|"""

FINDINGS_HEAD = """# What `dpe spec check` finds unclear

Each kind of question about a [spec](../../guides/specs.md), and who has to answer it. An id never changes its meaning. A spec with a
question is refused: the exit status is 1.

| kind | who answers | what is unclear |
|---|---|---|"""

OPTIONS_HEAD = """# Options of the external block

Editors know them too: run `dpe schema > .dpe/external.schema.json`, and write as the first line of the file
`# yaml-language-server: $schema=../../.dpe/external.schema.json`.

Besides these, a column may have `meta.path` (JSON, APIs, taps), `meta.start` and `meta.width` (lines of fixed width), and
[`meta.headers`, `meta.optional` and `meta.default`](../guides/loading.md#a-contract-that-changes).
"""

TESTS_HEAD = """# Generic tests

What each generic test of the dbt package `dpe` fails, and its arguments; write `dpe.` before its name.
[Kinds of rule](../guides/kinds-of-rule.md) orders them by what they are for.
"""

LEDGER_HEAD = """# Tables of the ledger

The tables in the schema `dpe`, which `dpe bootstrap` makes. Members of `dpe_auditor` may read them
([roles](../guides/row-level-security.md#roles))."""

COMPATIBILITY_HEAD = """# Versions of dbt, and what differs from dbt alone

| dbt-core | tested with | tests |
|---|---|---|
| 1.11 | {default} | all, in each change |
| 1.12 | {newer} | a project with every materialization, in each change; all tests that start dbt, with `make compatibility` |

The macros of the package and the command line are the same for both. dbt-postgres 1.11 is for both.

## dbt 1.12

dbt-core 1.12 depends on `dbt-core-experimental-parser`, which downloads a binary while pip builds it. dbt uses it only with
`--use-v2-parser`. If that download is blocked, `pip install` fails, so dpe asks for 1.11 by default. This installs 1.12 without it:

```bash
{pip}
```

`pip check` then reports two things: the missing parser, and that dpe asks for an older dbt-core. Run the last two commands again after
each later `pip install` that brings 1.11 back. With uv, the project says it once, and `uv sync` keeps to it:

```toml
{uv}
```

A project that was made by an earlier dpe has `require-dbt-version: [">=1.11.0", "<1.12.0"]` in its dbt_project.yml; raise that to
`"<1.13.0"`.

With 1.12, dbt makes a copy of a node each time Jinja reads it from `graph`: what Jinja changes there has no effect.

## dbt's own tests

The tests with which dbt-labs tests adapters (`dbt-tests-adapter`; {count} classes that dbt-postgres inherits) run in projects that use
dpe. All of them pass, except for those below, which are expected to fail: if one passes, dpe's tests fail until its row is removed. The
last two rows are about what these classes do not try; dpe's own tests show them.

| what | with dpe | do this instead | shown by |
|---|---|---|---|"""

TOOLS_HEAD = """
## Tools next to dbt

`make compatibility-tools` and `make schedulers` try these in projects that `dpe init` makes, and fail if a tool has another version or
does something else than its rows say. Each program is in an environment of its own, with dbt-core 1.11; dbt packages are tried with
1.12 as well. Their releases are those that their sources name.

| tool | what | result | what to do | shown by |
|---|---|---|---|---|"""

PIP_1_12 = """\
pip install 'data-provisioning-engine[sources]'
pip install --no-deps 'dbt-core>=1.12,<1.13'
pip install 'metricflow>=0.213,<1'"""

UV_1_12 = """\
[project]
name = "shop"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["data-provisioning-engine[sources]"]

[tool.uv]
override-dependencies = ["dbt-core>=1.12,<1.13"]
exclude-dependencies = ["dbt-core-experimental-parser"]"""

_GENERIC_TEST = re.compile(r"^{#\s*(?P<comment>.*?)\s*#}\s*{% test (?P<name>\w+)\((?P<arguments>.*?)\) %}", re.DOTALL)

_COLUMNS = """\
select
    relations.relname,
    coalesce(obj_description(relations.oid, 'pg_class'), ''),
    columns.attname,
    format_type(columns.atttypid, columns.atttypmod),
    coalesce(col_description(relations.oid, columns.attnum), '')
from pg_class as relations
inner join pg_attribute as columns on columns.attrelid = relations.oid and columns.attnum > 0 and not columns.attisdropped
where relations.relnamespace = 'dpe'::regnamespace and relations.relkind in ('r', 'v')
order by relations.relname, columns.attnum
"""


def commands() -> str:
    """Return the text of commands.md."""
    # As the command line is invoked, -h included.
    root = click.Context(cli, info_name="dpe", terminal_width=120, max_content_width=120, **cli.context_settings)
    parts = list(_help_texts(cli, root))
    for name in COMMANDS:
        command = cli.get_command(root, name)
        if command is not None:
            parts += _help_texts(command, _within(root, command, name))
    return "\n".join([COMMANDS_HEAD, *parts])


def _within(parent: click.Context, command: click.Command, name: str) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, terminal_width=120, max_content_width=120)


def _help_texts(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"## {context.command_path}\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group) and context.command_path != "dpe":
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            if member is not None:
                yield from _help_texts(
                    member, click.Context(member, info_name=name, parent=context, terminal_width=120, max_content_width=120)
                )


def rls_checks() -> str:
    """Return the text of rls-checks.md."""
    rows = [f"| {check.check_id} | {check.severity} | {check.title} | {check.why} |" for check in project_checks.all_checks()]
    return "\n".join([CHECKS_HEAD, *rows, ""])


def source_options() -> str:
    """Return the text of source-options.md."""
    parts = [OPTIONS_HEAD]
    nested: dict[str, type] = {}
    for name, kind in FORMATS.items():
        parts += [f"## `file_format: {name}`\n\n[More](../{kind.documentation.removeprefix('docs/')})\n", *_options(kind)]
        nested |= kind.nested
    for name, kind in nested.items():
        parts += [f"## `{name}`\n", *_options(kind)]
    return "\n".join(parts)


def _options(kind: type) -> list[str]:
    rows = [f"| `{option.name}` | {_default(option.default)} | {option.meaning} |" for option in schema.options(kind)]
    return ["| option | default | meaning |", "|---|---|---|", *rows, ""]


def _default(value: str | None) -> str:
    if value is None:
        return "required"
    return f"`{value}`" if value else ""


def generic_tests() -> str:
    """Return the text of generic-tests.md."""
    parts = [TESTS_HEAD]
    for path in sorted((REPOSITORY / "tests" / "generic").glob("*.sql")):
        found = _GENERIC_TEST.match(path.read_text(encoding="utf-8"))
        if found is None:
            raise SystemExit(f"{path}: does not start with a comment that says what the test fails")
        arguments = [one.strip() for one in re.split(r",(?![^\[{(]*[\]})])", found["arguments"])]
        named = ", ".join(f"`{argument}`" for argument in arguments if argument not in {"model", "column_name", "column_name=none"})
        parts.append(f"## {found['name']}\n\n{dedent('    ' + found['comment'])}\n" + (f"\nArguments: {named}.\n" if named else ""))
    return "\n".join(parts)


def ledger_tables(connection: Connection) -> str:
    """Return the text of ledger-tables.md, from the comments in a bootstrapped database."""
    parts, present = [LEDGER_HEAD], None
    for table, comment, column, type_name, meaning in connection.execute(_COLUMNS).fetchall():
        if table != present:
            present = table
            parts.append(f"\n## dpe.{table}\n\n{comment}\n\n| column | type | meaning |\n|---|---|---|")
        parts.append(f"| {column} | {type_name} | {meaning} |")
    return "\n".join(parts) + "\n"


def compatibility() -> str:
    """Return the text of compatibility.md, from the lists of dbt's own tests and of tools."""
    suite = yaml.safe_load((REPOSITORY / "tests/python/compatibility/dbt_suite.yml").read_text(encoding="utf-8"))
    head = COMPATIBILITY_HEAD.format(
        default=_pinned(REPOSITORY / "constraints.txt"),
        newer=_pinned(REPOSITORY / "tests/python/support/dbt/1.12.txt"),
        pip=PIP_1_12,
        uv=UV_1_12,
        count=sum(map(len, suite["classes"].values())),
    )
    rows = [
        f"| {one['what']} | {one['reason']} | {one['instead']} | {', '.join(f'`{test}`' for test in one['tests'])} |"
        for one in suite["differences"]
    ]
    tools = yaml.safe_load((REPOSITORY / "tests/python/tools/tools.yml").read_text(encoding="utf-8"))
    return "\n".join([head, *rows, TOOLS_HEAD, *(_tool_row(tool, one) for tool in tools for one in tool["results"]), ""])


def _tool_row(tool: dict[str, Any], result: dict[str, Any]) -> str:
    """Return the row of what was tried with a tool."""
    tests = ", ".join(f"`{test}`" for test in result["tests"])
    return f"| {tool['tool']} {tool['version']} | {result['what']} | {result['result']} | {result.get('instead', '')} | {tests} |"


def _pinned(path: Path) -> str:
    """Return the version of dbt-core that a file of versions has."""
    [version] = re.findall(r"^dbt-core==(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return str(version)


def spec_findings() -> dict[str, str]:
    """Return the texts of spec-findings: a list of the kinds, and a page for each."""
    rows = [f"| [{kind.id}]({kind.id}.md) | {kind.answers} | {kind.title} |" for kind in findings.kinds().values()]
    pages = {}
    for kind in findings.kinds().values():
        who = f"Answered by: the {kind.answers}. `{kind.name}` in the results for programs."
        pages[f"{kind.id}.md"] = f"# {kind.id}: {kind.title}\n\n{who}\n\n{kind.why}\n\n{kind.text}\n"
    return {"README.md": "\n".join([FINDINGS_HEAD, *rows, ""])} | pages


def results_schema() -> str:
    """Return the text of results.schema.json."""
    return json.dumps(result_schemas.results(), indent=2) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "compatibility.md": compatibility,
    "generic-tests.md": generic_tests,
    "results.schema.json": results_schema,
    "rls-checks.md": rls_checks,
    "source-options.md": source_options,
}
LEDGER_PAGE = "ledger-tables.md"
FINDINGS = "spec-findings"


def main() -> None:
    """Write all pages; a server runs meanwhile, for the one that describes its tables."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
    for path in (REFERENCE / FINDINGS).glob("*.md"):
        path.unlink()
    for name, text in spec_findings().items():
        (REFERENCE / FINDINGS / name).write_text(text, encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="dpe-docs-") as directory:
        Path(directory).chmod(0o711)
        embedded = EmbeddedServer(Path(directory))
        embedded.start()
        try:
            server = Server(str(embedded.socket_dir), embedded.port, "dpe", "postgres", is_embedded=True, log=embedded.log)
            bootstrap_server(server)
            with server.connect("admin") as connection:
                (REFERENCE / LEDGER_PAGE).write_text(ledger_tables(connection), encoding="utf-8")
        finally:
            embedded.stop()


if __name__ == "__main__":
    main()
