"""A value is loaded as it is written, or rejected: the table in docs/guides/values.md, row by row."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from psycopg import sql
from support.databases import Crm
from support.staged_source import Stage

from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.blocks.exact_types import DataType, canonical, exact_type
from dpe_cli.load.copier import Shape
from dpe_cli.load.exactness import Exactness

QUOTE = '"'
TABLE = Path(__file__).parents[3] / "docs" / "guides" / "values.md"


def _rows() -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each type of the table with the values that are accepted, and those that are not."""
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = [re.findall(r"``(.+?)``|`(.+?)`", cell) for cell in line.strip("|").split(" | ")]
        # Another table says what a column may declare.
        if line.startswith("| `") and len(cells) == 3:
            types, accepted, rejected = cells
            for _, data_type in types:
                yield data_type, [first or second for first, second in accepted], [first or second for first, second in rejected]


ROWS = list(_rows())


@pytest.mark.parametrize(("data_type", "accepted", "rejected"), ROWS, ids=[data_type for data_type, *_ in ROWS])
def test_a_value_is_loaded_as_it_is_written(stage_anywhere: Stage, data_type: str, accepted: list[str], rejected: list[str]) -> None:
    """With and without quotes. PostgreSQL 18 accepts all of them; earlier versions refuse some."""
    source = stage_anywhere(f"number integer, value {data_type}", header=False, delimiter="|")
    values = [*accepted, *rejected]
    quoted = [f'"{value.replace(QUOTE, QUOTE * 2)}"' for value in values]
    lines = [f"{number}|{value}" for number, value in enumerate([*values, *quoted])]
    good = {number: values[number % len(values)] for number in range(len(lines)) if number % len(values) < len(accepted)}

    source.deliver("".join(f"{line}\n" for line in lines)).extract()

    loaded = source.query(f"select number, value::text from {source.relation} order by number")
    # As constants, because a cast would read an interval without the fields of its type.
    constants = ", ".join(
        sql.SQL("({}, {})").format(number, sql.SQL("{}::{}").format(value, sql.SQL(data_type))).as_string()
        for number, value in good.items()
    )
    written = source.query(f"select number, value::text from (values {constants}) as given (number, value) order by number")
    assert written == loaded
    assert [(line,) for number, line in enumerate(lines) if number not in good] == source.rejects("raw")
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


@pytest.mark.parametrize(
    ("data_type", "accepted", "rejected"),
    [
        ("dpe_test_price", ["2.34"], ["2.345"]),
        ("dpe_test_price[]", ["{2.34,null}"], ["{2.34,2.345}"]),
        ("dpe_test_prices", ["{2.34}"], ["{2.345}"]),
        ("dpe_test_prices[]", ['{"{2.34}"}'], ['{"{2.34,2.345}"}']),
        ("dpe_test_words", ["[a,b]", '["a,",)'], ['["a","12345678    "]']),
        ("dpe_test_wordsets", ["{[a,b]}"], ['{[a,"b\\ \\ \\ \\ \\ \\ \\ \\ "]}']),
        ("dpe_test_item", ['(a,2.34,"x ")', "(,,)", '("1/1/24",1,"(,)")'], ['(a,2.345,"x")', '(a,1,"abc   ")']),
        ("dpe_test_item[]", ['{"(a,2.34,)","(,,)"}'], ['{"(a,2.345,)"}']),
    ],
)
def test_what_a_type_is_made_of_is_checked(stage_anywhere: Stage, data_type: str, accepted: list[str], rejected: list[str]) -> None:
    """A domain like the type that it is based on, and in any depth: arrays of domains, domains of arrays, and composite types."""
    source = stage_anywhere(f"value public.{data_type}", header=False, delimiter="|", quote="none")
    with source.server.connect("admin") as connection:
        if connection.execute("select to_regtype('public.dpe_test_price') is null").fetchone() == (True,):
            connection.execute("create domain public.dpe_test_amount as numeric(10,2)")
            connection.execute("create domain public.dpe_test_price as public.dpe_test_amount")
            connection.execute("create domain public.dpe_test_prices as public.dpe_test_price[]")
            connection.execute("create domain public.dpe_test_word as varchar(8)")
            connection.execute(
                "create type public.dpe_test_words as range (subtype = public.dpe_test_word, multirange_type_name = public.dpe_test_wordsets)"
            )
            connection.execute("create type public.dpe_test_item as (name text, gone date, price public.dpe_test_price, code char(3))")
            connection.execute("alter type public.dpe_test_item drop attribute gone")
            connection.execute("grant usage on schema public to dpe_loader")

    source.deliver("".join(f"{value}\n" for value in [*accepted, *rejected])).extract()

    assert len(accepted) == source.count()
    assert [(value,) for value in rejected] == source.rejects("raw")


