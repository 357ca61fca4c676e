"""
The parts of an Excel workbook that its values need: sheets, texts and which number formats are dates.

openpyxl reads single cells; its own reader of workbooks also reads styles, names, print areas, links and more, for which a
few kilobytes can take hours: the time of many of them grows with the square of what a workbook declares.
"""

from __future__ import annotations

import posixpath
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import IO, Any
from urllib.parse import unquote

from dpe_cli import optional_packages
from dpe_cli.safe_text.visible_text import in_message

# The length of a number format, according to Excel's specifications. openpyxl looks for letters of dates in quadratic time.
_LONGEST_FORMAT = 255
_CHUNK_BYTES = 64 * 1024
_FALSE = {None, "", "0", "f", "false"}
# Kinds of sheets that have no cells.
_WITHOUT_CELLS = {"chartsheet", "dialogsheet"}


class AmbiguousWorkbookError(ValueError):
    """A workbook whose parts or sheets cannot be told apart, or are missing; the text says which ones."""


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
    """
    Read all but the sheets. A broken workbook may raise any error of Python's: openpyxl has few of its own.

    Raises:
        AmbiguousWorkbookError: a sheet's part is missing, or two sheets or two parts have one name.
    """
    openpyxl = _openpyxl()
    constants = openpyxl.xml.constants
    archive = zipfile.ZipFile(file)
    parts = _Parts(archive)
    manifest = openpyxl.packaging.manifest.Manifest.from_tree(parts.tree(constants.ARC_CONTENT_TYPES))
    part = openpyxl.reader.excel._find_workbook_part(manifest).PartName  # noqa: SLF001
    tree = parts.tree(part)
    related = parts.related(part)
    texts = manifest.find(constants.SHARED_STRINGS)
    properties = tree.find("{*}workbookPr")
    counts_from_1904 = properties is not None and properties.get("date1904") not in _FALSE
    dates = openpyxl.utils.datetime
    return Workbook(
        archive,
        _sheets(tree, related, parts),
        _texts(archive, parts.member(texts.PartName)) if texts else [],
        dates.MAC_EPOCH if counts_from_1904 else dates.WINDOWS_EPOCH,
        *_formats_of_dates(parts, related),
    )


@dataclass(frozen=True)
class _Related:
    """What a part refers to: another part, by its name, and of what kind it is."""

    kind: str
    part: str


class _Parts:
    """The parts of a package. Their names are compared as OPC does (ISO/IEC 29500-2, 6.2.2): unquoted, without regard to case."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._members: dict[str, list[str]] = defaultdict(list)
        for member in archive.namelist():
            self._members[_comparable(member)].append(member)

    def has(self, part: str) -> bool:
        return _comparable(part) in self._members

    def member(self, part: str) -> str:
        """Return the name of a part in the zip file, which reads the last one of several with one name."""
        members = self._members.get(_comparable(part), [])
        if not members:
            raise AmbiguousWorkbookError(f"has no part {_named(part)}")
        if len(members) > 1:
            raise AmbiguousWorkbookError(f"has the part {_named(part)} {len(members)} times")
        return members[0]

    def tree(self, part: str) -> Any:
        return _openpyxl().xml.functions.fromstring(self._archive.read(self.member(part)))

    def related(self, part: str) -> dict[str, _Related]:
        """Return what a part refers to, by the ids that the part uses; a relative name begins at the part's folder."""
        folder, name = posixpath.split(part)
        found: dict[str, _Related] = {}
        for element in self.tree(posixpath.join(folder, "_rels", f"{name}.rels")).iterfind("{*}Relationship"):
            relation = element.attrib["Id"]
            if relation in found:
                raise AmbiguousWorkbookError(f"has two parts with the id {_named(relation)}")
            target = element.attrib["Target"]
            is_within = element.get("TargetMode") != "External"
            kind = element.attrib["Type"].rpartition("/")[2]
            found[relation] = _Related(kind, posixpath.join(folder, target) if is_within else target)
        return found


def _comparable(part: str) -> str:
    return posixpath.normpath(f"/{unquote(part)}").lstrip("/").lower()


def _named(text: str) -> str:
    return in_message(repr(text))


def _sheets(workbook: Any, related: Mapping[str, _Related], parts: _Parts) -> dict[str, str]:
    """Return the members with cells by the names of their sheets: without any of them, another one would be the first sheet."""
    constants = _openpyxl().xml.constants
    if workbook.tag != f"{{{constants.SHEET_MAIN_NS}}}workbook":
        # Strict Open XML has other names.
        return {}
    sheets: dict[str, str] = {}
    for sheet in workbook.iterfind("{*}sheets/{*}sheet"):
        name = sheet.attrib["name"]
        target = related.get(sheet.get(f"{{{constants.REL_NS}}}id", ""))
        if target is None:
            raise AmbiguousWorkbookError(f"does not say which part the sheet {_named(name)} is")
        if target.kind in _WITHOUT_CELLS:
            continue
        if name in sheets:
            raise AmbiguousWorkbookError(f"has two sheets {_named(name)}")
        try:
            sheets[name] = parts.member(target.part)
        except AmbiguousWorkbookError as error:
            raise AmbiguousWorkbookError(f"sheet {_named(name)}: {error}") from error
    return sheets


def _openpyxl() -> Any:
    return optional_packages.needed("openpyxl", by="reading Excel")


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


def _formats_of_dates(parts: _Parts, related: Mapping[str, _Related]) -> tuple[frozenset[int], frozenset[int]]:
    """Return which of the cells' styles, counted from 0, have a number format for dates, and which one for durations."""
    openpyxl = _openpyxl()
    numbers = openpyxl.styles.numbers
    # Some programs write the usual part without saying that the workbook has it.
    part = next((found.part for found in related.values() if found.kind == "styles"), openpyxl.xml.constants.ARC_STYLE)
    if part == openpyxl.xml.constants.ARC_STYLE and not parts.has(part):
        return frozenset(), frozenset()
    tree = parts.tree(part)
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
