"""The specs that `dpe spec check` is held against: each is listed with what is to be said of it, and its domain has data."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml
from make_places import PLACES, make

HERE = Path(__file__).parent
EXPECTED: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load((HERE / "expected.yml").read_text(encoding="utf-8"))
UNCLEAR = EXPECTED["unclear"]
RESPONSIBLE = {"pattern_missing": "architect", "pattern_unknown": "architect"} | dict.fromkeys(
    ("source_not_readable", "column_missing", "type_refuted", "key_not_unique", "tenant_blank", "acceptance_refuted"), "data owner"
)


@pytest.mark.parametrize("kind", EXPECTED)
def test_every_spec_is_listed(kind: str) -> None:
    """With the domain whose data it describes."""
    assert sorted(path.name for path in (HERE / kind).iterdir()) == sorted(EXPECTED[kind])
    assert {entry["domain"] for entry in EXPECTED[kind].values()} <= {path.name for path in PLACES.iterdir()}


@pytest.mark.parametrize("name", UNCLEAR)
def test_a_fault_has_a_line_and_somebody_to_ask(name: str) -> None:
    """The line exists and is not empty, and each kind of fault is cleared up by the same person everywhere."""
    entry = UNCLEAR[name]
    lines = (HERE / "unclear" / name).read_text(encoding="utf-8").splitlines()

    assert re.fullmatch(rf"\d\d-{entry['kind']}(-\w+)?\.md", name)
    assert RESPONSIBLE.get(entry["kind"], "analyst") == entry["answers"]
    assert all(lines[number - 1].strip() for number in (entry["line"], *entry.get("or_lines", [])))
    assert 2 <= len(entry["says"]) <= 4


def test_tickets_are_unique() -> None:
    """Several specs can be checked in one project."""
    texts = [path.read_text(encoding="utf-8") for kind in EXPECTED for path in sorted((HERE / kind).iterdir())]
    tickets = [re.findall(r"^(?:ticket|\*\*Ticket\*\*): (\S+)$", text, re.MULTILINE) for text in texts]

    assert all(len(found) == 1 for found in tickets)
    assert [] == [ticket for (ticket,), count in Counter(map(tuple, tickets)).items() if count > 1]


def test_binary_files_are_made_from_text(tmp_path: Path) -> None:
    """A workbook with dates as Excel stores them, and a database with empty values as null."""
    bookings = make("hotel", tmp_path / "hotel") / "data" / "bookings_spring.xlsx"
    departures = [row[5] for row in openpyxl.load_workbook(bookings)["Bookings"].iter_rows(min_row=2, values_only=True)]
    assert {"datetime": 38, "str": 2} == Counter(type(value).__name__ for value in departures)

    with sqlite3.connect(make("clinic", tmp_path / "clinic") / "data" / "clinic.db") as clinic:
        assert [(96, 88)] == clinic.execute("select count(*), count(seen_at) from visits").fetchall()
    clinic.close()
