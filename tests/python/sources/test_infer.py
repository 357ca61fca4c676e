"""What `dpe source infer` writes is a contract under which dpe loads every record, whatever the source is."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import dbt_projects
import duckdb
import openpyxl
import pytest
import yaml
from conftest import Cluster
from misbehaving_api import Answer, Api, served
from moto.server import ThreadedMotoServer

from dpe_cli import main
from dpe_cli.postgres import Server
from dpe_cli.rls import system_context

NUMBERS = range(30)
PASSWORD = "s3cr3t&more"


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Workplace:
    """A dbt project, and a server with what other databases hold."""

    directory: Path
    server: Server
    other: Server
    api: Api

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead to the server, and to what a password refers to."""
        server = {"PGHOST": self.server.host, "PGPORT": str(self.server.port), "PGDATABASE": self.server.database, "PGUSER": "postgres"}
        return server | {"ORDERS_PASSWORD": PASSWORD}

    def dpe(self, *arguments: str) -> Done:
        """Run dpe in the project, on its server."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.chdir(self.directory)
            status = main.run(arguments)
        return Done(status, out.getvalue(), err.getvalue())

    def infer(self, *arguments: str) -> Done:
        """Look at a source."""
        return self.dpe("source", "infer", *arguments)

    def table(self, *arguments: str) -> dict[str, Any]:
        """Look at a source, and return its table as YAML has it."""
        done = self.infer(*arguments)
        assert (0, "") == (done.status, done.err)
        found: dict[str, Any] = yaml.safe_load(done.out)["sources"][0]["tables"][0]
        return found

    def types(self, *arguments: str) -> dict[str, str]:
        """Look at a source, and return the types of its columns."""
        return {column["name"]: column["data_type"] for column in self.table(*arguments)["columns"]}

    def deliver(self, name: str, content: str | bytes) -> str:
        """Write a file, and return its path as the project has it."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def url(self, password: str = "") -> str:
        """Return the URL of the other database."""
        return f"postgresql://postgres{password}@/{self.other.database}?host={quote(self.other.host, safe='')}&port={self.other.port}"


def _lines(head: str, line: Callable[[int], str]) -> str:
    return head + "".join(f"{line(number)}\n" for number in NUMBERS)


EVENT = {
    "customerId": 7,
    "order": {"zip": "01234", "lines": [{"sku": "a"}], "address": {"street name": "x"}},
    "amount": 1.25,
    "at": "2024-01-01T10:00:00+02:00",
    "big": 12345678901234567890123,
    "ratio": 0.1234567890123456789,
    "unit price": 1.5,
    "of": None,
    "flag": True,
    "nothing": {},
    "note": 'a "quoted"\nnote',
}

