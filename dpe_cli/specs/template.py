"""A new spec: the form with comments, or with what a source holds already filled in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpe_cli.safe_text.visible_text import on_one_line
from dpe_cli.specs.patterns import Pattern
from dpe_cli.specs.requirement import ASK

if TYPE_CHECKING:
    from dpe_cli.infer.inference import InferredTable


def form(pattern: Pattern | None = None) -> str:
    """Return a spec with a comment in each part that says what belongs there."""
    return document("DPE-1", "Title of the feature", pattern, [])


def document(ticket: str, title: str, pattern: Pattern | None, sources: Sequence[InferredTable]) -> str:
    """Return a spec for a ticket, with the sources as far as they were inspected."""
    names = [table.name for table in sources] or ["shop.orders"]
    return "\n".join([*_head(ticket, title, pattern, names), *_sources(sources), *_rest(ticket, sources), ""])


def file_name(ticket: str, feature: str) -> str:
    """Return the name of a spec's file: `DPE-101-carrier-operations-spec.md`."""
    slug = re.sub(r"[^a-z0-9]+", "-", feature.lower()).strip("-")
    return f"{ticket}-{slug}-spec.md" if slug else f"{ticket}-spec.md"


def _head(ticket: str, title: str, pattern: Pattern | None, names: Sequence[str]) -> list[str]:
    lines = [
        "---",
        f"ticket: {ticket}",
        f"title: {_yaml(title)}",
        "status: draft # approved, once it is",
        f"owner: {_yaml(f'{ASK} who decides what this spec leaves open?')}",
        f"requested_by: {_yaml(f'{ASK} who asked for it?')}",
        "approved_by:",
        f"readers: {_yaml(f'{ASK} who reads the tables?')}",
        f"pattern: {pattern.name if pattern else _yaml(f'{ASK} which one?')}",
        f"sources: [{', '.join(names)}]",
        f"models: [{_published(names[0])}] # the tables that are published",
        "tenant: # the column by which readers see only their own rows, if there is one",
        "---",
        "",
        f"# {ticket}: {on_one_line(title)}",
        "",
    ]
    if pattern is not None:
        lines += [
            f"Pattern: {pattern.name}",
            f"{pattern.purpose}",
            f"It fits if {'; or if '.join(pattern.use_when)}.",
            f"It does not fit if {'; or if '.join(pattern.do_not_use_when)}.",
            "",
        ]
    return [*lines, "## Purpose", "", f"{ASK} who wants to know what, how often, and what do they decide with it?", "", "## Sources", ""]


def _sources(sources: Sequence[InferredTable]) -> list[str]:
    lines = ["| source | what | location | format | delivered | how it is loaded |", "|---|---|---|---|---|---|"]
    loading = "does a delivery replace the earlier ones, is it added to them, or is it what is new since, by which column?"
    ask = f"{ASK} how often? | {ASK} {loading}"
    if not sources:
        lines += [f"| shop.orders | {ASK} what are its records? | data/orders.csv | csv | {ask} |", "", "### Columns of shop.orders", ""]
        lines += [f"Key: {ASK} which columns identify a record?", "", "| column | type | may be empty | meaning |", "|---|---|---|---|"]
        return [*lines, f"| order_id | integer | no | {ASK} what does it mean? |", ""]
    for table in sources:
        location = str(table.external["location"])
        lines.append(
            f"| {table.name} | {_cell(table.description) or f'{ASK} what are its records?'} | {_cell(location)} | "
            f"{table.external['file_format']} | {ask} |"
        )
    lines += ["", f"{ASK} what counts if a record arrives late, or is delivered again with other values?", ""]
    for table in sources:
        keys = [column.name for column in table.columns if "unique" in column.tests]
        lines += [f"### Columns of {table.name}", "", f"Key: {keys[0] if keys else f'{ASK} which columns identify a record?'}", ""]
        lines += ["| column | type | may be empty | meaning |", "|---|---|---|---|"]
        for column in table.columns:
            empty = "no" if "not_null" in column.tests else "yes"
            lines.append(
                f"| {_cell(column.name)} | {column.data_type} | {empty} | {_cell(column.description) or f'{ASK} what does it mean?'} |"
            )
        lines.append("")
    return lines


def _rest(ticket: str, sources: Sequence[InferredTable]) -> list[str]:
    figures = [f"| {table.table.replace('_', ' ')}, delivered | {table.records:,} | |" for table in sources] or [
        f"| orders, delivered | {ASK} how many? | |"
    ]
    names = [table.name for table in sources] or ["shop.orders"]
    return [
        "## Transformations",
        "",
        f"1. {ASK} what is calculated, left out, joined or renamed? One step per number.",
        "",
        "### Published columns",
        "",
        "| table | column | from |",
        "|---|---|---|",
        f"| {_published(names[0])} | {ASK} which columns does this table have? | {names[0]} as delivered |",
        "",
        "## Who may see what",
        "",
        "| table | one row | who sees it |",
        "|---|---|---|",
        (
            f"| {_published(names[0])} | {ASK} what is one row of this table? "
            f"| {ASK} everyone with access, or each reader its own rows (by which column)? |"
        ),
        "",
        "## Rules",
        "",
        "A rule of severity error stops the publication; one of severity warn is reported with its count.",
        "",
        "| rule | dimension | definition | severity | owner | because |",
        "|---|---|---|---|---|---|",
        (
            f"| {ticket}-01 | uniqueness | {ASK} what must be true of each row? | error "
            f"| {ASK} who owns this rule? | {ASK} why must it hold? |"
        ),
        "",
        "## Acceptance",
        "",
        "| what | count | reported by |",
        "|---|---|---|",
        *figures,
        "",
        "## Open questions",
        "",
        "None.",
    ]


def _published(source: str) -> str:
    """Return a name for the table that is published from a source."""
    return f"fct_{source.rpartition('.')[2]}"


def _cell(text: str) -> str:
    """Return a text for a cell of a table; hidden characters are shown as codes."""
    return " ".join(on_one_line(text).replace("|", "\\|").split())


def _yaml(text: str) -> str:
    """Return a text as a value of YAML; hidden characters are shown as codes."""
    text = on_one_line(text)
    return "'" + text.replace("'", "''") + "'" if re.search(r"[:#'\"\[\]{}?,&*!|>%@`-]", text) else text
