"""A contract changes, and what was delivered before can still be read: columns have other names, and may be missing."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pytest
import yaml
from support.staged_source import Stage, StagedSource

from dpe_cli.blocks.yaml_line import column_line
from dpe_cli.errors import ContractError
from dpe_cli.ingest import rejects as replays
from dpe_cli.server.server import Server

COLUMNS = "id integer also order_no+number, note text, size integer optional, unit text default 'cm'"

Record = Mapping[str, object]
# Writes records as a file: of a path and the records.
Writer = Callable[[Path, Sequence[Record]], None]


def _csv(path: Path, records: Sequence[Record]) -> None:
    lines = [",".join(records[0]), *(",".join(map(str, record.values())) for record in records)]
    path.write_text("".join(f"{line}\n" for line in lines))


def _without_header(path: Path, records: Sequence[Record]) -> None:
    path.write_text("".join(",".join(map(str, record.values())) + "\n" for record in records))


def _fixed_width(path: Path, records: Sequence[Record]) -> None:
    path.write_text("".join("".join(f"{value!s:<4}" for value in record.values()) + "\n" for record in records))


def _lines(path: Path, records: Sequence[Record]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def _document(path: Path, records: Sequence[Record]) -> None:
    path.write_text(json.dumps(records))


def _parquet(path: Path, records: Sequence[Record]) -> None:
    selected = " union all ".join("select " + ", ".join(f"{value!r} as {name}" for name, value in record.items()) for record in records)
    duckdb.execute(f"copy ({selected}) to '{path}' (format parquet)")


def _excel(path: Path, records: Sequence[Record]) -> None:
    workbook = openpyxl.Workbook()
    assert workbook.active is not None
    for row in ([*records[0]], *(list(record.values()) for record in records)):
        workbook.active.append(row)
    workbook.save(path)


FORMATS: dict[str, tuple[Writer, dict[str, Any]]] = {
    "csv": (_csv, {}),
    "jsonl": (_lines, {}),
    "json": (_document, {}),
    "parquet": (_parquet, {}),
    "excel": (_excel, {}),
}
# Records whose columns have a place instead of a name.
PLACED: dict[str, tuple[Writer, dict[str, Any]]] = {"csv": (_without_header, {"header": False}), "fixed_width": (_fixed_width, {})}


def _missing(source: StagedSource) -> list[list[str] | None]:
    return [missing for (missing,) in source.ledger("select columns_missing from dpe.loads where source = %s order by load_id")]


@pytest.mark.parametrize("file_format", FORMATS)
def test_older_deliveries_are_read_under_a_new_contract(stage: Stage, file_format: str) -> None:
    """With nulls or defaults for what they lack, which the ledger says, and under their own names; in one extract and with newer ones."""
    write, options = FORMATS[file_format]
    source = stage(COLUMNS, file_format=file_format, **options)
    write(source.directory / "1", [{"order_no": 1, "note": "a"}])
    write(source.directory / "2", [{"number": 2, "note": "b", "size": 20}])
    write(source.directory / "3", [{"id": 3, "note": "c", "size": 30, "unit": "in"}])

    result = source.extract(jobs=1)
    wanted = [(1, "a", None, "'cm'"), (2, "b", 20, "'cm'"), (3, "c", 30, "in")]
    assert wanted == source.rows()
    assert [["size", "unit"], ["unit"], None] == _missing(source)
    assert [["size", "unit"], ["unit"], []] == [[*load.columns_missing] for load in result.loads]

    source.extract(jobs=1, full_refresh=True)
    assert wanted == source.rows()


@pytest.mark.parametrize("file_format", PLACED)
def test_records_without_names_may_end_early(stage: Stage, file_format: str) -> None:
    """The first record shows how many columns a delivery has."""
    write, options = PLACED[file_format]
    places = iter(["", " at 1+4", "", " at 5+4", "", " at 9+4"][file_format == "fixed_width" :: 2])
    source = stage(
        f"id integer{next(places)}, note text{next(places)}, size integer{next(places)} optional", file_format=file_format, **options
    )
    write(source.directory / "1", [{"id": 1, "note": "a"}, {"id": 2, "note": "b"}])
    write(source.directory / "2", [{"id": 3, "note": "c", "size": 30}, {"id": 4, "note": "d", "size": 40}])

    source.extract(jobs=1)

    assert ([(1, "a", None), (2, "b", None), (3, "c", 30), (4, "d", 40)], []) == (source.rows(), source.rejects())
    assert [["size"], None] == _missing(source)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_column_under_two_of_its_names_is_refused(stage: Stage, file_format: str) -> None:
    """Which of them counts, only the sender knows."""
    write, options = FORMATS[file_format]
    source = stage(COLUMNS, file_format=file_format, **options)
    write(source.directory / "1", [{"order_no": 1, "id": 2, "note": "a"}])

    with pytest.raises(ContractError, match=r"'id' and 'order_no'|'order_no' and 'id'"):
        source.extract()
    assert 0 == source.count()


@pytest.mark.parametrize("url", ["sqlite", "postgresql"])
def test_a_database_may_lack_columns_and_name_them_otherwise(stage: Stage, server: Server, url: str) -> None:
    """Also the column from which the next extract resumes."""
    incremental = {"cursor_path": "id", "key": ["id"]}
    source = stage(COLUMNS, file_format="sql", location="sqlite:///x.db", table="orders", disposition="append", incremental=incremental)
    schema = "main" if url == "sqlite" else "public"
    statements = [f"create table {schema}.orders (order_no integer, note text)", f"insert into {schema}.orders values (1, 'a')"]
    if url == "sqlite":
        with closing(sqlite3.connect(source.directory / "x.db")) as connection:
            connection.executescript(";".join(statements))
    else:
        with server.connect("admin", autocommit=True) as postgres:
            for statement in statements:
                postgres.execute(statement.encode())
        source.declare(location=f"postgresql://postgres@/{server.database}?host={server.host}&port={server.port}", table="public.orders")

    source.extract()
    source.extract()

    assert [(1, "a", None, "'cm'")] == source.rows()
    assert [["size", "unit"]] * 2 == _missing(source)


def test_a_null_is_not_a_missing_member(stage: Stage) -> None:
    """A member that is there counts as delivered, whatever its value; one that is missing from a record gets the default."""
    source = stage("id integer, size integer default 7, data jsonb optional", file_format="jsonl")
    source.deliver('{"id": 1, "size": null}\n{"id": 2}\nnothing\n{"id": 3, "size": 3, "data": {"a": [1]}}\n')

    source.extract()

    assert [(1, None, None), (2, 7, None), (3, 3, {"a": [1]})] == source.rows()
    assert ([None], 1) == (_missing(source), len(source.rejects()))


def test_a_column_that_was_renamed_in_the_contract_is_found(stage: Stage) -> None:
    """A full refresh reads every file that was once read."""
    source = stage("order_no integer, note text").deliver("order_no,note\n1,a\n")
    source.extract()
    source.declare("id integer also order_no, note text, size integer optional")
    source.deliver("id,note,size\n2,b,20\n", "b.csv")

    source.extract(full_refresh=True)

    assert [(1, "a", None), (2, "b", 20)] == source.rows()


@pytest.mark.parametrize(("data_type", "default"), [("integer", "many"), ("varchar(2)", "abc"), ("date", "31.12.2024")])
def test_a_default_that_its_type_refuses_is_refused(stage: Stage, data_type: str, default: str) -> None:
    """Before anything is read, whether or not a delivery needs it."""
    source = stage(f"id integer, size {data_type} default {default}").deliver("id,size\n1,\n")

    with pytest.raises(
        ContractError, match=rf"shop.yml:5\): column size: meta.default is '{default}', which .* refuses \(.*\); correct it"
    ):
        source.extract()


@pytest.mark.parametrize(
    ("data_type", "default", "fault"),
    [
        ("numeric(10,2)", "2.345", "2.345"),
        ("date", "1/1/24", "1/1/24"),
        ("char(2)", "ab   ", "ab   "),
        ("interval day", "PT25H", "PT25H"),
        ("varchar(2)[]", '{a,"ab   "}', "ab   "),
        ("int4range", "[1,0x1F)", "0x1F"),
    ],
)
def test_a_default_that_its_type_would_change_is_refused(stage: Stage, data_type: str, default: str, fault: str) -> None:
    """Before anything is read, like a value that is delivered."""
    source = stage(f"id integer, size {data_type} default {default}").deliver("id\n1\n")

    with pytest.raises(
        ContractError, match=rf'shop.yml:5\): column size: meta.default is .*, which .* would change \(.*"{re.escape(fault)}".*\); write'
    ):
        source.extract()


def test_a_default_may_be_rounded_as_declared(stage: Stage) -> None:
    """With `round: true`, as the values of its column."""
    source = stage("id integer, size numeric(10,2) default 2.345 rounds").deliver("id\n1\n")

    source.extract()

    assert [("2.35",)] == source.query(f"select size::text from {source.relation}")


def test_a_new_column_is_refused_with_the_lines_that_declare_it(stage: Stage) -> None:
    """Of the type that its values have; the lines work as they are."""
    source = stage("id integer").deliver("id\n1\n")
    source.extract()
    source.deliver("id,coupon,on,a 'b': c,day,zip\n2,7,x,1.50,2024-01-01,01234\n", "b.csv")

    with pytest.raises(ContractError) as refused:
        source.extract()

    lines = str(refused.value).split("to load them, add to the columns:\n")[1]
    assert [
        {"name": "coupon", "data_type": "bigint"},
        {"name": "on", "quote": True, "data_type": "text"},
        {"name": "a 'b': c", "quote": True, "data_type": "numeric"},
        {"name": "day", "data_type": "date"},
        {"name": "zip", "data_type": "text"},
    ] == [{name: value for name, value in column.items() if name != "config"} for column in yaml.safe_load(lines)]
    assert "- {name: coupon, data_type: bigint, config: {meta: {optional: true}}}" in lines
    assert 1 == source.count()


def test_a_new_member_is_refused_with_the_line_that_declares_it(stage: Stage) -> None:
    """Of the type that JSON gives it."""
    source = stage("id integer", file_format="jsonl").deliver('{"id": 1}\n{"id": 2, "ok": true, "tags": ["a"], "at": "2024-01-01"}\n')

    with pytest.raises(ContractError) as refused:
        source.extract()

    assert [
        column_line("at", "text"),
        column_line("ok", "boolean"),
        column_line("tags", "jsonb"),
    ] == [line.strip() for line in str(refused.value).split("add to the columns:\n")[1].splitlines()]


@pytest.mark.parametrize("name", ["{{ env_var('DPE_TRANSFORMER_PASSWORD') }}", "{% set a = 1 %}", "{# a #}"])
@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_no_line_is_proposed_that_dbt_would_evaluate(stage: Stage, file_format: str, name: str) -> None:
    """A sender's Jinja in a proposed line would show the pipeline's password as a column's name, once the line is in the YAML."""
    source = stage("id integer, size integer" if file_format == "csv" else "id integer", file_format=file_format)
    source.deliver(f'id,"{name}",day\n1,2,2024-01-01\n' if file_format == "csv" else json.dumps({"id": 1, name: 2, "day": "2024-01-01"}))

    with pytest.raises(ContractError) as refused:
        source.extract()

    head, lines = str(refused.value).split("add to the columns:\n")
    assert f"ask the sender to rename {name!r}, which dbt would evaluate as Jinja" in head
    assert ["day"] == [column["name"] for column in yaml.safe_load(lines)]
    assert (file_format == "csv") == ("headers: [day]" in head)
    assert 'headers: ["' not in head