FILES: dict[str, str | bytes] = {
    "comma.csv": _lines("id,name,at\n", lambda n: f'{n},"Smith, J. {n}",2024-01-{n % 28 + 1:02} 10:00:00'),
    "semicolon.csv": _lines("id;amount;price\r\n", lambda n: f'{n};{n},50;"{n}.50"\r').encode("utf-16"),
    "tab.tsv": _lines("id\tok\tday\n", lambda n: f"{n}\t{n % 2 == 0}\t2024/02/{n % 28 + 1:02}"),
    "pipe.txt": _lines("id|t\n", lambda n: f'{n}|5" pipe, {n}" long'),
    "single.csv": _lines("id,t\n", lambda n: f"{n},'a, b'"),
    "escape.csv": _lines("id,t\n", lambda n: f'{n},"a \\"b\\", c"'),
    "headless.csv": _lines("", lambda n: f"{n},x,2024-01-01"),
    "accents.csv": _lines("id,name\n", lambda n: f"{n},Müller").encode("cp1252"),
    "marked.csv": _lines("\ufeffid,name\n", lambda n: f"{n},Müller"),
    "nameless.csv": _lines(",id,t\n", lambda n: f"{n},{n},x"),
    "missing.csv": _lines("id,n,t\n", lambda n: f"{n},{'n/a' if n == 3 else n},"),
    "quoted.csv": _lines("id,n,m\n", lambda n: f"{n},{chr(34) + 'NA' + chr(34) if n == 3 else n},{'NA' if n == 4 else n}"),
    "hard.csv": _lines(
        "zip,phone,huge,vast,larger,mixed,n,zoned,partly,bit,key,order,fraction,exponent,february,stamp\n",
        lambda n: (
            f"0{n},+49{n},{10**25 + n},{10**200 + n},{2**40 + n},{'01/02/2024' if n == 5 else '2024-01-01'},{n},2024-01-01T10:00:00.5Z,"
            f"2024-01-01 10:00{'Z' if n % 2 else ''},{n % 2},6f9619ff-8b86-d011-b42d-00cf4fc964{n:02x},x,0.{n}1234567890123456789,"
            f"{n}e-7,2024-02-{n + 1:02},2024-01-01 10:00:00.1234567"
        ),
    ),
    "unpacked.csv.bz2": bz2.compress(b"id,n\n1,2\n2,3\n"),
    "lines.jsonl": "".join(json.dumps({"id": n} | EVENT) + "\n" for n in NUMBERS),
    # COPY takes quotes in the middle of a field: 5x, which is no number.
    "inches.csv": _lines("id,t\n", lambda n: f'{n},"5"{"x" if n == 3 else ""}'),
    "unnamed.jsonl": _lines("", lambda n: json.dumps({"id": n, "": 1})),
    "document.json": json.dumps({"meta": {"total": 30}, "data": {"items": [{"id": n} | EVENT for n in NUMBERS]}}, indent=1),
    "packed.json.gz": gzip.compress(json.dumps([{"id": n} for n in NUMBERS]).encode()),
    "fixed.dat": _lines("ID   NAME      AMOUNT\n", lambda n: f"{n:<4} {f'n{n}':<9} {f'{n * 1.5:.2f}' if n else 'NA':>6}"),
}

PARQUET = """
    copy (
        select
            i::integer as id, i::ubigint as u, 1.50::decimal(10, 2) as d, timestamp '2024-01-01 10:00:00' as ts,
            timestamptz '2024-01-01 10:00:00+00' as tz, [1, 2] as l, {'a': 1} as s, 'x' as t, i % 2 = 0 as b, uuid() as uu,
            'ab'::blob as bl, time '10:00:00' as tm, 1.5::float as f, date '2024-01-01' as dt,
            case when i = 3 then '2024-01-01 00:00:00.123456789' else '2024-01-01' end::timestamp_ns as ns
        from range(30) as r(i)
    ) to '{path}' (format parquet)
"""

SQLITE = """
    create table orders (
        id integer primary key, amount decimal(10, 2), at datetime, ok boolean, note text, anything, day date, large integer
    );
    insert into orders
    select value, value / 4.0, '2024-01-01 00:00:00', value % 2, 'x', value, case value when 3 then 'soon' else '2024-01-01' end, 1 << 40
    from json_each('[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29]')
"""

POSTGRES = """
    create type mood as enum ('good', 'bad');
    create domain cents as numeric(10, 2);
    create schema sales;
    create table sales.orders (
        id bigint primary key, ref text not null unique, price cents, ok boolean, at timestamptz, mood mood, moods mood[], tags text[],
        data jsonb, cost money, code varchar(5), day date, span int4range
    );
    comment on table sales.orders is 'Orders, as {{ sales }} keeps them.';
    comment on column sales.orders.ref is 'What the customer calls it.';
    insert into sales.orders
    select i, 'r' || i, i / 4.0, i % 2 = 0, now(), 'good', '{good,bad}', '{a,b}', '{"a": 1}', 5, 'x', 'infinity', '[1,5)' from generate_series(0, 29) as i
"""

# What is inferred, by its name: the arguments, and how many records there are.
SOURCES: dict[str, tuple[list[str], int]] = {
    **{
        f"files.{name.partition('.')[0]}": ([f"data/{name}", *(["--format", "fixed_width"] if name == "fixed.dat" else [])], 30)
        for name in FILES
    },
    "files.unpacked": (["data/unpacked.csv.bz2"], 2),
    "files.trips": (["data/trips.parquet"], 30),
    "files.budget": (["data/budget.xlsx"], 28),
    "shop.orders": (["sqlite:///data/shop.db", "--table", "orders"], 30),
    "api.records": (["{api}/records/link?since=2024", "--name", "api.records", "--allow-private-addresses"], 35),
    "crm.sold": (["{postgres}", "--name", "crm.sold", "--table", "sales.orders"], 30),
    "nyc.flights": (["{nyc}/flights/2013-0[12].csv.gz", "--name", "nyc.flights"], 51955),
    "nyc.airlines": (["{nyc}/airlines.csv", "--name", "nyc.airlines"], 16),
    "nyc.airports": (["{nyc}/airports.csv", "--name", "nyc.airports"], 1458),
    "nyc.planes": (["{nyc}/planes.csv", "--name", "nyc.planes"], 3322),
    "nyc.weather": (["{nyc}/weather.csv.gz", "--name", "nyc.weather"], 26115),
}


