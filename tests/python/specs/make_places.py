"""
Makes the places that the specs in good/ and unclear/ describe: directories with the data of one domain each.

Text files are copied from `places/<domain>/data`. Workbooks and SQLite databases are binary, so they are made from CSV files:
each sheet of `data/<name>.xlsx` from a file in `places/<domain>/made/<name>.xlsx`, each table of `data/<name>.db` from one
in `places/<domain>/made/<name>.db`, whose `schema.sql` has the types.
"""

from __future__ import annotations

import contextlib
import csv
import shutil
import sqlite3
from datetime import date
from pathlib import Path

import openpyxl

PLACES = Path(__file__).parent / "places"


def make(domain: str, place: Path) -> Path:
    """Make the data of a domain in `place`, and return `place`: the directory that the locations of its specs are relative to."""
    data = place / "data"
    data.mkdir(parents=True, exist_ok=True)
    for path in sorted((PLACES / domain / "data").glob("*")):
        shutil.copy(path, data)
    for folder in sorted((PLACES / domain / "made").glob("*")):
        if folder.suffix == ".xlsx":
            _make_workbook(folder, data / folder.name)
        else:
            _make_database(folder, data / folder.name)
    return place


def _make_workbook(folder: Path, path: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for sheet in sorted(folder.glob("*.csv")):
        header, *records = _records(sheet)
        rows = workbook.create_sheet(sheet.stem)
        rows.append(header)
        for record in records:
            rows.append([_cell(value) for value in record])
    workbook.save(path)


def _make_database(folder: Path, path: Path) -> None:
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript((folder / "schema.sql").read_text(encoding="utf-8"))
        for table in sorted(folder.glob("*.csv")):
            header, *records = _records(table)
            values = ", ".join("?" * len(header))
            rows = [[value or None for value in record] for record in records]
            database.executemany(f"insert into {table.stem} ({', '.join(header)}) values ({values})", rows)
        database.commit()


def _records(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def _cell(value: str) -> float | date | str | None:
    """Return the value as Excel would store what a person types: a number or a date if it is one, text otherwise."""
    for kind in (int, float, date.fromisoformat):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value or None
