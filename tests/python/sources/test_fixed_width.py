"""Fixed-width lines: fields are cut out by position, and lines of another width are rejects."""

from __future__ import annotations

import pytest
from support.staged_source import Stage

from dpe_cli.errors import InputError, ProjectError
from dpe_cli.sources.files import compression

COLUMNS = "id integer at 1+4, name text at 5+6, amount numeric at 13+5"


def test_fields_are_taken_from_their_places(stage_anywhere: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in characters, without surrounding blanks; a blank field is null, and so is the null string."""
    monkeypatch.setattr(compression, "CHUNK_BYTES", 1000)
    source = stage_anywhere(COLUMNS, file_format="fixed_width", encoding="latin-1", header_lines=2, null_string="--")
    lines = [f"{number:>4}Zoë {number % 10}   {number:>3}.5" for number in range(500)]
    text = "\r\n".join(["a header", "of two lines", *lines, '9998"a,b"   --   ', "9999         1.00"])
    source.deliver(text.encode("latin-1"), "a.txt")

    result = source.extract()

    assert (502, 502) == (result.records_read, result.rows_loaded)
    expected = [(number, f"Zoë {number % 10}", f"{number}.5") for number in range(500)]
    found = source.query(f"select id, name, amount::text from {source.relation} order by id")
    assert [*expected, (9998, '"a,b"', None), (9999, None, "1.00")] == found


def test_a_line_of_another_width_is_a_reject(stage_anywhere: Stage) -> None:
    """With its line number, the reason, and the line itself."""
    source = stage_anywhere(COLUMNS, file_format="fixed_width")
    lines = [
        b"   1good    1.00",
        b"   2short",
        b"",
        b"   3more    1.00  x",
        b"   xvalue   1.00",
        b"   5\xff       1.00",
        b"   6good    2.00",
    ]
    source.deliver(b"\n".join(line.ljust(17) if b"good" in line or b"value" in line else line for line in lines) + b"\n", "a.txt")

    result = source.extract()

    assert (7, 2, 5) == (result.records_read, result.rows_loaded, result.rows_rejected)
    assert [
        (2, None, "22P04", "the line has 9 characters, but the columns need 17"),
        (3, None, "22P04", "the line is empty"),
        (4, None, "22P04", "the line has text outside the columns"),
        (5, "id", "22P02", 'invalid input syntax for type integer: "x"'),
        (6, None, "22021", 'invalid byte sequence for encoding "UTF8": 0xff'),
    ] == source.rejects("position, column_name, sqlstate, reason")


def test_text_between_the_columns_is_not_lost(stage: Stage) -> None:
    """Such a line is a reject, unless the source ignores extra columns."""
    source = stage(COLUMNS, file_format="fixed_width").deliver("   1name  ? 12.50\n", "a.txt")
    assert (0, 1) == (source.extract().rows_loaded, len(source.rejects()))

    source.declare(extra_columns="ignore")
    source.extract(full_refresh=True)

    assert [(1, "name")] == [row[:2] for row in source.rows()]


def test_lines_whose_blanks_were_cut_off_may_be_padded(stage: Stage) -> None:
    """If the source says so."""
    source = stage(COLUMNS, file_format="fixed_width", short_lines="pad").deliver("   1name\n\n   2\n", "a.txt")

    assert 1 == source.extract().rows_rejected
    assert [(1, "name", None), (2, None, None)] == source.rows()


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ("id integer", "column id: needs meta.width"),
        ("id integer at 1+4, name text at 4+2", "column name: starts at character 4, before the end of the previous column"),
        ("id integer at $.id", "column id: meta.path is not for this file_format"),
    ],
)
def test_wrong_places_are_named(stage: Stage, columns: str, fault: str) -> None:
    """When the project is read, before any data."""
    with pytest.raises(ProjectError, match=fault):
        stage(columns, file_format="fixed_width")


def test_a_line_that_never_ends_is_refused(stage: Stage) -> None:
    """As in CSV."""
    source = stage(COLUMNS, file_format="fixed_width", max_record_bytes=100).deliver("x\n" + "y" * 101, "a.txt")

    with pytest.raises(InputError, match=r"^a.txt, line 2: the line is longer than 100 bytes"):
        source.extract()