@pytest.fixture(scope="module")
def place(cluster_18: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """Make a project with files of all formats, other databases and an API."""
    directory = dbt_projects.make(tmp_path_factory.mktemp("infer") / "project", {})
    api = Api()
    with cluster_18.new_database() as server, cluster_18.new_database() as other, served(api) as url:
        api.url = url
        made = Workplace(directory, server, other, api)
        for name, content in FILES.items():
            made.deliver(f"data/{name}", content)
        duckdb.execute(PARQUET.replace("{path}", str(directory / "data/trips.parquet")))
        _workbook(directory / "data/budget.xlsx")
        with closing(sqlite3.connect(directory / "data/shop.db")) as connection:
            connection.executescript(SQLITE)
        with other.connect("admin", autocommit=True) as postgres:
            postgres.execute(POSTGRES)
        yield made


def _workbook(path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["The budget of 2024"])
    sheet.append([])
    sheet.append(["Cost centre", "when", "amount", "ok", "note"])
    for number in range(28):
        sheet.append([f"0{number}", dt.datetime(2024, 1, 1), number * 1.1, True, None if number else "NA"])
    book.create_sheet("Other")
    book.save(path)


@pytest.fixture(scope="module")
def loaded(place: Workplace) -> Mapping[str, Mapping[str, Any]]:
    """Write every source, and extract them all at once; return what the extract says of each."""
    nyc = dbt_projects.REPOSITORY / "data" / "nyc_flights"
    for name, (arguments, _) in SOURCES.items():
        filled = [one.format(api=place.api.url, postgres=place.url(), nyc=nyc) for one in arguments]
        done = place.infer(*filled, "--name", name, "--write")
        assert (0, "") == (done.status, done.err), name
    done = place.dpe("extract", "--output", "json")
    assert 0 == done.status, done.err
    return {one["source"]: one for one in json.loads(done.out)["extracts"]}


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_inferred_loads_every_record(loaded: Mapping[str, Mapping[str, Any]], name: str) -> None:
    """Not one is rejected, in whatever format they are."""
    extract = loaded[name]

    assert (SOURCES[name][1], 0) == (extract["rows_loaded"], extract["rows_rejected"])


@pytest.mark.parametrize("name", ["flights", "airlines", "airports", "planes", "weather"])
def test_the_sample_has_the_types_that_people_gave_it(place: Workplace, name: str) -> None:
    """Whole numbers and double precision, times with their zone, and NA for what is missing."""
    declared = yaml.safe_load((dbt_projects.REPOSITORY / "models/staging/nyc/_nyc__sources.yml").read_text(encoding="utf-8"))
    table = next(table for table in declared["sources"][0]["tables"] if table["name"] == name)
    pattern = dbt_projects.REPOSITORY / str(table["external"]["location"]).replace("*", "2013-01")

    found = place.table(str(pattern))

    expected = {column["name"]: column["data_type"] for column in table["columns"]}
    if name == "weather":
        # All of them are whole.
        expected["wind_dir"] = "integer"
    assert expected == {column["name"]: column["data_type"] for column in found["columns"]}
    # Of airlines and airports, none is missing.
    assert ("NA" if name not in {"airlines", "airports"} else None) == found["external"].get("null_string")


def test_no_type_loses_what_was_seen(place: Workplace) -> None:
    """Zeros in front, more digits than a number has, dates of several forms and days that no month has stay as they are."""
    assert {
        "zip": "text",
        "phone": "text",
        "huge": "numeric",
        "vast": "numeric",
        "larger": "bigint",
        "mixed": "text",
        "n": "integer",
        "zoned": "timestamptz",
        "partly": "text",
        "bit": "integer",
        "key": "uuid",
        "order": "text",
        "fraction": "numeric",
        "exponent": "double precision",
        "february": "text",
        "stamp": "text",
    } == place.types("data/hard.csv")


def test_a_column_says_why_it_is_text(place: Workplace) -> None:
    """With a value that is unlike the others, and the file that has it."""
    place.deliver("data/year/1.csv", "id,n\n1,1\n2,2\n")
    place.deliver("data/year/2.csv", "id,n\n3,3\n4,four\n")

    done = place.infer("data/year/*.csv")

    assert "# text: 1 of 4 values are no whole number, as 'four' in data/year/2.csv\n" in done.out
    assert "# inferred from 4 records in 2 files, all that there are now\n" in done.out


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("comma.csv", {}),
        ("semicolon.csv", {"delimiter": ";", "encoding": "utf-16"}),
        ("tab.tsv", {"delimiter": "\t"}),
        ("pipe.txt", {"delimiter": "|"}),
        ("single.csv", {"quote": "'"}),
        ("escape.csv", {"escape": "\\"}),
        ("headless.csv", {"header": False}),
        ("accents.csv", {"encoding": "cp1252"}),
        ("marked.csv", {}),
        ("nameless.csv", {"extra_columns": "ignore"}),
        ("missing.csv", {"null_string": "n/a"}),
        ("quoted.csv", {"null_string": "NA"}),
    ],
)
def test_the_dialect_is_told_where_it_is_not_the_default(place: Workplace, name: str, options: Mapping[str, object]) -> None:
    """And nothing else is said."""
    expected = {"location": f"data/{name}", "file_format": "csv", "disposition": "replace", "rejects": {"max_rows": 0}}

    assert expected | options == place.table(f"data/{name}")["external"]


