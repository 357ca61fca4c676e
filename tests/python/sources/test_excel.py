"""Workbooks: one sheet, with the columns of its header, and a reject for each row that does not fit."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

import openpyxl
import pytest
from support.staged_source import Stage

from dpe_cli import machine
from dpe_cli.errors import InputError
from dpe_cli.problems import of_error

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


def test_a_date_is_known_by_its_number_format(stage: Stage) -> None:
    """One of Excel's own, of the workbook, or of a style with a name; text in quotes is none."""
    workbook = openpyxl.Workbook()
    workbook.epoch = openpyxl.utils.datetime.MAC_EPOCH
    workbook.add_named_style(openpyxl.styles.NamedStyle("day", number_format="d. mmm yyyy"))
    sheet = workbook.active
    sheet.append(["format", "value"])
    for row, number_format in enumerate(["mm-dd-yy", "dd/mm/yyyy", "[h]:mm", '0 "days"'], 2):
        sheet.append([number_format, 1])
        sheet.cell(row, 2).number_format = number_format
    sheet.append(["day", 1])
    sheet.cell(6, 2).style = "day"
    content = io.BytesIO()
    workbook.save(content)
    source = stage("format text, value text", file_format="excel", location="*.xlsx").deliver(content.getvalue(), "a.xlsx")

    source.extract()

    day = "1904-01-02 00:00:00"
    assert {"mm-dd-yy": day, "dd/mm/yyyy": day, "[h]:mm": "1 days 0.000000 seconds", '0 "days"': "1", "day": day} == dict(source.rows())


GOOD = _workbook(A=[("id", "name"), (1, "a"), (2, "b")])
SHEET, BOOK = "xl/worksheets/sheet1.xml", "xl/workbook.xml"
TWO_SHEETS, SECOND_SHEET = _workbook(A=[("id", "name"), (1, "a"), (2, "b")], B=[("id", "name"), (9, "z")]), "xl/worksheets/sheet2.xml"
TYPES, RELATED, STYLES = "[Content_Types].xml", "xl/_rels/workbook.xml.rels", "xl/styles.xml"
ZIP_ENTRY = b"PK\x01\x02"


def _changed(part: str, change: Callable[[bytes], bytes | None]) -> bytes:
    """Return the good workbook with another content of a part; None leaves the part out."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as old, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = change(old.read(name)) if name == part else old.read(name)
            if data is not None:
                new.writestr(name, data)
    return content.getvalue()


def _replaced(old: bytes, new: bytes, part: str = SHEET) -> bytes:
    assert old in _part(part)
    return _changed(part, lambda data: data.replace(old, new))


def _part(part: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(GOOD)) as archive:
        return archive.read(part)


def _two_sheets(part: str, old: bytes, new: bytes, *, renamed: str | None = None) -> bytes:
    """Return a workbook of two sheets with another content, or another name, of a part."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(TWO_SHEETS)) as archive, zipfile.ZipFile(content, "w") as changed:
        assert old in archive.read(part)
        for name in archive.namelist():
            data = archive.read(name)
            changed.writestr((renamed or name) if name == part else name, data.replace(old, new) if name == part else data)
    return content.getvalue()


