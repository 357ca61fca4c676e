"""COPY's text format: cut into whole records, and converted to CSV with the same meaning for PostgreSQL."""

from __future__ import annotations

import pytest

from dpe_cli.blocks import copy_text
from dpe_cli.server.server import Server

VALUES = ["plain", "", None, "\\N", "N", "\\.", "tab\tand\nline\rend", 'a "quote", a comma', "\b\f\v\\", "Grüße", " blanks ", "\\t"]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_records_are_cut_whole(size: int) -> None:
    """Wherever the chunks end, and without losing a byte."""
    data = "".join(f"{number}\ttext {number}\\n\n" for number in range(40)).encode()

    blocks = list(copy_text.cut(data[start : start + size] for start in range(0, len(data), size)))

    assert data == b"".join(block.data for block in blocks)
    assert all(block.data.endswith(b"\n") and block.records == block.data.count(b"\n") for block in blocks)
    assert 40 == sum(block.records for block in blocks)
    assert [block.first_line for block in blocks] == [1 + sum(before.records for before in blocks[:n]) for n in range(len(blocks))]


def test_an_unterminated_line_is_a_record() -> None:
    """It is counted, and the server will refuse it."""
    assert [(b"1\ta\n", 1), (b"2\n", 1)] == [(block.data, block.records) for block in copy_text.cut([b"1\ta\n2"])]


def test_as_csv_it_means_the_same(server: Server) -> None:
    """PostgreSQL writes values as text, and reads the same ones from CSV."""
    with server.connect("admin") as connection:
        connection.execute("create temporary table written (number integer, value text)")
        connection.execute("create temporary table read (like written)")
        with connection.cursor() as cursor:
            cursor.executemany("insert into written values (%s, %s)", list(enumerate(VALUES)))
            with cursor.copy("copy (select * from written order by number) to stdout with (format text)") as copy:
                [block] = copy_text.cut([b"".join(bytes(row) for row in copy)])
            csv = copy_text.as_csv(block)
            with cursor.copy("copy read from stdin with (format csv)") as copy:
                copy.write(csv.data)
        found = connection.execute("select value from read order by number").fetchall()

    assert VALUES == [value for (value,) in found]
    assert (len(VALUES), len(VALUES)) == (block.records, csv.records)