def test_json_is_taken_apart_where_it_says_something(place: Workplace) -> None:
    """Objects into columns with their paths; arrays, and what holds nothing, stay as they are. Text of digits is text."""
    columns = {column["name"]: column for column in place.table("data/lines.jsonl")["columns"]}

    assert {
        "id": "integer",
        "customer_id": "integer",
        "order_zip": "text",
        "order_lines": "jsonb",
        "order_address_street_name": "text",
        "amount": "numeric",
        "at": "timestamptz",
        "big": "numeric",
        "ratio": "numeric",
        "unit_price": "numeric",
        "of": "text",
        "flag": "boolean",
        "nothing": "jsonb",
        "note": "text",
    } == {name: column["data_type"] for name, column in columns.items()}
    assert "$.order.address['street name']" == columns["order_address_street_name"]["config"]["meta"]["path"]
    assert "config" not in columns["amount"]


def test_a_database_says_what_it_knows(place: Workplace) -> None:
    """Types, keys and comments; types that only it has are text, and its Jinja is none of dbt's."""
    table = place.table(place.url(), "--table", "sales.orders")
    columns = {column["name"]: column for column in table["columns"]}

    assert "Orders, as { { sales }} keeps them." == table["description"]
    assert ("What the customer calls it.", ["not_null", "unique"]) == (columns["ref"]["description"], columns["ref"]["data_tests"])
    assert {
        "id": "bigint",
        "ref": "text",
        "price": "numeric(10,2)",
        "ok": "boolean",
        "at": "timestamptz",
        "mood": "text",
        "moods": "text[]",
        "tags": "text[]",
        "data": "jsonb",
        "cost": "text",
        "code": "character varying(5)",
        "day": "date",
        "span": "int4range",
    } == {name: column["data_type"] for name, column in columns.items()}


def test_a_file_of_sqlite_is_written_as_the_project_has_it(place: Workplace) -> None:
    """From there it is read, wherever the project is."""
    assert "sqlite:///data/shop.db" == place.table("sqlite:///data/shop.db", "--table", "orders")["external"]["location"]


def test_sqlite_is_not_taken_at_its_word(place: Workplace) -> None:
    """It keeps anything in any column: what is there decides."""
    assert {
        "id": "bigint",
        "amount": "numeric",
        "at": "timestamp",
        "ok": "boolean",
        "note": "text",
        "anything": "integer",
        "day": "text",
        "large": "bigint",
    } == place.types(f"sqlite:///{place.directory}/data/shop.db", "--table", "orders")


