"""`dpe source infer` loads the odd files that it looked at, or says what is wrong with them, and that a header is a guess."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import openpyxl
import pytest
from support.infer_place import Workplace

GUESS = "whether the first record is a header is a guess, because all below it is text"
COUNTRIES = '"Aruba","AW","AA"\n"Benin","BJ","BN"\n"Chad","TD","CD"\n'


def _workbook(*rows: list[Any]) -> bytes:
    workbook, content = openpyxl.Workbook(), io.BytesIO()
    assert workbook.active is not None
    for row in rows:
        workbook.active.append(row)
    workbook.save(content)
    return content.getvalue()


# The content, how many rows and rejects it becomes, and what the comments say.
ODD: dict[str, tuple[str | bytes, int, int, str]] = {
    "countries.csv": (COUNTRIES, 3, 0, f"# {GUESS}: --header reads names from it"),
    "nameless_texts.csv": (COUNTRIES.replace("Aruba", ""), 3, 0, GUESS),
    "repeated_texts.csv": ("a,a\nx,y\nz,w\n", 3, 0, GUESS),
    "addresses.csv": ("ann@a.example,Ann\nbob@bee.example,Bo\ncid@c.example,Cid\n", 3, 0, GUESS),
    "texts.csv": ("name,home\nAnn,Rome\nBob,Stockholm\n", 2, 0, f"# {GUESS}: --no-header reads it as a record"),
    "index.csv": (",n\n0,a\n1,b\n", 2, 0, "left out"),
    "quoted.csv": ('"id","amt","d"\n"1","","2024-01-01"\n"2","3.5",""\n', 2, 0, "inferred from 2 records"),
    "semicolon.csv": ("a;b\n1;2,5\n2;3,5\n", 2, 0, "inferred"),
    "blank_end.csv": ("a,b\n1,2\n3,4\n\n\n", 2, 2, "2 records cannot be read like the others, the first at odd/blank_end.csv, line 4"),
    "footer.csv": ("a,b\n1,2\n3,4\nTotal: 2\n", 2, 1, "1 record cannot be read like the others"),
    "trailing.csv": ("a,b,\n1,2,\n3,4,\n", 2, 0, "left out"),
    "cases.csv": ("first name,ID,id\nA,1,2\nC,3,4\n", 2, 0, "inferred"),
    "marked.csv": ('\ufeff"id","n"\r\n"1","x"\r\n', 1, 0, "inferred"),
    "times.csv": ("a,b,c\n2024-01-01 24:00:00,infinity,2024-02-30\n2024-01-01 00:00:00,2024-01-01,2024-01-01\n", 2, 0, "inferred"),
    "numbers.csv": (f"a,b,c,d,e,f\n1e400,{'9' * 400},NaN,0x1F,+1,.5\n2,3,4,5,6,-0.0\n", 2, 0, "inferred"),
    "years.csv": ("a,b\n0001-01-01,9999-12-31\n0044-03-15,2024-01-01\n", 2, 0, "inferred"),
    "zones.csv": ("a\n2024-01-01T10:00:00+14:00\n2024-01-01T10:00:00+14:59\n2024-01-01 10:00:00-0930\n", 3, 0, "inferred"),
    "words.csv": ("a,b,c\nNA,-,null\n1,2,3\n,,\n", 3, 0, "inferred"),
    "hidden.csv": ("a\u200b,b\x01\n1,2\n", 1, 0, "inferred"),
    "mixed.jsonl": ('{"a": 1}\n{"a": "x", "b": {"c": 1}}\n{"a": null, "b": 3}\n', 3, 0, "inferred"),
    "large.jsonl": ('{"a": 123456789012345678901234567890, "b": 1e400}\n', 1, 0, "inferred"),
    "titled.xlsx": (_workbook(["Report"], [], ["id", "at"], [1, datetime(2024, 1, 1)], [2, None]), 2, 0, "inferred"),
    "texts.xlsx": (_workbook(["name", "home"], ["Ann", "Rome"]), 1, 0, f"{GUESS}: row 1 is not loaded, whatever it is"),
    "accents.dat": ("Müller   10\nÅse      20\nBo        5\n", 3, 0, "columns were found by characters"),
    "countries.dat": ("Aruba AW AA\nBenin BJ BN\nChad  TD CD\n", 3, 0, f"{GUESS}: write header_lines: 1 if it names the columns"),
}


@pytest.fixture(scope="module")
def loaded(place: Workplace) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """Infer each file, extract all of them in one command; return the YAML and the result of each."""
    written = {}
    for name, (content, *_) in ODD.items():
        place.deliver(f"odd/{name}", content)
        layout = ["--format", "fixed_width"] if name.endswith(".dat") else []
        table = f"odd.{name.replace('.', '_')}"
        done = place.infer(f"odd/{name}", *layout, "--name", table)
        assert (0, "") == (done.status, done.err), name
        assert 0 == place.infer(f"odd/{name}", *layout, "--name", table, "--write").status
        written[table] = done.out
    done = place.dpe("extract", "source:odd", "--output", "json")
    assert 0 == done.status, done.err
    return {extract["source"]: (written[extract["source"]], extract) for extract in json.loads(done.out)["extracts"]}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_load_as_they_are_inferred(loaded: Mapping[str, tuple[str, Mapping[str, Any]]], name: str) -> None:
    """Each of their records is loaded, or counted among the rejects that the block allows."""
    _, rows, rejects, note = ODD[name]
    text, extract = loaded[f"odd.{name.replace('.', '_')}"]

    assert (rows, rejects) == (extract["rows_loaded"], extract["rows_rejected"])
    assert note in text


# The content, and what is wrong with its header.
POLLUTED: dict[str, tuple[str | bytes, str]] = {
    "long.csv": (
        "a,b,c,d\n1,2,3\n4,5,6\n7,8,9\n",
        "line 1, character 7: the header has 4 fields, but 3 of the first 3 records have 3; ask the sender to correct it, or read the file",
    ),
    "short.csv": (
        "ä,b\n1,2,3\n4,5,6\n",
        "line 1, character 4: the header has 2 fields, but 2 of the first 2 records have 3; ask the sender",
    ),
    "preamble.csv": (
        "Report of 2024\n\nid,name\n1,a\n2,b\n",
        "line 1, character 15: the header has 1 field, but 3 of the first 3 records have 2; if line 3 is the header, ask the sender to leave",
    ),
    "open.csv": ('a,"b,c\n1,2,3\n4,5,6\n', "line 1, character 3: the quote that opens here is never closed; ask the sender to correct it"),
    "macintosh.csv": (
        "a,b\r1,2\r3,4\r",
        "line 1, character 4: a carriage return without a line feed; convert the line ends",
    ),
    "gap.xlsx": (
        _workbook(["a", None, "b"], [1, 2, 3], [4, 5, 6]),
        "sheet 'Sheet', row 1, column 2: has no name; ask the sender to add one",
    ),
}


@pytest.mark.parametrize("name", POLLUTED)
def test_a_polluted_header_is_explained(place: Workplace, name: str) -> None:
    """With its line and character, instead of a file that would lose records."""
    content, said = POLLUTED[name]
    place.deliver(f"polluted/{name}", content)

    done = place.infer(f"polluted/{name}")

    assert (1, "") == (done.status, done.out)
    assert done.err.startswith(f"Error: polluted/{name}, {said}")
