"""A value is loaded as it is written, or rejected: the table in docs/guides/values.md, row by row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.staged_source import Stage

TABLE = Path(__file__).parents[3] / "docs" / "guides" / "values.md"


def _rows() -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each type of the table with the values that are accepted, and those that are not."""
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            types, accepted, rejected = (re.findall(r"``(.+?)``|`(.+?)`", cell) for cell in line.strip("|").split(" | "))
            for _, data_type in types:
                yield data_type, [first or second for first, second in accepted], [first or second for first, second in rejected]


ROWS = list(_rows())


@pytest.mark.parametrize(("data_type", "accepted", "rejected"), ROWS, ids=[data_type for data_type, *_ in ROWS])
@pytest.mark.parametrize("quote", ["", '"'], ids=["as it is", "quoted"])
def test_a_value_is_loaded_as_it_is_written(
    stage_anywhere: Stage, data_type: str, accepted: list[str], rejected: list[str], quote: str
) -> None:
    """PostgreSQL 18 accepts all of them; earlier versions refuse some."""
    source = stage_anywhere(f"number integer, value {data_type}", header=False, delimiter="|")
    values = [*accepted, *rejected]

    source.deliver("".join(f"{number}|{quote}{value}{quote}\n" for number, value in enumerate(values))).extract()

    loaded = source.query(f"select number, value::text from {source.relation} order by number")
    written = source.query(
        f"select number::integer - 1, value::{data_type}::text from unnest(%s::text[]) with ordinality as given (value, number) order by number",
        [accepted],
    )
    assert written == loaded
    assert [(f"{number}|{quote}{value}{quote}",) for number, value in enumerate(values) if number >= len(accepted)] == source.rejects("raw")
    if source.query("select current_setting('server_version_num')::integer") >= [(180000,)]:
        valid = source.query(f"select value::{data_type} is not null from unnest(%s::text[]) as given (value)", [rejected])
        assert [(True,)] * len(rejected) == valid


def test_a_changed_value_is_named(stage_anywhere: Stage) -> None:
    """With its column and what to do; of several, the first one."""
    source = stage_anywhere("id integer, day date, price numeric(10,2)")

    source.deliver("id,day,price\n1,1/1/24,2.345\n2,2024-01-01,2.345\n3,soon,2.345\n").extract()

    assert [
        (2, "day", "22P02", '"1/1/24" is not a date as in ISO 8601, YYYY-MM-DD (declare its `format` in the column\'s meta)'),
        (
            3,
            "price",
            "22P02",
            '"2.345" is not a plain decimal number, or does not fit 2 decimals without being rounded (declare `round: true` in the column\'s meta)',
        ),
        # What is not valid at all, the server explains.
        (4, "day", "22007", 'invalid input syntax for type date: "soon"'),
    ] == source.rejects("position, column_name, sqlstate, reason")


def test_a_domain_is_checked_like_its_type(stage_anywhere: Stage) -> None:
    """Also a domain over a domain."""
    source = stage_anywhere("price public.dpe_test_price")
    with source.server.connect("admin") as connection:
        connection.execute("create domain public.dpe_test_amount as numeric(10,2)")
        connection.execute("create domain public.dpe_test_price as public.dpe_test_amount")
        connection.execute("grant usage on schema public to dpe_loader")

    source.deliver("price\n2.34\n2.345\n").extract()

    assert [("2.345",)] == source.rejects("raw")


def test_nulls_are_not_values(stage_anywhere: Stage) -> None:
    """However they are written."""
    source = stage_anywhere("day date, price numeric(10,2), label varchar(3)", null_string="n/a", header=False)

    result = source.deliver("n/a,n/a,n/a\n2024-01-01,1,abc\n").extract()

    assert (2, 0) == (result.rows_loaded, result.rows_rejected)


def test_values_in_records_of_several_lines_are_checked(stage_anywhere: Stage) -> None:
    """And the lines of rejects are those of the file, whatever stands between them."""
    source = stage_anywhere("note text, day date, other text", rejects={"max_rows": 9})
    good, bad = '"a\nb",2024-01-01,"x ""y"" z"\n', '"a\n,1/1/24,""b",1/1/24,"x"\n'

    source.deliver("note,day,other\n" + (good * 3 + bad) * 2 + good + 'a,soon,5" pipe\n').extract()

    assert [(8,), (16,), (20,)] == source.rejects("position")
    assert [(bad.removesuffix("\n"),)] * 2 + [('a,soon,5" pipe',)] == source.rejects("raw")
    assert 7 == source.count()
