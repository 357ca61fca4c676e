"""
The parts of an Excel workbook that its values need: sheets, texts and which number formats are dates.

openpyxl reads single cells; its own reader of workbooks also reads styles, names, print areas, links and more, for which a
few kilobytes can take hours: the time of many of them grows with the square of what a workbook declares.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import IO, Any

from dpe_cli import optional_packages

# The length of a number format, according to Excel's specifications. openpyxl looks for letters of dates in quadratic time.
_LONGEST_FORMAT = 255
_CHUNK_BYTES = 64 * 1024
_FALSE = {None, "", "0", "f", "false"}


@dataclass(frozen=True)
class Workbook:
    """An open workbook; `sheets` are the parts of its sheets with cells, by their names, and the formats are numbers of cells' styles."""

    archive: zipfile.ZipFile
    sheets: Mapping[str, str]
    texts: Sequence[str]
    epoch: datetime
    date_formats: frozenset[int]
    timedelta_formats: frozenset[int]

    def rows(self, part: str) -> Iterator[tuple[int, Sequence[Any]]]:
        """Yield the rows of a sheet that the file has, with their numbers, as openpyxl reads them."""
        reader = _openpyxl().worksheet._reader  # noqa: SLF001
        with self.archive.open(part) as source:
            parser = reader.WorkSheetParser(
                source,
                self.texts,
                data_only=True,
                epoch=self.epoch,
                date_formats=self.date_formats,
                timedelta_formats=self.timedelta_formats,
            )
            for element in _elements(source):
                if element.tag == reader.ROW_TAG:
                    row = parser.parse_row(element)
                    element.clear()
                    yield row


def read(file: IO[bytes]) -> Workbook:
    """Read all but the sheets. A broken workbook may raise any error of Python's: openpyxl has few of its own."""
    openpyxl = _openpyxl()
    constants, relationship = openpyxl.xml.constants, openpyxl.packaging.relationship
    archive = zipfile.ZipFile(file)
    manifest = openpyxl.packaging.manifest.Manifest.from_tree(_tree(archive, constants.ARC_CONTENT_TYPES))
    part = openpyxl.reader.excel._find_workbook_part(manifest).PartName[1:]  # noqa: SLF001
    texts = manifest.find(constants.SHARED_STRINGS)
    tree = _tree(archive, part)
    related = relationship.get_dependents(archive, relationship.get_rels_path(part)).to_dict()
    parts = set(archive.namelist())
    sheets: dict[str, str] = {}
    for sheet in tree.iterfind("{*}sheets/{*}sheet"):
        # A Strict Open XML workbook has other names, and so no sheet that has this one.
        if found := sheet.get(f"{{{constants.REL_NS}}}id"):
            target, kind = related[found].Target, related[found].Type
            if target in parts and "chartsheet" not in kind:
                sheets[sheet.attrib["name"]] = target
    properties = tree.find("{*}workbookPr")
    counts_from_1904 = properties is not None and properties.get("date1904") not in _FALSE
    dates = openpyxl.utils.datetime
    return Workbook(
        archive,
        sheets,
        _texts(archive, texts.PartName[1:]) if texts else [],
        dates.MAC_EPOCH if counts_from_1904 else dates.WINDOWS_EPOCH,
        *_formats_of_dates(archive),
    )


def _openpyxl() -> Any:
    return optional_packages.needed("openpyxl", by="reading Excel")


def _tree(archive: zipfile.ZipFile, part: str) -> Any:
    return _openpyxl().xml.functions.fromstring(archive.read(part))


class _Chunks:
    """What `iterparse` reads: more each time until an element ends, because expat reads a token again from its start with each chunk."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.size = _CHUNK_BYTES

    def read(self, _: int) -> bytes:
        chunk = self._source.read(self.size)
        self.size *= 2
        return chunk


def _elements(source: IO[bytes]) -> Iterator[Any]:
    """Yield the elements of a part when they end."""
    chunks = _Chunks(source)
    for _, element in _openpyxl().xml.functions.iterparse(chunks):
        chunks.size = _CHUNK_BYTES
        yield element


def _texts(archive: zipfile.ZipFile, part: str) -> list[str]:
    """Return the texts that cells share, as openpyxl does."""
    openpyxl = _openpyxl()
    tag = f"{{{openpyxl.xml.constants.SHEET_MAIN_NS}}}si"
    found: list[str] = []
    with archive.open(part) as source:
        for element in _elements(source):
            if element.tag == tag:
                found.append(openpyxl.cell.text.Text.from_tree(element).content.replace("x005F_", ""))
                element.clear()
    return found


def _formats_of_dates(archive: zipfile.ZipFile) -> tuple[frozenset[int], frozenset[int]]:
    """Return which of the cells' styles, counted from 0, have a number format for dates, and which one for durations."""
    openpyxl = _openpyxl()
    numbers, part = openpyxl.styles.numbers, openpyxl.xml.constants.ARC_STYLE
    if part not in archive.NameToInfo:
        return frozenset(), frozenset()
    tree = _tree(archive, part)
    codes = dict(numbers.BUILTIN_FORMATS)
    codes |= {int(custom.get("numFmtId")): custom.get("formatCode") for custom in tree.iterfind("{*}numFmts/{*}numFmt")}

    @cache
    def kinds(number_format: int) -> tuple[bool, bool]:
        code = codes.get(number_format)
        if code is not None and len(code) > _LONGEST_FORMAT:
            raise ValueError(f"a number format has {len(code):,} characters, and Excel's have at most {_LONGEST_FORMAT}")
        return numbers.is_date_format(code), numbers.is_timedelta_format(code)

    of_styles = [kinds(int(style.get("numFmtId", 0))) for style in tree.iterfind("{*}cellXfs/{*}xf")]
    return (
        frozenset(index for index, (is_date, _) in enumerate(of_styles) if is_date),
        frozenset(index for index, (_, is_duration) in enumerate(of_styles) if is_duration),
    )