def test_an_escape_before_a_closing_quote_hides_no_value(stage_anywhere: Stage) -> None:
    """If it is itself escaped, as at the end of a Windows path, the field ends there."""
    source = stage_anywhere("path text, day date", escape="\\", header=False)

    source.deliver('"C:\\\\",1/1/24\n"D:\\\\",2024-01-01\n').extract()

    assert [("D:\\", date(2024, 1, 1))] == source.rows()
    assert [("day",)] == source.rejects("column_name")


@pytest.mark.timeout(60)
def test_blanks_in_an_element_take_no_time_for_each(stage: Stage) -> None:
    """Those at its end do not count, unless the first is escaped."""
    source = stage("id integer, note numeric(10,2)[], words varchar(9)[]", rejects={"max_rows": 1})
    source.deliver(f'id,note,words\n1,"{{1{" " * 1_000_000}x}}",\n2,"{{ 1.5  ,2 }}","{{a\\ , b\\\\  }}"\n')
    source.extract()

    assert [(2, [Decimal("1.50"), Decimal("2.00")], ["a ", "b\\"])] == source.rows()


def test_a_changed_part_is_named(stage_anywhere: Stage) -> None:
    """Of a value that holds several."""
    source = stage_anywhere("days date[], moment tsrange, span interval day", header=False, delimiter=";")

    source.deliver("{2024-01-01,1/1/24};;\n;[1/1/24,);\n;;1 day 02:00\n").extract()

    assert [
        ("days", 'the element "1/1/24" is not a date as in ISO 8601, YYYY-MM-DD (declare its `format` in the column\'s meta)'),
        (
            "moment",
            (
                'the bound "1/1/24" is not a point in time as in ISO 8601, YYYY-MM-DD HH:MM:SS, without a time zone, with at most 6 decimals '
                "(declare its `format` in the column's meta)"
            ),
        ),
        (
            "span",
            (
                '"1 day 02:00" is not an interval as in ISO 8601, P1DT2H, or as PostgreSQL writes it, 1 day 02:00:00, with nothing shorter '
                "than a day, and without fractions of days and longer units"
            ),
        ),
    ] == source.rejects("column_name, reason")


