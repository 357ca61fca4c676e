"""A real month of flights, with fifty damaged records among 27,004 good ones."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from support.staged_source import Stage, StagedSource

from dpe_cli.errors import RejectLimitError

MONTH = Path(__file__).parents[3] / "data" / "nyc_flights" / "flights" / "2013-01.csv.gz"
COLUMNS = (
    "year integer, month integer, day integer, dep_time integer, sched_dep_time integer, dep_delay integer, arr_time integer, "
    "sched_arr_time integer, arr_delay integer, carrier varchar(2), flight integer, tailnum text, origin text, dest text, "
    "air_time integer, distance integer, hour integer, minute integer, time_hour timestamptz"
)
GOOD = b"2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z"

# A change to a good record, and the SQLSTATE and column that have to be reported.
UNCLOSED: tuple[bytes, str, str | None] = (GOOD.replace(b"EWR", b'"EWR'), "22P04", None)
DAMAGES = [
    (GOOD.rpartition(b",")[0], "22P04", "time_hour"),
    (GOOD + b",extra", "22P04", None),
    (GOOD.replace(b"1545", b"UA1545"), "22P02", "flight"),
    (GOOD.replace(b"1545", b"99999999999"), "22003", "flight"),
    (GOOD.replace(b"-01T", b"-32T"), "22008", "time_hour"),
    (GOOD.replace(b"UA", b"UNITED"), "22001", "carrier"),
    (GOOD.replace(b"EWR", b"E\0R"), "22021", None),
    (GOOD.replace(b"EWR", b"E\xffR"), "22021", None),
    UNCLOSED,
    (GOOD.replace(b"EWR", b'"E"WR'), "22P04", None),
    (GOOD.replace(b"EWR", b"E\rWR"), "22P04", None),
    (GOOD.replace(b"EWR", b'"E\nW",R'), "22P04", None),
    (b"\\.", "22P04", "month"),
    (b"", "22P04", "month"),
]


def _damaged_month() -> tuple[bytes, list[tuple[Any, ...]]]:
    """
    Spread fifty damaged records over the month; return it, and the rejects that the ledger should have.

    Some have different line ends. The last one is at the end of the file: an unclosed quote, without a line end.
    """
    lines = gzip.decompress(MONTH.read_bytes()).splitlines(keepends=True)
    expected = []
    shifted = 0
    for number in range(50):
        record, sqlstate, column = UNCLOSED if number == 49 else DAMAGES[number % len(DAMAGES)]
        index = len(lines) if number == 49 else 1 + number * 550
        line_end = b"" if number == 49 else b"\r\n" if number % 7 == 0 else b"\n"
        lines.insert(index, record + line_end)
        expected.append((index + 1 + shifted, sqlstate, column, record))
        shifted += record.count(b"\n")
    return b"".join(lines), expected


def _rejects(source: StagedSource) -> list[tuple[Any, ...]]:
    return source.rejects("position, sqlstate, column_name, coalesce(raw_bytes, convert_to(raw, 'UTF8'))")


def test_all_but_the_damaged_records_are_loaded(stage_anywhere: Stage) -> None:
    """Each of the fifty is a reject with its line, and all other rows are loaded."""
    source = stage_anywhere(COLUMNS, null_string="NA")
    content, expected = _damaged_month()

    result = source.deliver(gzip.compress(content), "2013-01.csv.gz").extract()

    assert expected == _rejects(source)
    assert (27_054, 27_004, 50) == (result.records_read, result.rows_loaded, result.rows_rejected)
    assert [(27_004, 521, 4637)] == source.query(
        f"select count(*), count(*) - count(dep_time), count(*) filter (where carrier = 'UA') from {source.relation}"
    )


def test_nothing_is_loaded_if_the_limit_is_ten(stage_anywhere: Stage) -> None:
    """No row is visible, and the ledger has only the failure, with its first rejects."""
    source = stage_anywhere(COLUMNS, null_string="NA", rejects={"max_rows": 10})
    content, _ = _damaged_month()

    with pytest.raises(RejectLimitError, match=r"records were rejected, more than rejects.max_rows allows \(10\); nothing was loaded"):
        source.deliver(gzip.compress(content), "2013-01.csv.gz").extract()

    assert (0, ["failed"]) == (source.count(), source.statuses())
    assert 10 < len(source.rejects()) <= 100
    assert [] == source.ledger("select * from dpe.loads where source = %s")