def _with_another(name: str, part: str) -> bytes:
    """Return a workbook of two sheets, and another member of this name with the content of a part."""
    content = io.BytesIO(TWO_SHEETS)
    with zipfile.ZipFile(content, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(name, archive.read(part))
    return content.getvalue()


def _with_entries(place: int, value: int) -> bytes:
    """Set a byte of every entry in the directory of the zip file."""
    data = bytearray(GOOD)
    start = data.find(ZIP_ENTRY)
    while start >= 0:
        data[start + place] = value
        start = data.find(ZIP_ENTRY, start + 4)
    return bytes(data)


def _with_broken_deflate() -> bytes:
    with zipfile.ZipFile(io.BytesIO(GOOD)) as archive:
        start = archive.getinfo(SHEET).header_offset + 30 + len(SHEET)
    return GOOD[: start + 20] + b"\xff" * 40 + GOOD[start + 60 :]


def _of_charts() -> bytes:
    workbook = openpyxl.Workbook()
    workbook.create_chartsheet("C")
    workbook.remove(workbook.active)
    content = io.BytesIO()
    workbook.save(content)
    return content.getvalue()


def _strict() -> bytes:
    """Return the good workbook with the names of Strict Open XML (ISO/IEC 29500-1)."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            data = old.read(name).replace(
                b"http://schemas.openxmlformats.org/spreadsheetml/2006/", b"http://purl.oclc.org/ooxml/spreadsheetml/"
            )
            data = data.replace(b"http://schemas.openxmlformats.org/officeDocument/2006/", b"http://purl.oclc.org/ooxml/officeDocument/")
            new.writestr(name, data)
    return content.getvalue()


BROKEN: dict[str, tuple[bytes, str]] = {
    "sheet: cut off": (_changed(SHEET, lambda data: data[:-40]), "sheet 'A', after row 3: cannot be read \\(ParseError: "),
    "workbook: cut off": (_changed(BOOK, lambda data: data[:-40]), "is not an Excel workbook \\(ParseError: "),
    "styles: not XML": (_changed("xl/styles.xml", lambda _: b"<a"), "is not an Excel workbook \\(ParseError: "),
    "styles: a long number format": (
        _changed(
            "xl/styles.xml",
            lambda data: (
                re.sub(b"<numFmts.*</numFmts>", b"", data)
                .replace(
                    b"<fonts", b'<numFmts count="1"><numFmt numFmtId="164" formatCode="%b"/></numFmts><fonts' % (b"[&quot;" * 1_000_000), 1
                )
                .replace(b'numFmtId="0"', b'numFmtId="164"')
            ),
        ),
        "is not an Excel workbook \\(ValueError: a number format has 2,000,000 characters",
    ),
    "no sheet": (_changed(BOOK, lambda data: re.sub(rb"<sheets>.*</sheets>", b"<sheets/>", data)), "has no sheet with cells"),
    "sheet: missing": (_changed(SHEET, lambda _: None), "sheet 'A': has no part '/xl/worksheets/sheet1.xml'; ask the sender to save"),
    "sheet: of no part": (_replaced(b' r:id="rId1"', b' r:id=""', BOOK), "does not say which part the sheet 'A' is; ask"),
    "sheet: of an unknown part": (_replaced(b"rId1", b"rId9", BOOK), "does not say which part the sheet 'A' is; ask"),
    "sheet: one name twice": (_two_sheets(BOOK, b'name="B"', b'name="A"'), "has two sheets 'A'; ask the sender to save"),
    "part: twice": (_with_another(SHEET, SECOND_SHEET), "sheet 'A': has the part '/xl/worksheets/sheet1.xml' 2 times; ask"),
    "part: twice, but for case": (_with_another("xl/worksheets/SHEET1.xml", SECOND_SHEET), "sheet 'A': has the part '.*' 2 times; ask"),
    "part: texts twice": (_with_another(STYLES, STYLES), "has the part '/xl/styles.xml' 2 times; ask"),
    "part: an id twice": (_replaced(b'Id="rId2"', b'Id="rId1"', RELATED), "has two parts with the id 'rId1'; ask"),
    "only charts": (_of_charts(), "has no sheet with cells"),
    "number: text": (_replaced(b"<v>1<", b"<v>abc<"), "sheet 'A', after row 1: cannot be read \\(ValueError: "),
    "number: long": (_replaced(b"<v>1<", b"<v>%b<" % (b"1" * 5000)), "sheet 'A', after row 1: cannot be read \\(ValueError: "),
    "text: unknown": (
        _replaced(b'<c r="A2" t="n">', b'<c r="A2" t="s">'),
        "sheet 'A', after row 1: cannot be read \\(IndexError: ",
    ),
    "date: impossible": (
        _replaced(b'<c r="A2" t="n"><v>1<', b'<c r="A2" t="d"><v>99999-99-99<'),
        "sheet 'A', after row 1: cannot be read \\(ValueError: ",
    ),
    "cell: impossible": (_replaced(b'r="A2"', b'r="ZZZZZZZ2"'), "sheet 'A', after row 1: cannot be read \\(ValueError: "),
    "cell: beyond the last": (
        _replaced(b'r="B2"', b'r="ZZZ2"'),
        "sheet 'A': row 2 has a column 18,278, but a sheet has at most 16,384 columns",
    ),
    "cell: out of order": (_replaced(b'r="A2"', b'r="C2"'), "sheet 'A': row 2: column 2 comes after column 3"),
    "cell: twice": (_replaced(b'r="B2"', b'r="A2"'), "sheet 'A': row 2: column 1 comes after column 1"),
    "row: text": (_replaced(b'<row r="2"', b'<row r="x"'), "sheet 'A', after row 1: cannot be read \\(ValueError: "),
    "row: infinite": (_replaced(b'<row r="2"', b'<row r="inf"'), "sheet 'A', after row 1: cannot be read \\("),
    "row: beyond the last": (
        _replaced(b'<row r="3"', b'<row r="999999999"'),
        "sheet 'A': has a row 999,999,999, but a sheet has at most 1,048,576",
    ),
    "row: out of order": (_replaced(b'<row r="2"', b'<row r="9"'), "sheet 'A': row 3 comes after row 9"),
    "row: twice": (_replaced(b'<row r="3"', b'<row r="2"'), "sheet 'A': row 2 comes after row 2"),
    "row: zero": (_replaced(b'<row r="2"', b'<row r="0"'), "sheet 'A': row 0 comes after row 1"),
    "control character": (_replaced(b"<v>1<", b"<v>\x011<"), "sheet 'A', after row 1: cannot be read \\(ParseError: "),
    "strict": (_strict(), "has no sheet with cells, or is saved as Strict Open XML; ask the sender to save it as ordinary .xlsx"),
    "encrypted": (_with_entries(8, 1), "is not an Excel workbook \\(RuntimeError: "),
    "unknown compression": (_with_entries(10, 99), "is not an Excel workbook \\(NotImplementedError: "),
    "broken compression": (_with_broken_deflate(), "sheet 'A', after row 0: cannot be read \\(error: "),
    "cut off": (GOOD[:2000], "is not an Excel workbook \\(BadZipFile: "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_workbook_is_refused(stage: Stage, name: str) -> None:
    """Nothing in it is taken for a bug of dpe; nor does openpyxl leave out what is out of order, or fill gaps forever."""
    content, said = BROKEN[name]
    source = stage("id integer, name text", file_format="excel", location="*.xlsx").deliver(content, "a.xlsx")

    with pytest.raises(InputError, match=f"^a.xlsx[:,] ({said})"):
        source.extract()
    assert 0 == source.count()


SHARED = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
NAMESPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
TEXTS = (
    f"<sst {NAMESPACE}><si><t>one</t></si><si><r><rPr><b/><sz val='9'/></rPr><t>t</t></r><r><t>wo</t></r>"
    "<rPh sb='0' eb='1'><t>zwei</t></rPh><phoneticPr fontId='1'/></si></sst>"
)


def _with(**parts: bytes) -> bytes:
    """Return the good workbook with other parts, which may be new."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as old, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as new:
        for name in dict.fromkeys([*old.namelist(), *parts]):
            new.writestr(name, parts[name] if name in parts else old.read(name))
    return content.getvalue()


def _with_texts(texts: str) -> bytes:
    """Return the good workbook, whose texts are the first and the second one that its cells share."""
    shared = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{SHARED}"/></Types>'.encode()
    sheet = _part(SHEET)
    for number, name in enumerate([b"a", b"b"]):
        sheet, count = re.subn(rb't="inlineStr"><is><t>%b</t></is>' % name, b't="s"><v>%d</v>' % number, sheet)
        assert count == 1
    return _with(**{TYPES: _part(TYPES).replace(b"</Types>", shared), SHEET: sheet, "xl/sharedStrings.xml": texts.encode()})


def test_cells_share_texts(stage: Stage) -> None:
    """As Excel writes them: without their formats and how they are pronounced."""
    source = stage("id integer, name text", file_format="excel", location="*.xlsx").deliver(_with_texts(TEXTS), "a.xlsx")

    source.extract()

    assert [(1, "one"), (2, "two")] == source.rows()


def _with_styles(count: int) -> bytes:
    """Return the good workbook with very many named styles, each with its own number format."""
    formats = "".join(f'<numFmt numFmtId="{200 + number}" formatCode="0.{"0" * (number % 200)}"/>' for number in range(count))
    of_names = "".join(f'<xf numFmtId="{200 + number}"/>' for number in range(count))
    names = "".join(f'<cellStyle name="s{number}" xfId="{number}"/>' for number in range(count))
    return _with(
        **{
            STYLES: (
                f"<styleSheet {NAMESPACE}><numFmts>{formats}</numFmts><fonts><font/></fonts><fills><fill><patternFill/></fill></fills>"
                f"<borders><border/></borders><cellStyleXfs>{of_names}</cellStyleXfs>"
                f'<cellXfs><xf numFmtId="0"/><xf numFmtId="0"/></cellXfs><cellStyles>{names}</cellStyles></styleSheet>'
            ).encode()
        }
    )


def _with_links(count: int) -> bytes:
    """Return the good workbook with as many links to one other workbook as that has sheets."""
    namespace = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    link = f'<externalReference xmlns:r="{namespace}" r:id="other"/>'
    related = f'<Relationship Type="{namespace}/externalLink" Target="/xl/other.xml" Id="other"/>'
    of_link = f'<Relationships><Relationship Type="{namespace}/externalLinkPath" Target="x" TargetMode="External" Id="x"/></Relationships>'
    sheets = "".join(f'<sheetName val="s{number}"/>' for number in range(count))
    return _with(
        **{
            BOOK: _part(BOOK).replace(b"</sheets>", f"</sheets><externalReferences>{link * count}</externalReferences>".encode()),
            RELATED: _part(RELATED).replace(b"</Relationships>", f"{related}</Relationships>".encode()),
            "xl/other.xml": (
                f'<externalLink {NAMESPACE}><externalBook xmlns:r="{namespace}" r:id="x"><sheetNames>{sheets}</sheetNames>'
                "</externalBook></externalLink>"
            ).encode(),
            "xl/_rels/other.xml.rels": of_link.encode(),
        }
    )


def _with_sheets(count: int) -> bytes:
    """Return the good workbook with very many names for its sheet, in which as many blank rows follow, and which does not say its size."""
    relations = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    names = b"".join(
        b'<sheet xmlns:r="%b" name="A%d" sheetId="%d" r:id="rId1"/>' % (relations, number, number + 2) for number in range(count)
    )
    sheet = re.sub(rb"<dimension[^>]*>", b"", _part(SHEET)).replace(b"</sheetData>", b"<row/>" * count + b"</sheetData>")
    return _with(**{BOOK: _part(BOOK).replace(b"</sheets>", names + b"</sheets>"), SHEET: sheet})


AREA = b'</sheets><definedNames><definedName name="_xlnm.Print_Area" localSheetId="0">%b</definedName></definedNames>'
# Made by the test that needs it. Most are a few kilobytes.
UNNEEDED: dict[str, Callable[[], bytes]] = {
    "a print area": lambda: _changed(BOOK, lambda data: re.sub(rb"</sheets>(<definedNames ?/>)?", AREA % (b"'" * 100_000), data)),
    "styles": lambda: _with_styles(30_000),
    "links": lambda: _with_links(3000),
    "names of one sheet": lambda: _with_sheets(10_000),
    "a comment": lambda: _replaced(b"<sheetData>", b"<!--%b--><sheetData>" % (b"x" * 50_000_000)),
    "a comment among texts": lambda: _with_texts(TEXTS.replace("<si>", f"<!--{'x' * 50_000_000}--><si>", 1)),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", UNNEEDED)
def test_what_values_do_not_need_takes_no_time(stage: Stage, name: str) -> None:
    """openpyxl would read it in quadratic time, and more."""
    source = stage("id integer, name text", file_format="excel", location="*.xlsx").deliver(UNNEEDED[name](), "a.xlsx")

    source.extract()

    assert 2 == source.count()


BIG = 150_000_000
# Both are about 150 kB.
BOMBS = {
    "a cell": (SHEET, b"<v>1<", lambda: b"<v>%b<" % (b"1" * BIG)),
    "styles": ("xl/styles.xml", b"<fonts", lambda: b"<fonts>%b</fonts><fonts" % (b"<font/>" * (BIG // 7))),
}


@pytest.mark.skipif(machine._data_size() is None, reason="only Linux says how much memory a process has")
@pytest.mark.parametrize(("part", "old", "new"), BOMBS.values(), ids=BOMBS)
def test_a_workbook_that_takes_too_much_memory_is_refused(
    stage: Stage, part: str, old: bytes, new: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zip file unpacks to a thousand times its size."""
    source = stage("id integer, name text", file_format="excel", location="*.xlsx").deliver(_replaced(old, new(), part), "a.xlsx")
    monkeypatch.setattr(machine, "_MOST_OF_A_READER", 200_000_000)

    with pytest.raises(InputError, match=r"^a.xlsx.*: reading it takes more than 200.0 MB of memory, the limit"):
        source.extract()


def test_a_sheet_of_charts_is_skipped(stage: Stage) -> None:
    """The first sheet with cells is read."""
    workbook = openpyxl.load_workbook(io.BytesIO(GOOD))
    chart = openpyxl.chart.BarChart()
    chart.add_data(openpyxl.chart.Reference(workbook["A"], min_col=1, min_row=1, max_row=3))
    workbook.create_chartsheet("C", 0).add_chart(chart)
    content = io.BytesIO()
    workbook.save(content)
    source = stage("id integer, name text", file_format="excel", location="*.xlsx").deliver(content.getvalue(), "a.xlsx")

    source.extract()
    assert [(1, "a"), (2, "b")] == source.rows()
    source.declare(sheet="C", disposition="replace")
    with pytest.raises(InputError, match=r"^a.xlsx: has no sheet 'C'; correct `sheet` in the external block \(sheets: A\)"):
        source.extract(full_refresh=True)


TARGET = b"/xl/worksheets/sheet1.xml"
OTHER_NAMES = {
    "case of the part": _two_sheets(SHEET, b"", b"", renamed="xl/worksheets/Sheet1.xml"),
    "case of the name": _two_sheets(RELATED, TARGET, b"/XL/Worksheets/SHEET1.xml"),
    "this folder": _two_sheets(RELATED, TARGET, b"./worksheets/./sheet1.xml"),
    "the folder above": _two_sheets(RELATED, TARGET, b"../xl/worksheets/sheet1.xml"),
    "this folder, from the root": _two_sheets(RELATED, TARGET, b"/xl/./worksheets//sheet1.xml"),
    "quoted": _two_sheets(RELATED, TARGET, b"worksheets/sheet%31.xml"),
    "quoted part": _two_sheets(SHEET, b"", b"", renamed="xl/worksheets/sheet%31.xml"),
    "case of the workbook": _two_sheets(TYPES, b"/xl/workbook.xml", b"/XL/Workbook.xml"),
    "case of the content types": _two_sheets(TYPES, b"", b"", renamed="[content_types].xml"),
    "case of what belongs to the workbook": _two_sheets(RELATED, b"", b"", renamed="xl/_Rels/workbook.xml.rels"),
}


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_the_first_sheet_is_found_under_each_form_of_its_name(stage: Stage, name: str) -> None:
    """Another sheet is not read instead."""
    source = stage("id integer, name text", file_format="excel", location="*.xlsx").deliver(OTHER_NAMES[name], "a.xlsx")

    source.extract()

    assert [(1, "a"), (2, "b")] == source.rows()


@pytest.mark.parametrize("name", ["xl/Styles.xml", "xl/formats.xml"])
def test_dates_are_known_under_each_name_of_the_styles(stage: Stage, name: str) -> None:
    """Without the styles, a date would be a number."""
    content = io.BytesIO()
    dated = _workbook(A=[("id", "day"), (1, date(2024, 5, 1))])
    with zipfile.ZipFile(io.BytesIO(dated)) as old, zipfile.ZipFile(content, "w") as new:
        for part in old.namelist():
            new.writestr(name if part == STYLES else part, old.read(part).replace(b'Target="styles.xml"', f'Target="/{name}"'.encode()))
    source = stage("id integer, day text", file_format="excel", location="*.xlsx").deliver(content.getvalue(), "a.xlsx")

    source.extract()

    assert [(1, "2024-05-01 00:00:00")] == source.rows()


def test_a_sheet_of_a_dialog_is_skipped(stage: Stage) -> None:
    """It has no cells."""
    kind = b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/%b" '
    content = _two_sheets(RELATED, kind % b"worksheet" + b'Target="/xl/worksheets/sheet1.xml"', kind % b"dialogsheet" + b'Target="/x"')
    source = stage("id integer, name text", file_format="excel", location="*.xlsx").deliver(content, "a.xlsx")

    source.extract()

    assert [(9, "z")] == source.rows()


def test_a_formula_without_a_value_is_null(stage: Stage) -> None:
    """A program wrote it that computes nothing."""
    content = _replaced(b'<c r="A3" t="n"><v>2</v></c>', b'<c r="A3"><f>1+1</f></c>')
    source = stage("id integer, name text", file_format="excel", location="*.xlsx").deliver(content, "a.xlsx")

    source.extract()

    assert [(1, "a"), (None, "b")] == source.rows()


def test_the_day_that_1900_did_not_have_is_the_one_before(stage: Stage) -> None:
    """Excel counts a February 29, 1900."""
    workbook = openpyxl.Workbook()
    workbook.active.append(["day"])
    for serial in (1, 59, 60, 61):
        workbook.active.append([serial])
        workbook.active.cell(workbook.active.max_row, 1).number_format = "yyyy-mm-dd"
    content = io.BytesIO()
    workbook.save(content)
    source = stage("day date", file_format="excel", location="*.xlsx").deliver(content.getvalue(), "a.xlsx")

    source.extract()

    assert [(date(1900, 1, 1),), (date(1900, 2, 28),), (date(1900, 2, 28),), (date(1900, 3, 1),)] == source.rows()


def test_the_name_of_a_sheet_does_not_say_what_to_do(stage: Stage) -> None:
    """A program would read it as dpe's advice."""
    source = stage("id integer", file_format="excel", location="*.xlsx", sheet="B")
    source.deliver(_workbook(**{"A; run x, or y": [("id",)]}), "a.xlsx")

    with pytest.raises(InputError) as refused:
        source.extract()

    problem = of_error(refused.value)
    assert problem.fix is not None
    assert problem.fix.startswith("correct `sheet` in the external block (sheets: A")


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
