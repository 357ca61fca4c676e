"""Workbooks: one sheet, with the columns of its header, and a reject for each row that does not fit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import openpyxl
import pytest
from support.staged_source import Stage

from dpe_cli.errors import InputError

HEADER = ("id", "name", "due", "at", "paid")
COLUMNS = "id integer, name text, due date, at timestamp, paid boolean"


def _workbook(**sheets: Sequence[Sequence[Any]]) -> bytes:
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for title, rows in sheets.items():
        sheet = workbook.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
    content = io.BytesIO()
    workbook.save(content)
    return content.getvalue()


def test_a_sheet_is_loaded_as_rows(stage_anywhere: Stage) -> None:
    """With the types of the cells; blank rows, and rows above the header, are skipped."""
    source = stage_anywhere(COLUMNS, file_format="excel", location="*.xlsx", sheet="May", header_row=3)
    rows = [
        ("Orders of May",),
        (),
        HEADER,
        (1, 'Zoë "a", b\nc', date(2024, 5, 1), datetime(2024, 5, 1, 13, 30), True),
        (None, None, None, None, None),
        (2, None, None, None, False),
    ]
    source.deliver(_workbook(April=[("x",)], May=rows), "a.xlsx")

    result = source.extract()

    assert (2, 2) == (result.records_read, result.rows_loaded)
    assert [
        (1, 'Zoë "a", b\nc', date(2024, 5, 1), datetime(2024, 5, 1, 13, 30), True),
        (2, None, None, None, False),
    ] == source.rows()


def test_a_cell_that_does_not_fit_is_a_reject(stage: Stage) -> None:
    """With the number of its row in the sheet."""
    source = stage("id integer, name text", file_format="excel", location="*.xlsx")
    source.deliver(_workbook(A=[("id", "name"), (1, "a"), (), ("two", "b"), (2.5, None)]), "a.xlsx")

    assert 2 == source.extract().rows_rejected
    assert [
        (4, "id", "22P02", '{"id": "two", "name": "b"}'),
        (5, "id", "22P02", '{"id": "2.5", "name": null}'),
    ] == source.rejects("position, column_name, sqlstate, raw")


@pytest.mark.parametrize(
    ("content", "options", "fault"),
    [
        (b"no workbook", {}, "^a.xlsx: is not an Excel workbook"),
        (_workbook(A=[("id",)]), {"sheet": "B"}, "^a.xlsx: has no sheet 'B'; correct `sheet` in the external block \\(sheets: A\\)"),
        (_workbook(A=[]), {}, "^a.xlsx, sheet 'A', row 1: has no column names; set header_row"),
        (_workbook(A=[("id", None, "name")]), {}, "^a.xlsx, sheet 'A', row 1, column 2: has no name"),
        (_workbook(A=[("id", "id")]), {}, "^a.xlsx, sheet 'A', row 1: names 'id' more than once"),
        (_workbook(A=[("id",), (1, "more")]), {}, "^a.xlsx, sheet 'A', row 2: has a value in column 2, which has no name"),
    ],
)
def test_what_cannot_be_read_is_refused(stage: Stage, content: bytes, options: dict[str, Any], fault: str) -> None:
    """The error names the sheet, the row and the column."""
    source = stage("id integer", file_format="excel", location="*.xlsx", **options).deliver(content, "a.xlsx")

    with pytest.raises(InputError, match=fault):
        source.extract()
    assert 0 == source.count()