def test_an_api_is_paged_through(place: Workplace) -> None:
    """Its address is taken apart, its records and the link to the next page are found."""
    external = place.table(f"{place.api.url}/records/link?since=2024", "--allow-private-addresses")["external"]

    assert {
        "location": f"{place.api.url}/records/link",
        "params": {"since": "2024"},
        "allow_private_addresses": True,
        "data_selector": "$.data.items",
        "paginator": {"type": "json_link", "next_url_path": "$.next"},
        "file_format": "rest",
        "disposition": "replace",
        "rejects": {"max_rows": 0},
    } == external


def test_a_file_of_the_web_is_fetched(place: Workplace) -> None:
    """What its address ends in is its format, and whatever else it is asked with no part of its name."""
    place.api.faults = [lambda answer: replace(answer, body=b"id;n\n1;2\n")] * 2

    table = place.table(f"{place.api.url}/exports/orders.csv?day=1", "--allow-private-addresses")

    assert "orders" == table["name"]
    assert {"location": f"{place.api.url}/exports/orders.csv?day=1", "allow_private_addresses": True, "delimiter": ";"}.items() <= (
        table["external"].items()
    )


def test_files_of_a_bucket_are_fetched(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the credentials that the environment has."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    environment = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": PASSWORD}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3", region_name="us-east-1").Bucket("lake")
    bucket.create()
    bucket.put_object(Key="orders/2024-01.csv.gz", Body=gzip.compress(b"id,n\n1,2\n"))
    bucket.put_object(Key="orders/2024-02.csv", Body=b"id,n\n3,NA\n")

    table = place.table("s3://lake/orders/*.csv*")
    moto.stop()

    assert "orders" == table["name"]
    assert {"location": "s3://lake/orders/*.csv*", "disposition": "append", "null_string": "NA"}.items() <= table["external"].items()


def _without_link(answer: Answer) -> Answer:
    document = json.loads(answer.body)
    del document["next"], document["cursor"]
    return replace(answer, body=json.dumps(document).encode())


def test_more_pages_than_one_are_told_of(place: Workplace) -> None:
    """Where nothing says how the next one is asked for."""
    # The page that is looked at, and the same one as it is read.
    place.api.faults = [_without_link, _without_link]
    done = place.infer(f"{place.api.url}/records/page", "--allow-private-addresses")

    assert "# this is the first page only: total says 35 records, and there are 10; add a paginator and total_path\n" in done.out


def test_a_password_is_used_and_never_written(place: Workplace) -> None:
    """What is printed refers to a variable; and so does an error."""
    secret = quote(PASSWORD, safe="")
    done = place.infer(place.url(f":{secret}"), "--table", "sales.orders", "--name", "orders.sold")
    refused = place.infer(place.url(f":{secret}"), "--table", "nothing", "--name", "orders.sold")

    assert (0, 1) == (done.status, refused.status)
    assert "location: postgresql://postgres:${ORDERS_PASSWORD}@/" in done.out
    assert "postgres:${ORDERS_PASSWORD}@" in refused.err
    assert not [text for text in (done.out, done.err, refused.out, refused.err) if secret in text or PASSWORD in text]


def test_a_key_in_an_address_is_used_and_never_written(place: Workplace) -> None:
    """It becomes the source's auth, with a reference."""
    external = place.table(f"{place.api.url}/records/all?api_key={PASSWORD[:6]}", "--name", "shop.api", "--allow-private-addresses")[
        "external"
    ]

    assert {"type": "api_key", "name": "api_key", "api_key": "${SHOP_API_KEY}", "location": "query"} == external["auth"]
    assert PASSWORD[:6] == place.api.requests[-1].query["api_key"]
    assert "params" not in external


def test_not_null_and_unique_stand_where_they_hold(place: Workplace) -> None:
    """A few records are not enough to call a value unique, nor is a fraction a key."""
    place.deliver("data/keys.csv", _lines("id,code,half,ratio\n", lambda n: f"{n},c{n},{n if n % 2 else ''},{n}.5"))
    place.deliver("data/few.csv", "id\n1\n2\n")

    assert [["not_null", "unique"], ["not_null", "unique"], None, ["not_null"]] == [
        column.get("data_tests") for column in place.table("data/keys.csv")["columns"]
    ]
    assert [["not_null"]] == [column.get("data_tests") for column in place.table("data/few.csv")["columns"]]


