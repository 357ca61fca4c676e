"""Sources that `dpe source infer` cannot read, or could only guess at, are refused with the reason."""

from __future__ import annotations

import io
import json

import openpyxl
import pytest
from support.infer_place import Workplace


def _empty_sheet() -> bytes:
    content = io.BytesIO()
    openpyxl.Workbook().save(content)
    return content.getvalue()


REFUSED: dict[str, tuple[str | bytes | None, list[str], str]] = {
    "empty.csv": ("", [], "data/empty.csv: the file is empty; name one with records"),
    "header.csv": ("a,b\n", [], "data/header.csv: it has no records to inspect; name a source that has some"),
    "nowhere.csv": (None, [], "data/nowhere.csv: this file does not exist; correct the path"),
    "none*.csv": (None, [], "data/none*.csv: no file matches"),
    "twice.csv": ("a,a\n1,2\n", [], "data/twice.csv, line 1: the header names 'a' more than once"),
    "ours.csv": ("_load_id\n1\n", [], "data/ours.csv: none of its column names can be used in PostgreSQL (left out"),
    "old.xls": ("x", [], "data/old.xls: is a workbook from before Excel 2007; save it as .xlsx"),
    "picture.bin": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", [], "data/picture.bin: is not text (it contains a NUL byte)"),
    "letter.txt": (
        "Dear Sir\n\nplease find below\nnothing.\n",
        [],
        "data/letter.txt: cannot detect the format; give it with --format",
    ),
    "broken.json": ('{"a": [', [], "data/broken.json: is not valid JSON"),
    "scalars.json": ('{"a":\n [1]}', [], "data/scalars.json: has no array of records; give its path with --records"),
    "broken.parquet": ("PAR1", [], "data/broken.parquet: cannot be read as Parquet"),
    "broken.xlsx": ("x", [], "data/broken.xlsx: is not an Excel workbook"),
    "orders.sqlite": (
        b"SQLite format 3\0" + bytes(80),
        [],
        "data/orders.sqlite: is a SQLite database; write it as sqlite:///data/orders.sqlite",
    ),
    "words.jsonl": ("a,b\n1,2\n", [], "data/words.jsonl: none of its records is a JSON object with members"),
    "wide.csv": (
        ",".join(f"c{number}" for number in range(20_000)) + "\n" + "," * 19_999 + "\n",
        [],
        "data/wide.csv: has 20,000 columns, and a table can have 1,598 besides dpe's own; name a source with fewer",
    ),
    "wide.jsonl": (
        json.dumps({f"c{number}": number for number in range(20_000)}),
        [],
        "data/wide.jsonl: has 20,000 columns, and a table can have 1,598 besides dpe's own; name a source with fewer",
    ),
    "deep.json": (
        '{"a": [{"b": 1}], "c": ' + "[" * 100_000 + "]" * 100_000 + "}",
        [],
        "data/deep.json: is not valid JSON (it is nested too deeply)",
    ),
    "empty.xlsx": (_empty_sheet(), [], "data/empty.xlsx: the sheet is empty; name one with --sheet (sheets: Sheet)"),
    "narrow.dat": ("abc\ndef\n", ["--format", "fixed_width"], "data/narrow.dat: no position is blank in all of its first 2 lines"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unreadable_sources_are_refused(place: Workplace, name: str) -> None:
    """With the reason, and nothing printed."""
    content, arguments, said = REFUSED[name]
    if content is not None:
        place.deliver(f"data/{name}", content)

    done = place.infer(f"data/{name}", *arguments)

    assert (1, "") == (done.status, done.out)
    assert done.err.startswith(f"Error: {said}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["data/document.json", "--records", "a["], "--records: $.a[: is not valid from character 4 on"),
        (["http://[::1/x"], "LOCATION: is not a valid URL"),
        (["data/comma.csv", "--format", "rest"], "--format rest: needs the address of an API"),
        (["singer:tap-github"], "LOCATION: is a tap, which describes its own streams"),
        (["data/comma.csv", "--format", "sql"], "--format sql: needs the URL of a database"),
        (["data/comma.csv", "--name", "Orders"], "--name: Orders is not a name of a source table"),
        (["https://api.example/x", "--header-line", "x"], "--header-line: is not NAME:VALUE"),
    ],
)
def test_contradictory_options_are_refused(place: Workplace, arguments: list[str], said: str) -> None:
    """As a usage error, before anything is read."""
    done = place.infer(*arguments)

    assert (2, "") == (done.status, done.out)
    assert done.err.startswith(f"Error: {said}")


def test_a_directory_is_refused(place: Workplace) -> None:
    """With the pattern that matches its files."""
    assert "Error: data: is a directory; name the files in it, as in data/*.csv\n" == place.infer("data").err


def test_a_database_without_a_table_is_refused(place: Workplace) -> None:
    """With the existing tables."""
    assert "is a database; name a table with --table (tables: " in place.infer(place.url()).err
    assert "(tables: orders)" in place.infer(f"sqlite:///{place.directory}/data/shop.db").err


def test_files_with_different_columns_are_refused(place: Workplace) -> None:
    """Because a source table has one contract."""
    place.deliver("data/unlike/1.csv", "id,n\n1,1\n")
    place.deliver("data/unlike/2.csv", "id,m\n1,1\n")

    said = (
        "data/unlike/2.csv: has no column 'n', which data/unlike/1.csv has, and has the column 'm', which data/unlike/1.csv does not have"
    )
    assert said in place.infer("data/unlike/*.csv").err


def test_files_with_different_encodings_are_refused(place: Workplace) -> None:
    """ASCII-only files go with either."""
    place.deliver("data/letters/1.csv", "id,t\n1,a\n")
    place.deliver("data/letters/2.csv", "id,t\n1,ü\n".encode("cp1252"))
    assert "cp1252" == place.table("data/letters/*.csv")["external"]["encoding"]

    place.deliver("data/letters/3.csv", "id,t\n1,ü\n")

    said = (
        "data/letters/3.csv: is encoded in utf-8, but data/letters/2.csv in cp1252; a source has one encoding: make them separate sources"
    )
    assert said in place.infer("data/letters/*.csv").err


def test_an_internal_address_needs_an_option(place: Workplace) -> None:
    """As in a source."""
    assert "is in a private network, or is this machine" in place.infer(f"{place.api.url}/records/all").err


@pytest.mark.parametrize("option", [["--records", "$.x"], ["--sheet", "x"], ["--table", "x"]])
def test_an_option_of_another_format_is_refused(place: Workplace, option: list[str]) -> None:
    """Instead of ignoring it."""
    place.deliver("data/plain.csv", "id,note\n1,a\n")

    done = place.infer("data/plain.csv", *option)

    assert (2, f"Error: data/plain.csv: {option[0]} does not apply to csv; leave it out, or give the format with --format\n") == (
        done.status,
        done.err,
    )