def test_values_are_checked_whatever_they_are_delivered_in(stage: Stage, tmp_path: Path) -> None:
    """In JSON, Parquet, and databases: arrays as PostgreSQL writes them. A JSON array is not an array to PostgreSQL."""
    columns = "id integer, span interval(3), prices numeric(10,2)[], label char(3)"
    jsonl = stage(columns, file_format="jsonl", location="*.jsonl", extra_columns="ignore")
    parquet = stage(columns, file_format="parquet", location="*.parquet")
    sqlite = stage(columns, file_format="sql", location=f"sqlite:///{tmp_path}/kept.db", table="kept", disposition="replace")
    rows = [
        (1, "1 day 02:00:00.123", "{2.34}", "ab "),
        (2, "00:00:00.0001", "{2.34}", "ab"),
        (3, "PT1H", '{"2.345"}', "ab"),
        (4, "PT1H", None, "ab   "),
    ]
    jsonl.deliver("".join(json.dumps(dict(zip(("id", "span", "prices", "label"), row, strict=True))) + "\n" for row in rows), "a.jsonl")
    jsonl.deliver('{"id": 5, "prices": [2.34]}\n', "b.jsonl")
    given = ", ".join(
        f"({number}, interval '{span}', '{prices or ''}', '{label}')".replace("PT1H", "1 hour") for number, span, prices, label in rows
    )
    connection = duckdb.connect()
    connection.execute(f"create table kept as select * from (values {given}) as given (id, span, prices, label)")
    connection.execute("update kept set prices = null where prices = ''")
    connection.execute(f"copy kept to '{tmp_path}/a.parquet' (format parquet)")
    with sqlite3.connect(tmp_path / "kept.db") as database:
        database.execute("create table kept (id integer, span text, prices text, label text)")
        database.executemany("insert into kept values (?, ?, ?, ?)", rows)
    database.close()

    for source in (jsonl, parquet, sqlite):
        source.extract()

    expected = [("span",), ("prices",), ("label",)]
    assert ([*expected, ("prices",)], 1) == (jsonl.rejects("column_name"), jsonl.count())
    assert (expected, 1) == (sqlite.rejects("column_name"), sqlite.count())
    # Parquet's intervals have milliseconds.
    assert ([("prices",), ("label",)], 2) == (parquet.rejects("column_name"), parquet.count())


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_rows_of_another_postgresql_are_checked(stage_anywhere: Stage, crm: Crm) -> None:
    """Whatever its COPY escapes."""
    query = r"""
        select *
        from (
            values
                (1, interval '1 day', array['a"b', E'c\\d', null], '[1,3]'::int4range),
                (2, interval '1 day 02:00', null, null),
                (3, null, array[E'\\', 'a    '], null),
                (4, null, array[E'x\ty', 'abcd'], null),
                (5, null, array[E'\n'], 'empty')
        ) as kept (id, span, words, size)
    """
    source = stage_anywhere(
        "id integer, span interval day, words varchar(3)[], size int4range",
        location=crm.url,
        file_format="sql",
        query=query,
        disposition="replace",
    )

    source.extract()

    assert [(1,), (5,)] == source.query(f"select id from {source.relation} order by id")
    assert [(2, "span"), (3, "words"), (4, "words")] == source.rejects("position, column_name")
    assert [(['a"b', "c\\d", None],)] == source.query(f"select words from {source.relation} where id = 1")


def test_exact_values_of_another_postgresql_are_passed_on_as_they_are() -> None:
    """Its COPY doubles a backslash, which is one character of the value."""
    copier: Any = SimpleNamespace(shape=Shape(1, ("words",), ("words",), {}, 0, Dialect()))
    block = Block(b'{"\\\\\\\\  "}\n', 1, 1, 1, copy_format="text")

    exactness = Exactness(copier, {"words": DataType.named("character varying(3)[]")})

    assert block is exactness.in_csv(block)


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


FORMATS = [
    ("date", "DD.MM.YYYY", ["31.12.2024", " 01.02.2003 "], ["1.2.2003", "31.02.2024", "2024-12-31", "31.12.24", "31.12.2024x"]),
    ("date", "FMDD/FMMM/YY", ["1/2/69", "31/12/70"], ["1/13/24", "001/2/24"]),
    ("date", "DD-Mon-YYYY", ["02-Jan-2003", "02-DEC-2003"], ["02-Jän-2003", "02-January-2003"]),
    ("date", 'YYYY"年"MM"月"DD"日"', ["2024年12月31日"], ["2024-12-31"]),
    (
        "timestamp",
        "MM/DD/YYYY HH12:MI:SS AM",
        ["12/31/2024 12:00:01 AM", "01/02/2003 11:59:59 pm"],
        ["12/31/2024 13:00:00 PM", "12/31/2024 10:00"],
    ),
    ("timestamp(3)", "YYYYMMDDHH24MISSUS", ["20241231100000123000"], ["20241231100000123456", "20241231240000000000"]),
    ("timestamptz", 'YYYY-MM-DD"T"HH24:MI:SS.MSTZH:TZM', ["2024-12-31T10:00:00.123+05:30"], ["2024-12-31T10:00:00+05:30"]),
]


@pytest.mark.parametrize(("data_type", "template", "accepted", "rejected"), FORMATS, ids=[template for _, template, *_ in FORMATS])
def test_a_column_may_declare_its_format(
    stage_anywhere: Stage, data_type: str, template: str, accepted: list[str], rejected: list[str]
) -> None:
    """In PostgreSQL's template patterns, which mean what they mean there; any other form is rejected."""
    source = stage_anywhere(f"number integer, value {data_type} format {template}", header=False, delimiter="|")
    values = [*accepted, *rejected]

    source.deliver("".join(f'{number}|"{value}"\n' for number, value in enumerate(values)) + "99|\n").extract()

    zone = "at time zone 'UTC'" if data_type != "timestamptz" else ""
    read = source.query(
        f"select (to_timestamp(value, %s) {zone})::{data_type}::text from unnest(%s::text[]) with ordinality as given (value, number) "
        "order by number",
        [template, [value.strip() for value in accepted]],
    )
    assert [*read, (None,)] == source.query(f"select value::text from {source.relation} order by number")
    assert [(f'{number}|"{value}"',) for number, value in enumerate(values) if number >= len(accepted)] == source.rejects("raw")


