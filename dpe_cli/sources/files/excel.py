"""Excel workbooks: one sheet, row by row, without holding it in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.blocks.reading import is_out_of_memory, out_of_memory
from dpe_cli.errors import InputError, UsageError
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.sources.files import workbook_parts
from dpe_cli.sources.files.content import Content, Reading
from dpe_cli.sources.files.workbook_parts import AmbiguousWorkbookError, Workbook
from dpe_cli.sources.options.files import ExcelFiles
from dpe_cli.sources.read import rows

# The size of a sheet, according to Excel's specifications.
_MOST_ROWS = 1_048_576
_MOST_COLUMNS = 16_384
_MOST_NAMES_SHOWN = 5
_SHOWN_CHARACTERS = 200


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
        yield OpenedSheet(sheet, options)


@contextmanager
def workbook(content: Content) -> Iterator[Workbook]:
    """
    Open a workbook.

    Raises:
        InputError: it is not one, or misses a part, or has two sheets or parts of one name.
    """
    with content.on_disk() as path, path.open("rb") as file:
        try:
            found = workbook_parts.read(file)
        except UsageError:
            raise
        except AmbiguousWorkbookError as error:
            raise InputError(f"{content.location}: {error}; ask the sender to save the workbook again with Excel") from error
        # A broken workbook may raise any error of Python's: openpyxl has few of its own.
        except Exception as error:
            if is_out_of_memory(error):
                raise out_of_memory(content.location) from error
            raise InputError(f"{content.location}: is not an Excel workbook ({_message(error)}); deliver it as .xlsx") from error
        try:
            yield found
        finally:
            found.archive.close()


def sheet_of(found: Workbook, name: str | None, *, location: str) -> Sheet:
    """
    Return the sheet with this name, or the first one; sheets of charts do not count.

    Raises:
        InputError: it has no such sheet.
    """
    sheets = found.sheets
    if not sheets:
        raise InputError(
            f"{location}: has no sheet with cells, or is saved as Strict Open XML; ask the sender to save it as ordinary .xlsx"
        )
    if name is not None and name not in sheets:
        raise InputError(
            f"{location}: has no sheet {name!r}; correct `sheet` in the external block (sheets: {', '.join(map(in_message, sheets))})"
        )
    return Sheet(found, name or next(iter(sheets)), location=location)


class Sheet:
    """A sheet of an open workbook; `where` is what messages call it."""

    def __init__(self, found: Workbook, name: str, *, location: str) -> None:
        self._workbook = found
        self._part = found.sheets[name]
        self.where = f"{location}, sheet {in_message(repr(name))}"

    def rows(self) -> Iterator[tuple[int, list[Any]]]:
        """
        Yield the rows that the file has, with their numbers; their values end with the last one that is not empty.

        openpyxl's own iterator fills gaps with blank rows, up to any number, and leaves out rows and cells that are out of order.

        Raises:
            InputError: the sheet is broken, larger than Excel's, or not in order.
        """
        previous = 0
        found = self._workbook.rows(self._part)
        while True:
            try:
                row = next(found, None)
            # As for the whole workbook.
            except Exception as error:
                if is_out_of_memory(error):
                    raise out_of_memory(self.where) from error
                raise InputError(
                    f"{self.where}, after row {previous}: cannot be read ({_message(error)}); ask the sender to send it again"
                ) from error
            if row is None:
                return
            number, cells = row
            if number > _MOST_ROWS:
                raise self._broken(f"has a row {number:,}, but a sheet has at most {_MOST_ROWS:,} rows")
            if number <= previous:
                raise self._broken(f"row {number:,} comes after row {previous:,}")
            yield number, self._values(number, cells)
            previous = number

    def _values(self, number: int, cells: Sequence[Any]) -> list[Any]:
        values: list[Any] = []
        previous = 0
        for cell in cells:
            column = cell["column"]
            if column > _MOST_COLUMNS:
                raise self._broken(f"row {number:,} has a column {column:,}, but a sheet has at most {_MOST_COLUMNS:,} columns")
            if column <= previous:
                raise self._broken(f"row {number:,}: column {column:,} comes after column {previous:,}")
            previous = column
            value = cell["value"]
            if value is not None and value != "":
                values += [None] * (column - 1 - len(values))
                values.append(value)
        return values

    def _broken(self, what: str) -> InputError:
        return InputError(f"{self.where}: {what}; ask the sender to save the workbook again with Excel")


def _message(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


class OpenedSheet:
    """A sheet whose header has been read."""

    dialect: Dialect = rows.DIALECT

    def __init__(self, sheet: Sheet, options: ExcelFiles) -> None:
        self._where = sheet.where
        self._rows = ((number, values) for number, values in sheet.rows() if number >= options.header_row)
        at, header = next(self._rows, (0, []))
        if at != options.header_row or not header:
            raise InputError(f"{self._where}, row {options.header_row}: has no column names; set header_row in the external block")
        if None in header:
            raise InputError(
                f"{self._where}, row {options.header_row}, column {header.index(None) + 1}: has no name; ask the sender to add one"
            )
        self.columns = tuple(str(name).strip() for name in header)
        if twice := sorted(name for name, count in Counter(self.columns).items() if count > 1):
            listed = ", ".join(map(repr, twice[:_MOST_NAMES_SHOWN]))
            more = f" and {len(twice) - _MOST_NAMES_SHOWN} others" if len(twice) > _MOST_NAMES_SHOWN else ""
            raise InputError(f"{self._where}, row {options.header_row}: names {listed}{more} more than once; ask for distinct names")

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
        for number, values in self._rows:
            if len(values) > width:
                column = next(column for column in range(width, len(values)) if values[column] is not None) + 1
                raise InputError(f"{self._where}, row {number}: has a value in column {column}, which has no name; ask for a correction")
            if values:
                numbers.append(number)
                yield values + [None] * (width - len(values))
