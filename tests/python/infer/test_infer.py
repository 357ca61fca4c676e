"""`dpe source infer` writes a contract under which dpe loads every record, whatever the source."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import boto3
import duckdb
import pytest
import yaml
from moto.server import ThreadedMotoServer
from support import dbt_projects
from support.infer_place import Workplace
from support.infer_samples import PASSWORD, SOURCES, lines
from support.misbehaving_api import Answer

from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.contexts import system_context


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_inferred_loads_every_record(loaded: Mapping[str, Mapping[str, Any]], name: str) -> None:
    """None is rejected, in any format."""
    extract = loaded[name]

    assert (SOURCES[name][1], 0) == (extract["rows_loaded"], extract["rows_rejected"])


@pytest.mark.parametrize("name", ["flights", "airlines", "airports", "planes", "weather"])
def test_the_sample_has_the_types_that_people_gave_it(place: Workplace, name: str) -> None:
    """Whole numbers and double precision, times with their zone, and NA for missing values."""
    declared = yaml.safe_load((dbt_projects.REPOSITORY / "models/staging/nyc/_nyc__sources.yml").read_text(encoding="utf-8"))
    table = next(table for table in declared["sources"][0]["tables"] if table["name"] == name)
    pattern = dbt_projects.REPOSITORY / str(table["external"]["location"]).replace("*", "2013-01")

    found = place.table(str(pattern))

    expected = {column["name"]: column["data_type"] for column in table["columns"]}
    if name == "weather":
        # All of them are whole.
        expected["wind_dir"] = "integer"
    assert expected == {column["name"]: column["data_type"] for column in found["columns"]}
    # In airlines and airports, none is missing.
    assert ("NA" if name not in {"airlines", "airports"} else None) == found["external"].get("null_string")


def test_no_type_loses_what_was_seen(place: Workplace) -> None:
    """Leading zeros, more digits than a number holds, dates in several forms and impossible days are kept."""
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
    """With a value that does not fit, and the file that has it."""
    place.deliver("data/year/1.csv", "id,n\n1,1\n2,2\n")
    place.deliver("data/year/2.csv", "id,n\n3,3\n4,four\n")

    done = place.infer("data/year/*.csv")

    assert "# text: 1 of 4 values are not a whole number, as 'four' in data/year/2.csv\n" in done.out
    assert "# inferred from 4 records in 2 files, which is all there are now\n" in done.out


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
def test_the_dialect_is_told_where_it_is_not_the_default(place: Workplace, name: str, options: dict[str, object]) -> None:
    """Otherwise it is not mentioned."""
    expected = {"location": f"data/{name}", "file_format": "csv", "disposition": "replace", "rejects": {"max_rows": 0}}

    assert expected | options == place.table(f"data/{name}")["external"]


def test_json_objects_are_split_into_columns(place: Workplace) -> None:
    """Objects become columns with their paths; arrays, and empty objects, stay whole. Text that consists of digits is text."""
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


def test_the_catalog_of_a_database_is_used(place: Workplace) -> None:
    """Types, keys and comments; its own types become text, and its Jinja is not evaluated by dbt."""
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
    """It is read from the project's directory, wherever that is."""
    assert "sqlite:///data/shop.db" == place.table("sqlite:///data/shop.db", "--table", "orders")["external"]["location"]


def test_declared_types_of_sqlite_are_checked(place: Workplace) -> None:
    """It stores anything in any column, so the values decide."""
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


@pytest.mark.parametrize(
    ("style", "paginator"), [("link", {"type": "json_link", "next_url_path": "$.next"}), ("header", {"type": "header_link"})]
)
def test_an_api_is_paged_through(place: Workplace, style: str, paginator: dict[str, str]) -> None:
    """Its URL is split up, and its records and the link to the next page are found."""
    external = place.table(f"{place.api.url}/records/{style}?since=2024", "--allow-private-addresses")["external"]

    assert {
        "location": f"{place.api.url}/records/{style}",
        "params": {"since": "2024"},
        "allow_private_addresses": True,
        "data_selector": "$.data.items",
        "paginator": paginator,
        "file_format": "rest",
        "disposition": "replace",
        "rejects": {"max_rows": 0},
    } == external


def test_a_file_of_the_web_is_fetched(place: Workplace) -> None:
    """The ending of its path is its format; the query is not part of its name."""
    place.api.faults = [lambda answer: replace(answer, body=b"id;n\n1;2\n")] * 2

    table = place.table(f"{place.api.url}/exports/orders.csv?day=1", "--allow-private-addresses")

    assert "orders" == table["name"]
    assert {"location": f"{place.api.url}/exports/orders.csv?day=1", "allow_private_addresses": True, "delimiter": ";"}.items() <= (
        table["external"].items()
    )