def test_a_sample_is_called_one(place: Workplace) -> None:
    """Whoever reads the YAML knows on how many records it rests."""
    assert (
        "# inferred from 10 records, and there may be more: --sample looks at others\n"
        in place.infer("data/comma.csv", "--sample", "10").out
    )


def test_records_unlike_the_others_are_told_of(place: Workplace) -> None:
    """They would be rejects: with their number, and where the first of them is."""
    place.deliver("data/broken.csv", 'a,b\n1,2\n5",2\n1,2,3\n3,4\n\n')

    done = place.infer("data/broken.csv")

    assert "# 3 records cannot be read as the others, the first at data/broken.csv, line 3; have them corrected, or allow" in done.out
    assert {"a": "integer", "b": "integer"} == place.types("data/broken.csv")


REFUSED: dict[str, tuple[str | bytes | None, list[str], str]] = {
    "empty.csv": ("", [], "data/empty.csv: the file is empty; name one with records"),
    "header.csv": ("a,b\n", [], "data/header.csv: there is no record to look at; name a source that has some"),
    "nowhere.csv": (None, [], "data/nowhere.csv: there is no such file; correct the path"),
    "none*.csv": (None, [], "data/none*.csv: no file matches"),
    "twice.csv": ("a,a\n1,2\n", [], "data/twice.csv, line 1: the header names 'a' more than once"),
    "ours.csv": ("_load_id\n1\n", [], "data/ours.csv: PostgreSQL can have none of its columns (left out"),
    "old.xls": ("x", [], "data/old.xls: is a workbook of an Excel before 2007; save it as .xlsx"),
    "picture.bin": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", [], "data/picture.bin: is no text (it holds a NUL byte)"),
    "letter.txt": (
        "Dear Sir\n\nplease find below\nnothing.\n",
        [],
        "data/letter.txt: neither its name nor its content tells what format it has",
    ),
    "broken.json": ('{"a": [', [], "data/broken.json: is no valid JSON"),
    "scalars.json": ('{"a":\n [1]}', [], "data/scalars.json: holds no array of records; name its path with --records"),
    "broken.parquet": ("PAR1", [], "data/broken.parquet: cannot be read as Parquet"),
    "broken.xlsx": ("x", [], "data/broken.xlsx: is no workbook of Excel"),
    "orders.sqlite": (
        b"SQLite format 3\0" + bytes(80),
        [],
        "data/orders.sqlite: is a database of SQLite; write it as sqlite:///data/orders.sqlite",
    ),
    "words.jsonl": ("a,b\n1,2\n", [], "data/words.jsonl: none of its records is a JSON object that has members"),
    "narrow.dat": ("abc\ndef\n", ["--format", "fixed_width"], "data/narrow.dat: no characters are blank in all of its first 2 lines"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_looked_at_is_refused(place: Workplace, name: str) -> None:
    """With a word that says why, and nothing printed."""
    content, arguments, said = REFUSED[name]
    if content is not None:
        place.deliver(f"data/{name}", content)

    done = place.infer(f"data/{name}", *arguments)

    assert (1, "") == (done.status, done.out)
    assert done.err.startswith(f"Error: {said}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["data/document.json", "--records", "a["], "--records: $.a[: cannot be read from character 4 on"),
        (["http://[::1/x"], "LOCATION: cannot be read as an address"),
        (["data/comma.csv", "--format", "rest"], "--format rest: needs the address of an API"),
        (["singer:tap-github"], "LOCATION: is a tap, which describes its streams itself"),
        (["data/comma.csv", "--format", "sql"], "--format sql: needs the URL of a database"),
        (["data/comma.csv", "--name", "Orders"], "--name: Orders is no name of a source table"),
        (["https://api.example/x", "--header-line", "x"], "--header-line: is no NAME:VALUE"),
    ],
)
def test_what_cannot_be_meant_is_refused(place: Workplace, arguments: list[str], said: str) -> None:
    """As a mistake of usage, before anything is looked at."""
    done = place.infer(*arguments)

    assert (2, "") == (done.status, done.out)
    assert done.err.startswith(f"Error: {said}")


def test_a_directory_is_refused(place: Workplace) -> None:
    """With the pattern that names its files."""
    assert "Error: data: is a directory; name the files in it, as in data/*.csv\n" == place.infer("data").err


def test_a_database_without_a_table_is_refused(place: Workplace) -> None:
    """With the tables that there are."""
    assert "is a database; name a table with --table (there are " in place.infer(place.url()).err
    assert "(there are orders)" in place.infer(f"sqlite:///{place.directory}/data/shop.db").err


def test_files_with_different_columns_are_refused(place: Workplace) -> None:
    """For a source table has one contract."""
    place.deliver("data/unlike/1.csv", "id,n\n1,1\n")
    place.deliver("data/unlike/2.csv", "id,m\n1,1\n")

    said = "data/unlike/2.csv: has no column 'n', which data/unlike/1.csv has and has the column 'm', which data/unlike/1.csv has not"
    assert said in place.infer("data/unlike/*.csv").err


def test_files_with_different_encodings_are_refused(place: Workplace) -> None:
    """What is all ASCII goes with either."""
    place.deliver("data/letters/1.csv", "id,t\n1,a\n")
    place.deliver("data/letters/2.csv", "id,t\n1,ü\n".encode("cp1252"))
    assert "cp1252" == place.table("data/letters/*.csv")["external"]["encoding"]

    place.deliver("data/letters/3.csv", "id,t\n1,ü\n")

    said = "data/letters/3.csv: is written in utf-8, and data/letters/2.csv in cp1252; a source has one encoding: name them apart"
    assert said in place.infer("data/letters/*.csv").err


def test_an_address_within_needs_a_word(place: Workplace) -> None:
    """As it does in a source."""
    assert "is in a private network, or this machine" in place.infer(f"{place.api.url}/records/all").err


SOURCES_FILE = """\
# Whose these are: ask sales.
version: 2

sources:
  - name: mine   # the first
    schema: staging
    tables:
      - name: one
        external: {location: data/comma.csv, file_format: csv, disposition: replace}
        columns:
          - {name: id, data_type: text}   # as delivered
          # the end of it

# Others follow.
  - name: other
    schema: staging
    tables: [{name: two, columns: [{name: a, data_type: text}]}]
"""


@pytest.fixture
def declared(place: Workplace) -> Iterator[Path]:
    """Write a file of sources, which is gone afterwards."""
    path = place.directory / "models/staging/mine.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(SOURCES_FILE.encode())
    yield path
    path.unlink()


def test_a_table_is_added_to_its_source(place: Workplace, declared: Path) -> None:
    """Behind the tables that are there, of which not a character changes."""
    done = place.infer("data/headless.csv", "--name", "mine.added", "--write")

    assert (0, "") == (done.status, done.err)
    text = declared.read_text()
    before, after = SOURCES_FILE.split("          # the end of it\n")
    assert text.startswith(before)
    assert text.endswith(f"          # the end of it\n{after}")
    assert ["one", "added"] == [table["name"] for table in yaml.safe_load(text)["sources"][0]["tables"]]


def test_a_source_is_added_to_a_file(place: Workplace, declared: Path) -> None:
    """Behind the sources that are there; also where the file has line ends of Windows."""
    declared.write_bytes(SOURCES_FILE.replace("\n", "\r\n").encode())

    done = place.infer("data/headless.csv", "--name", "third.added", "--write", str(declared))

    assert (0, "") == (done.status, done.err)
    text = declared.read_bytes().decode()
    assert text.startswith(SOURCES_FILE.replace("\n", "\r\n"))
    assert text.count("\n") == text.count("\r\n")
    assert ["mine", "other", "third"] == [source["name"] for source in yaml.safe_load(text)["sources"]]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine.one", "mine.one: is declared in models/staging/mine.yml already; name another with --name"),
        ("yours.one", "yours.one: staging.one is the staging table of mine.one (models/staging/mine.yml)"),
        ("other.three", "its list is empty, or in brackets; nothing is written"),
    ],
)
def test_what_cannot_be_added_is_refused(place: Workplace, declared: Path, name: str, said: str) -> None:
    """And the file stays as it is."""
    done = place.infer("data/headless.csv", "--name", name, "--write")

    assert (1, "") == (done.status, done.out)
    assert said in done.err
    assert SOURCES_FILE == declared.read_text()


def test_what_was_loaded_is_what_was_delivered(loaded: Mapping[str, Mapping[str, Any]], place: Workplace) -> None:
    """A value of each kind that is easily lost is in staging as it was written."""
    assert loaded
    with place.server.connect("transformer") as connection, system_context(connection, actor="test"):
        hard = connection.execute("select zip, phone, huge::text, fraction::text from staging.hard order by larger limit 1").fetchone()
        lines = connection.execute("select ratio::text, big::text, note, order_lines::text from staging.lines limit 1").fetchone()

    assert ("00", "+490", "10000000000000000000000000", "0.01234567890123456789") == hard
    assert ("0.12345678901234568", "12345678901234567890123", 'a "quoted"\nnote', '[{"sku": "a"}]') == lines


def test_dbt_finds_that_the_tests_hold(loaded: Mapping[str, Mapping[str, Any]], place: Workplace) -> None:
    """As they are written, for columns as well whose names need quotes."""
    assert loaded
    selected = ["source:files.hard", "source:files.budget", "source:crm", "source:api", "source:shop"]
    program = [sys.executable, "-m", "dpe_cli", "dbt", "--quiet", "test", "--select", *selected]
    variables = os.environ | place.environment | {"PYTHONPATH": str(dbt_projects.REPOSITORY)}
    done = subprocess.run(program, capture_output=True, text=True, cwd=place.directory, env=variables, check=False)

    assert 0 == done.returncode, done.stdout


def test_whoever_names_the_records_means_a_document(place: Workplace) -> None:
    """A file of one line may be either."""
    place.deliver("data/one_line.json", '{"data": {"items": [{"id": 1}, {"id": 2}]}}\n')

    external = place.table("data/one_line.json", "--records", "$.data.items")["external"]

    assert ("json", "$.data.items") == (external["file_format"], external["records"])


@pytest.mark.parametrize("option", [["--records", "$.x"], ["--sheet", "x"], ["--table", "x"]])
def test_an_option_of_another_format_is_refused(place: Workplace, option: list[str]) -> None:
    """Instead of doing nothing."""
    place.deliver("data/plain.csv", "id,note\n1,a\n")

    done = place.infer("data/plain.csv", *option)

    assert (2, f"Error: data/plain.csv: {option[0]} says nothing of csv; leave it out, or name the format with --format\n") == (
        done.status,
        done.err,
    )


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000"])
def test_blanks_that_postgresql_does_not_pass_over_make_text(place: Workplace, blank: str) -> None:
    """Or each row that has one would be a reject."""
    place.deliver("data/blank.csv", f"id,n,day\n1, 12 ,2024-01-01\n2,13{blank},{blank}2024-01-01\n")

    assert {"id": "integer", "n": "text", "day": "text"} == place.types("data/blank.csv")


def test_what_dbt_would_run_is_left_out(place: Workplace) -> None:
    """A name with Jinja would break the project; a location with it is refused."""
    place.deliver("data/jinja.csv", "id,{{ 1/0 }},{% raw %},{# x #}\n1,2,3,4\n")
    found = place.table("data/jinja.csv")
    assert (["id"], "ignore") == ([column["name"] for column in found["columns"]], found["external"]["extra_columns"])

    place.deliver("data/{{ x }}.csv", "id\n1\n")
    done = place.infer("data/{{ x }}.csv", "--name", "shop.x")
    assert (1, "Error: shop.x: location is data/{{ x }}.csv, in which dbt would see Jinja; have it named otherwise\n") == (
        done.status,
        done.err,
    )


def test_a_link_stays_a_link(place: Workplace) -> None:
    """What it leads to is written; a file with line ends of two kinds is left alone."""
    place.deliver("data/link.csv", "id\n1\n")
    real = place.directory / "real.yml"
    real.write_bytes(b"version: 2\n")
    link = place.directory / "models" / "link.yml"
    link.symlink_to(real)
    assert 0 == place.infer("data/link.csv", "--name", "linked.one", "--write", str(link)).status
    assert (True, True) == (link.is_symlink(), "linked" in real.read_text(encoding="utf-8"))

    real.write_bytes(b"version: 2\r\n# two\n")
    done = place.infer("data/link.csv", "--name", "linked.two", "--write", str(link))
    assert (1, b"version: 2\r\n# two\n") == (done.status, real.read_bytes())
    assert "has line ends of two kinds" in done.err
    link.unlink()