def test_no_line_is_proposed_for_a_name_that_dbt_cannot_quote(stage: Stage) -> None:
    """dbt writes the name into statements and does not double its quotes, so that what follows one would be SQL."""
    source = stage("id integer")
    source.deliver('id,"a"" is null; drop table x; --",day\n1,2,2024-01-01\n')

    with pytest.raises(ContractError) as refused:
        source.extract()

    head, lines = str(refused.value).split("add to the columns:\n")
    assert """ask the sender to rename 'a" is null; drop table x; --', which dbt cannot quote""" in head
    assert ["day"] == [column["name"] for column in yaml.safe_load(lines)]


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_a_name_of_megabytes_makes_a_short_message(stage: Stage, file_format: str) -> None:
    """Of which it is searched for secrets quickly; such a name cannot be declared either."""
    name = "A%41" * 500_000
    source = stage("id integer, size integer optional", file_format=file_format)
    source.deliver(f"id,{name}\n1,2\n" if file_format == "csv" else json.dumps({"id": 1, name: 2}) + "\n")

    with pytest.raises(ContractError, match="A%41A%41.*….* is not in the contract") as refused:
        source.extract()

    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_rejects_of_older_deliveries_are_corrected_under_the_new_contract(stage: Stage, file_format: str) -> None:
    """They are exported with its names and defaults, and their corrections may lack columns too."""
    write, options = FORMATS[file_format]
    source = stage(COLUMNS, file_format=file_format, **options)
    write(source.directory / "1", [{"order_no": "one", "note": "a"}])
    source.extract()
    sources = {source.source.name: source.source}

    export = replays.export(sources, source.server, source.source.name, project_dir=source.directory)
    assert ["id"] == [name for (name,) in source.rejects("column_name")]
    assert ["one", "a", "", "'cm'"] == [value.strip('"') for value in export.records[1].split(",")[-4:]]

    corrected = source.directory / "corrected"
    corrected.write_text("_reject_id,number,note\n{},1,a\n".format(export.records[1].split(",")[0]))
    done = replays.replay(sources, source.server, source.source.name, corrected, project_dir=source.directory)

    assert [(1, "a", None, "'cm'")] == source.rows()
    assert [["size", "unit"]] == [[*load.columns_missing] for load in done.loads]