def test_files_of_a_bucket_are_fetched(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the credentials from the environment."""
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


def test_more_than_one_page_is_noted(place: Workplace) -> None:
    """If it is unknown how to request the next one."""
    # The inspected page, and the same one as it is read.
    place.api.faults = [_without_link, _without_link]
    done = place.infer(f"{place.api.url}/records/page", "--allow-private-addresses")

    assert "# this is only the first page: total says 35 records, but there are 10; add a paginator and total_path\n" in done.out


def test_a_path_is_only_a_path(place: Workplace) -> None:
    """Neither the directory that a path is relative to nor the file's own name is a pattern, for dpe or for DuckDB."""
    directory = place.directory / "day [1]" / "shop=HA"
    directory.mkdir(parents=True)
    place.deliver("day 1/shop=HA/o1.parquet", "x")
    for name, values in {"o1.parquet": "1 as id", "o[12].parquet": "'text' as note"}.items():
        duckdb.execute(f"copy (select {values}) to '{directory / 'written'}' (format parquet)")
        (directory / "written").rename(directory / name)

    inside = replace(place, directory=directory)
    assert {"note": "text"} == inside.types("o[[]12].parquet")
    found = inside.table("o1.*")

    assert (["id"], "day [[]1]/shop=HA/o1.*") == ([column["name"] for column in found["columns"]], found["external"]["location"])


def test_a_password_is_used_and_never_written(place: Workplace) -> None:
    """The output refers to a variable, and so does an error."""
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
    """A few records do not make a value unique, and a fraction is not a key."""
    place.deliver("data/keys.csv", lines("id,code,half,ratio\n", lambda n: f"{n},c{n},{n if n % 2 else ''},{n}.5"))
    place.deliver("data/few.csv", "id\n1\n2\n")

    assert [["not_null", "unique"], ["not_null", "unique"], None, ["not_null"]] == [
        column.get("data_tests") for column in place.table("data/keys.csv")["columns"]
    ]
    assert [["not_null"]] == [column.get("data_tests") for column in place.table("data/few.csv")["columns"]]


def test_a_sample_is_described_as_one(place: Workplace) -> None:
    """The YAML says how many records it is based on."""
    assert (
        "# inferred from 10 records, and there may be more: set --sample to read more\n"
        in place.infer("data/comma.csv", "--sample", "10").out
    )


def test_records_unlike_the_others_are_noted(place: Workplace) -> None:
    """They would be rejects; the note has their number and the place of the first one."""
    place.deliver("data/broken.csv", 'a,b\n1,2\n"5"x,2\n1,2,3\n3,4\n\n')

    done = place.infer("data/broken.csv")

    assert "# 3 records cannot be read like the others, the first at data/broken.csv, line 3; rejects allows for them: ask the" in done.out
    assert {"a": "integer", "b": "integer"} == place.types("data/broken.csv")
    assert {"max_rows": 3} == place.table("data/broken.csv")["external"]["rejects"]


def test_what_was_loaded_is_what_was_delivered(loaded: Mapping[str, Mapping[str, Any]], place: Workplace) -> None:
    """A value of each kind that is easily lost is in staging as it was written."""
    assert loaded
    with place.server.connect("transformer") as connection, system_context(connection, actor="test"):
        hard = connection.execute("select zip, phone, huge::text, fraction::text from staging.hard order by larger limit 1").fetchone()
        lines = connection.execute("select ratio::text, big::text, note, order_lines::text from staging.lines limit 1").fetchone()

    assert ("00", "+490", "10000000000000000000000000", "0.01234567890123456789") == hard
    assert ("0.12345678901234568", "12345678901234567890123", 'a "quoted"\nnote', '[{"sku": "a"}]') == lines


def test_dbt_finds_that_the_tests_hold(loaded: Mapping[str, Mapping[str, Any]], place: Workplace) -> None:
    """As written, even for columns whose names need quotes."""
    assert loaded
    selected = ["source:files.hard", "source:files.budget", "source:crm", "source:api", "source:shop"]

    results = run_dbt(Project(place.directory), place.server, ["test", "--select", *selected])

    assert 10 < len(results)
    assert [] == [result for result in results if result.status != "pass"]


def test_naming_the_records_means_a_document(place: Workplace) -> None:
    """A file with one line may be either."""
    place.deliver("data/one_line.json", '{"data": {"items": [{"id": 1}, {"id": 2}]}}\n')

    external = place.table("data/one_line.json", "--records", "$.data.items")["external"]

    assert ("json", "$.data.items") == (external["file_format"], external["records"])


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000"])
def test_blanks_that_postgresql_does_not_ignore_make_text(place: Workplace, blank: str) -> None:
    """Otherwise each row that has one would be a reject."""
    place.deliver("data/blank.csv", f"id,n,day\n1, 12 ,2024-01-01\n2,13{blank},{blank}2024-01-01\n")

    assert {"id": "integer", "n": "text", "day": "text"} == place.types("data/blank.csv")


def test_jinja_in_names_is_left_out(place: Workplace) -> None:
    """A name with Jinja would break the project; a location with it is refused."""
    place.deliver("data/jinja.csv", "id,{{ 1/0 }},{% raw %},{# x #}\n1,2,3,4\n")
    found = place.table("data/jinja.csv")
    assert (["id"], "ignore") == ([column["name"] for column in found["columns"]], found["external"]["extra_columns"])

    place.deliver("data/{{ x }}.csv", "id\n1\n")
    done = place.infer("data/{{ x }}.csv", "--name", "shop.x")
    assert (1, "Error: shop.x: location is data/{{ x }}.csv, which dbt would evaluate as Jinja; rename it at the source\n") == (
        done.status,
        done.err,
    )