def test_a_value_in_another_format_is_named(stage: Stage) -> None:
    """The record is kept as it was delivered, also if another value in it is to blame."""
    source = stage("id integer, day date format DD.MM.YYYY, price numeric(10,2)")

    source.deliver("id,day,price\n1,2024-12-31,1\n2,31.12.2024,2.345\n3,31.12.2024,3\n").extract()

    assert [
        (2, "day", '"2024-12-31" is not a date or time in the format DD.MM.YYYY', "1,2024-12-31,1"),
        (3, "price", source.rejects("reason")[1][0], "2,31.12.2024,2.345"),
    ] == source.rejects("position, column_name, reason, raw")
    assert 1 == source.count()


@pytest.mark.parametrize("price", ["2.345", "x"])
def test_a_record_of_a_converted_block_is_refused_as_it_was_delivered(stage: Stage, price: str) -> None:
    """Whether dpe or the server refuses another value in it."""
    source = stage("id integer, day date format DD.MM.YYYY, price numeric(10,2)")

    source.deliver(f"id,day,price\n1,31.12.2024,1\n2,31.12.2024,{price}\n3,31.12.2024,3\n").extract()

    assert [(3, "price", f"2,31.12.2024,{price}")] == source.rejects("position, column_name, raw")
    assert [("2024-12-31",), ("2024-12-31",)] == source.query(f"select day::text from {source.relation}")


def test_a_column_may_round(stage_anywhere: Stage) -> None:
    """What it rounds is still a plain value."""
    source = stage_anywhere(
        "price numeric(10,2) rounds, at timestamp(0) rounds, span interval hour rounds, prices numeric(10,2)[] rounds, other timestamptz(0) rounds",
        header=False,
    )

    source.deliver("2.345,2024-12-31 10:00:00.6,02:30,{2.345},\n0x1F,,,,\n,12/31/24 10:00,,,\n,,1.5 months,,\n").extract()

    assert [("2.35", "2024-12-31 10:00:01", "02:00:00", "{2.35}")] == source.query(
        f"select price::text, at::text, span::text, prices::text from {source.relation}"
    )
    assert 3 == len(source.rejects())


@pytest.mark.parametrize(
    ("columns", "options"),
    [("id integer null_quoted, day date null_quoted, note text", {}), ("id integer, day date, note text", {"null_quoted": True})],
)
def test_a_quoted_null_string_may_mean_null(stage_anywhere: Stage, columns: str, options: dict[str, bool]) -> None:
    """For a column, or for the whole file."""
    source = stage_anywhere(columns, **options)

    result = source.deliver('id,day,note\n"1","",""\n"","2024-12-31",""\n').extract()

    note = None if options else ""
    assert [(1, None, note), (None, date(2024, 12, 31), note)] == source.rows()
    assert 0 == result.rows_rejected


DECLARED = [
    *(data_type for data_type, *_ in ROWS),
    "int4",
    "INT",
    "decimal(8)",
    "Numeric(8, 2)",
    "float8",
    "varchar (5)",
    "timestamp (3) with time zone",
    "char",
    "nchar(3)",
    "bpchar",
    "bpchar(3)",
    "INTERVAL",
    "interval (3)",
    "interval DAY to second (3)",
    "integer[3][]",
    "INT ARRAY[4]",
    "varchar (5) array",
    "dec(8)[]",
]


@pytest.mark.parametrize("data_type", [*DECLARED, "time(2)", "timetz", "text", "uuid", "jsonb", "integer[]"])
def test_a_declared_type_is_the_servers(stage: Stage, data_type: str) -> None:
    """So that what was compared while a file was read is not compared again."""
    source = stage(f"value {data_type.replace(', ', ',')}").deliver("value\n")

    source.extract()

    [(name,)] = source.query(
        "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = %s::regclass and attnum = 1", [source.relation]
    )
    assert exact_type(name) == exact_type(canonical(data_type))
