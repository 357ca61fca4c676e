"""Excel workbooks: one sheet, row by row, which openpyxl reads without holding it in memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dpe_cli import optional_packages
from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.errors import InputError
from dpe_cli.sources.files.content import Content, Reading
from dpe_cli.sources.options.files import ExcelFiles
from dpe_cli.sources.read import rows


@contextmanager
def opened(content: Content, reading: Reading) -> Iterator[OpenedSheet]:
    """
    Open a workbook, and find its sheet.

    Raises:
        InputError: it is not a workbook, or has no such sheet or header.
    """
    options = reading.options
    assert isinstance(options, ExcelFiles)  # noqa: S101 implied by its file_format
    with workbook(content) as opened_workbook:
        sheet = sheet_of(opened_workbook, options.sheet, location=content.location)
        yield OpenedSheet(sheet, options, location=content.location)


@contextmanager
def workbook(content: Content) -> Iterator[Any]:
    """
    Open a workbook with openpyxl.

    Raises:
        InputError: it is not one.
    """
    openpyxl = optional_packages.needed("openpyxl", by="reading Excel")
    with content.on_disk() as path, path.open("rb") as file:
        try:
            found = openpyxl.load_workbook(file, read_only=True, data_only=True)
        except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
            raise InputError(f"{content.location}: is not an Excel workbook ({error}); deliver it as .xlsx") from error
        try:
            yield found
        finally:
            found.close()


def sheet_of(found: Any, name: str | None, *, location: str) -> Any:
    """
    Return the sheet with this name, or the first one.

    Raises:
        InputError: it has no such sheet.
    """
    if name is not None and name not in found.sheetnames:
        listed = ", ".join(found.sheetnames)
        raise InputError(f"{location}: has no sheet {name!r}; correct `sheet` in the external block (sheets: {listed})")
    sheet = found[name or found.sheetnames[0]]
    # The dimensions that a workbook declares may be wrong.
    sheet.reset_dimensions()
    return sheet


class OpenedSheet:
    """A sheet whose header has been read."""

    dialect: Dialect = rows.DIALECT

    def __init__(self, sheet: Any, options: ExcelFiles, *, location: str) -> None:
        self._rows: Iterator[Sequence[Any]] = sheet.iter_rows(min_row=options.header_row, values_only=True)
        self._where = f"{location}, sheet {sheet.title!r}"
        self._header_row = options.header_row
        header = list(next(self._rows, ()))
        while header and header[-1] is None:
            header.pop()
        if not header:
            raise InputError(f"{self._where}, row {options.header_row}: has no column names; set header_row in the external block")
        if None in header:
            raise InputError(
                f"{self._where}, row {options.header_row}, column {header.index(None) + 1}: has no name; ask the sender to add one"
            )
        self.columns = tuple(str(name).strip() for name in header)
        if twice := sorted({name for name in self.columns if self.columns.count(name) > 1}):
            raise InputError(f"{self._where}, row {options.header_row}: names {', '.join(map(repr, twice))} more than once")

    def blocks(self) -> Iterator[Block]:
        """
        Yield the rows under the header, except blank ones.

        Raises:
            InputError: a row has a value beyond the header.
        """
        numbers: list[int] = []
        for block in rows.blocks(self._records(numbers)):
            yield rows.at(block, self.columns, numbers)
            del numbers[: block.records]

    def _records(self, numbers: list[int]) -> Iterator[Sequence[Any]]:
        width = len(self.columns)
        for number, row in enumerate(self._rows, self._header_row + 1):
            values = [None if value == "" else value for value in row]
            if any(value is not None for value in values[width:]):
                raise InputError(f"{self._where}, row {number}: has a value in column {width + 1}, which has no name; ask for a correction")
            record = values[:width] + [None] * (width - len(values))
            if any(value is not None for value in record):
                numbers.append(number)
                yield record
