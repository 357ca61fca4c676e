"""The docs site: dbt's, extended so that models and sources show their rules, whether they hold, and for how long they have not."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dpe_cli.quality.results import Run, State
from dpe_cli.quality.rules import Rule
from dpe_cli.site import docs_page

NAME = "static_index.html"
_OVERVIEW = "__overview__"
_BLOCKS = "▁▂▃▄▅▆▇█"
_HEADINGS = ("rule", "asks", "dimension", "severity", "owner", "status", "failing rows", "does not hold since", "last runs")
_ABOUT_SEEN = """
# Who sees what

How many rows of each published relation these roles saw when this page was built, measured by acting as them: a reader without a
tenant, the tenants with the most, the median and the fewest rows, and the role that builds, outside and inside a context. `dpe rls matrix`
measures this for all relations and roles, and whether any role can write rows that are not its own.
"""
_ABOUT = """
# Rules

Whether the rules held when this page was built. In the column "last runs", oldest first, `·` is a run without failing rows, and
a block is as high as its share of the most failing rows in any of them; `E` could not run. `dpe rules show ID` shows the rows
that break a rule, if you may see them.
"""


def write(
    target: Path,
    rules: Sequence[Rule],
    states: Mapping[str, State],
    histories: Mapping[str, Sequence[Run]],
    seen: tuple[Sequence[str], Sequence[Sequence[str]]],
) -> Path:
    """
    Write the site as a single page from what `dbt docs generate` left in `target`, and return its path.

    `seen` is a table of the published rows that each role sees: headings, and one line per relation.
    The page contains no failing rows: its readers may not be allowed to see them.
    """
    manifest = read_manifest(target)
    lines = {rule.rule_id: _line(rule, states[rule.rule_id], histories.get(rule.rule_id, ())) for rule in rules}
    for unique_id, relation_rules in _by_relation(manifest, rules).items():
        node = manifest["nodes"].get(unique_id) or manifest["sources"].get(unique_id)
        if node is not None:
            node["description"] = f"{node['description']}\n\n## Rules\n\n{_table(lines[rule.rule_id] for rule in relation_rules)}"
    _add_overview(manifest, rules, lines, seen)
    catalog = json.loads((target / "catalog.json").read_text(encoding="utf-8"))
    page = docs_page.filled((target / "index.html").read_text(encoding="utf-8"), manifest, catalog)
    path = target / NAME
    # The previous page stays complete until this one is.
    written = path.with_name(f"{NAME}.{os.getpid()}")
    written.write_text(page, encoding="utf-8")
    written.replace(path)
    return path


def read_manifest(target: Path) -> dict[str, Any]:
    """Return the manifest that `dbt docs generate` left in `target`."""
    manifest: dict[str, Any] = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def _by_relation(manifest: Mapping[str, Any], rules: Sequence[Rule]) -> dict[str, list[Rule]]:
    """Return the rules of each relation, by dbt's id: those that are attached to it, or that read it."""
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        for test in rule.tests:
            node = manifest["nodes"].get(test.test_id, {})
            unique_ids = [node["attached_node"]] if node.get("attached_node") else node.get("depends_on", {}).get("nodes", [])
            for unique_id in unique_ids:
                of_relation = found.setdefault(unique_id, [])
                if rule not in of_relation:
                    of_relation.append(rule)
    return found


def _add_overview(
    manifest: dict[str, Any],
    rules: Sequence[Rule],
    lines: Mapping[str, Sequence[str]],
    seen: tuple[Sequence[str], Sequence[Sequence[str]]],
) -> None:
    """Show who sees what, and all rules, on the first page, below the project's own text."""
    headings, rows = seen
    parts = [f"{_ABOUT_SEEN}\n\n{_table(([_text(cell) for cell in row] for row in rows), headings)}"] if rows else []
    if rules:
        parts.append(_ABOUT)
    parts += [
        f"## {_text(pipeline)}\n\n{_table(lines[rule.rule_id] for rule in rules if rule.pipeline == pipeline)}"
        for pipeline in sorted({rule.pipeline for rule in rules})
    ]
    project = manifest["metadata"]["project_name"]
    docs = manifest["docs"]
    own = [doc for doc in docs.values() if doc["name"] == _OVERVIEW and doc["package_name"] != "dbt"]
    block = own[0] if own else {**docs[f"doc.dbt.{_OVERVIEW}"], "package_name": project, "block_contents": f"# {_text(project)}"}
    contents = "\n\n".join([block["block_contents"], *parts])
    docs[f"doc.{block['package_name']}.{_OVERVIEW}"] = {**block, "block_contents": contents}


def _line(rule: Rule, state: State, runs: Sequence[Run]) -> list[str]:
    since = f"{state.since:%Y-%m-%d %H:%M}" if state.since else ""
    failures = "" if state.failures is None else f"{state.failures:,}"
    cells = [rule.rule_id, rule.definition, rule.dimension, rule.severity, rule.owner, state.status, failures, since]
    return [*(_text(cell) for cell in cells), sparkline(runs)]


def sparkline(runs: Sequence[Run]) -> str:
    """Draw how many rows failed in each run, one character per run, oldest first."""
    highest = max((run.failures or 0 for run in runs), default=0)
    return "".join("E" if run.status == "error" else _sign(run.failures or 0, highest) for run in runs)


def _sign(failures: int, highest: int) -> str:
    return _BLOCKS[max(0, -(-failures * len(_BLOCKS) // highest) - 1)] if failures else "·"


def _table(lines: Iterable[Sequence[str]], headings: Sequence[str] = _HEADINGS) -> str:
    rows = [headings, ["---"] * len(headings), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _text(text: str) -> str:
    """Escape text so that it is not read as Markdown or HTML."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{sign}" if sign in "|*_`[]" else sign for sign in escaped)
