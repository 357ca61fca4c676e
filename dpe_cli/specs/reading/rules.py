"""The rules of a spec: rows of tables with ids, list items, or Given, When and Then."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dpe_cli.errors import SpecError
from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.reading import titles
from dpe_cli.specs.reading.markdown import Item, Paragraph, Table
from dpe_cli.specs.reading.outline import Part
from dpe_cli.specs.requirement import RuleRow
from dpe_cli.specs.text import DASHES, NOTHING, Text, joined

DIMENSIONS = ("completeness", "uniqueness", "validity", "accuracy", "consistency", "timeliness")
_RULE_ID = re.compile(r"(?<![A-Z0-9])[A-Z][A-Z0-9]{0,30}-\d{1,20}-\d{1,20}")
_PARTS = tuple((name, Phrases("rules", name)) for name in ("because", "owner", "severity"))
_ATTRIBUTES = Phrases("rules", "attributes")
_STEP = re.compile(r"^(?:\*\*|_)?(?P<step>given|when|then|and|but)\b(?:\*\*|_)?", re.IGNORECASE)


def rows(path: Path, parts: Sequence[Part], ticket: str) -> list[RuleRow]:
    """
    Return the rules, in their order.

    Raises:
        SpecError: an id is malformed, or occurs twice.
    """
    found: dict[str, RuleRow] = {}
    for part in parts:
        of_tables = [row for table in part.tables for row in _of_table(path, table, ticket)]
        for row in of_tables or (_of_prose(part, ticket, len(found)) if part.about == "rules" else ()):
            if row.rule_id in found:
                raise SpecError(f"{path}, line {row.line}: rule {row.rule_id} is defined twice; give each rule an id of its own")
            found[row.rule_id] = row
    return list(found.values())


def _of_table(path: Path, table: Table, ticket: str) -> Iterator[RuleRow]:
    positions = titles.columns(table.headings, titles.RULES)
    # The id comes first, whatever its heading.
    positions = {"rule": 0} | {meaning: position for meaning, position in positions.items() if position and meaning != "rule"}
    for row in table.rows:
        rule_id = row.cell(0).bare
        if not _RULE_ID.fullmatch(rule_id):
            if rule_id.lower().startswith(f"{ticket.lower()}-") and " " not in rule_id:
                raise SpecError(
                    f"{path}, line {row.line}: {rule_id!r} is not the id of a rule; write it as the ticket and a number, {ticket}-01"
                )
            continue
        cells = {heading.lower: cell.plain for heading, cell in zip(table.headings, row.cells, strict=False)}
        yield RuleRow(
            rule_id,
            row.line,
            cells,
            table=row.cell(positions.get("table")),
            dimension=row.cell(positions.get("dimension")),
            rule=row.cell(positions.get("definition")),
            severity=row.cell(positions.get("severity")),
            owner=row.cell(positions.get("owner")),
            because=row.cell(positions.get("because")),
        )


def _of_prose(part: Part, ticket: str, before: int) -> Iterator[RuleRow]:
    """Yield a rule per list item or scenario; one without an id has the next number of the ticket."""
    number = before
    for text in _statements(part):
        match = _RULE_ID.search(text.value)
        number += 1
        rule_id = match[0] if match is not None else f"{ticket}-{number:02}"
        yield _of_text(rule_id, text)


def _statements(part: Part) -> Iterator[Text]:
    """Yield the text of each item; the steps of a scenario, and what stands below an item, belong to one statement."""
    has_items = any(isinstance(element, Item) for element in part.elements)
    statement: list[Text] = []
    for element in part.elements:
        if not isinstance(element, Item | Paragraph):
            continue
        step = _STEP.match(element.text.value.strip())
        continues = step is not None and step["step"].lower() != "given"
        is_below = isinstance(element, Item) and (element.depth > 1 or (element.number is None and _is_attribute(element.text)))
        if isinstance(element, Paragraph) and has_items and step is None:
            continue
        if not isinstance(element, Item) and step is None and not _RULE_ID.search(element.text.value):
            continue
        if statement and (continues or is_below):
            statement.append(element.text)
        else:
            if statement:
                yield joined(statement)
            statement = [element.text]
    if statement:
        yield joined(statement)


def _is_attribute(text: Text) -> bool:
    return _ATTRIBUTES.match(text.plain) is not None


def _of_text(rule_id: str, text: Text) -> RuleRow:
    found: dict[str, Text] = {}
    rest = text.value
    for name, pattern in _PARTS:
        match = pattern.search(rest)
        if match is None:
            continue
        group = name if name != "severity" else next(group for group, value in match.groupdict().items() if value is not None)
        value = {"stops": "error", "reports": "warn"}.get(group, match[group])
        found[name] = Text(value.strip(" .()"), text.line_at(match.start()))
        rest = rest[: match.start()] + " " + rest[match.end() :] if name != "because" else rest[: match.start()]
    dimension = next((word for word in DIMENSIONS if re.search(rf"\b{word}\b", text.lower)), "")
    definition = re.sub(
        rf"[`*]{{0,5}}{re.escape(rule_id)}[`*]{{0,5}}\s{{0,5}}[:.{DASHES}]?|\b(?:{'|'.join(DIMENSIONS)})\b|\bdimension:?|[()]",
        " ",
        rest,
        flags=re.IGNORECASE,
    )
    cells: Mapping[str, str] = {name: value.plain for name, value in found.items()}
    return RuleRow(
        rule_id,
        text.line,
        cells,
        dimension=Text(dimension, text.line) if dimension else NOTHING,
        rule=Text(" ".join(definition.split()).strip(f" ,;:{DASHES}"), text.line),
        severity=found.get("severity", NOTHING),
        owner=found.get("owner", NOTHING),
        because=found.get("because", NOTHING),
    )
