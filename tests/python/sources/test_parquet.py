"""Parquet: every type as PostgreSQL reads it, nothing lost, and a broken file refused whole."""

from __future__ import annotations

import base64
import gzip
import tempfile
from pathlib import Path

import duckdb
import pytest
from support.staged_source import Stage

from dpe_cli import machine
from dpe_cli.errors import ContractError, InputError, UsageError
from dpe_cli.infer.request import Request, inferred
from dpe_cli.sources.files import find, parquet

TYPES = """
    select
        9007199254740993::bigint as whole,
        12345678901234567890.12345678::decimal(38, 8) as exact,
        0.30000000000000004::double as inexact,
        '' as empty,
        null::varchar as missing,
        'Zoë "a", b' || chr(10) || '\\.' as text,
        timestamptz '2024-03-31 01:30:00.123456+00' as moment,
        date '0099-12-31' as day,
        'a\\x00\\xFF'::blob as bytes,
        [1, 2] as list,
        {'a': 1, 'b': [null, 'x']} as document,
        true as yes,
        uuid '5f0c8f4e-0000-4000-8000-000000000001' as id
"""


def _write(query: str, path: Path, options: str = "") -> bytes:
    duckdb.connect().execute("set timezone = 'UTC'").execute(f"copy ({query}) to '{path}' (format parquet{options})")
    return path.read_bytes()


def test_values_are_those_of_the_file(stage_anywhere: Stage, tmp_path: Path) -> None:
    """Of every type, to the last digit; a null is null, and an empty text is not."""
    source = stage_anywhere(
        "whole bigint, exact numeric, inexact double precision, empty text, missing text, text text, moment timestamptz, day date, "
        "bytes bytea, list jsonb, document jsonb, yes boolean, id uuid",
        file_format="parquet",
        location="*.parquet",
    )
    _write(TYPES, tmp_path / "a.parquet")

    source.extract()

    assert [
        (
            "9007199254740993",
            "12345678901234567890.12345678",
            "0.30000000000000004",
            "",
            None,
            'Zoë "a", b\n\\.',
            "2024-03-31 01:30:00.123456+00",
            "0099-12-31",
            "\\x6100ff",
            "[1, 2]",
            '{"a": 1, "b": [null, "x"]}',
            "true",
            "5f0c8f4e-0000-4000-8000-000000000001",
        )
    ] == source.query(
        f"""
        select whole::text, exact::text, inexact::text, empty, missing, text, (moment at time zone 'UTC')::text || '+00', day::text,
            bytes::text, list::text, document::text, yes::text, id::text
        from {source.relation}
        """
    )


NESTED = """
    select
        12345678901234567890123456.78::decimal(38, 2)::variant as variant,
        {'a': 1234567890123456.78::decimal(18, 2)}::variant as variants,
        '{"a": 0.12345678901234567890123}'::json as json,
        {
            'a "b': 0.000000000000000001::decimal(18, 18),
            'c': '[0.12345678901234567890123]'::json,
            'd': [-0.5::decimal(1, 1), null],
            'e': map {'k"': -0.5::decimal(1, 1)},
            'f': null::integer,
        } as nested
"""


def test_values_within_others_keep_every_digit(stage: Stage, tmp_path: Path) -> None:
    """Decimals in a VARIANT, numbers in JSON, and fractions in structs, lists and maps."""
    source = stage("variant numeric, variants jsonb, json jsonb, nested jsonb", file_format="parquet", location="*.parquet")
    _write(NESTED, tmp_path / "a.parquet")

    source.extract()

    assert [
        (
            "12345678901234567890123456.78",
            '{"a": 1234567890123456.78}',
            '{"a": 0.12345678901234567890123}',
            '{"c": [0.12345678901234567890123], "d": [-0.5, null], "e": {"k\\"": -0.5}, "f": null, "a \\"b": 0.000000000000000001}',
        )
    ] == source.query(f"select variant::text, variants::text, json::text, nested::text from {source.relation}")


# Two amounts of type decimal(39, 2), 1234567890123456789.12 and 0.10; DuckDB cannot write this type.
LONG_DECIMALS = base64.b64decode(
    "UEFSMRUAFRwVHCwVBBUAFQYVBhwAAAACAAAABAEBAAAAAgAAABUAFVAVUCwVBBUAFQYVBhwAAAACAAAABAEAAAAAAAAAAAaxTp+BLzZsQAAA"
    "AAAAAAAAAAAAAAAAAAAKFQQZPDUAGAZzY2hlbWEVBAAVAiUCGAJpZAAVDhUiFQIYBmFtb3VudCUKFQQVTixcFQQVTgAAABYEGRwZLCYAHBUC"
    "GSUGABkYAmlkFQAWBBZCFkImCEkcFQAVABUCADwpBhkmAAQAAAAmABwVDhklBgAZGAZhbW91bnQVABYEFnYWdiZKSRwVABUAFQIAPCkGGSYA"
    "BAAAABa4ARYEJggWuAEAKCBwYXJxdWV0LWNwcC1hcnJvdyB2ZXJzaW9uIDI2LjAuMRksHAAAHAAAAM0AAABQQVIx"
)


def test_decimals_that_would_lose_digits_are_refused(stage: Stage) -> None:
    """DuckDB reads them as doubles; the other columns are loaded if the contract leaves such a column out."""
    source = stage("id integer, amount numeric", file_format="parquet", location="*.parquet").deliver(LONG_DECIMALS, "a.parquet")

    with pytest.raises(InputError, match=r"^a.parquet: column 'amount' has decimals of 39 digits, of which some would be lost"):
        source.extract()
    source.declare("id integer", extra_columns="ignore")
    source.extract(full_refresh=True)

    assert [(1,), (2,)] == source.rows()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("value", ["1", "0.5::decimal(2,2)", "{'a': [0.5::decimal(2,2)]}", "map {'a': 1}"])
def test_lists_within_lists_take_no_time_per_level(stage: Stage, tmp_path: Path, value: str) -> None:
    """DuckDB takes several times as long for each. They are read up to four deep; deeper ones are refused, or left out by the contract."""
    source = stage("id integer, note jsonb", file_format="parquet", location="*.parquet")
    levels = 4 - value.count("[") - value.count("map")
    _write(f"select 1 as id, {'[' * levels}{value}{']' * levels} as note", tmp_path / "a.parquet")
    source.extract()
    _write(f"select 2 as id, {'[' * 30}{value}{']' * 30} as note", tmp_path / "b.parquet")

    with pytest.raises(InputError, match=r"^b.parquet: column 'note' has lists or maps within each other more than 4 deep"):
        source.extract()
    source.declare("id integer", extra_columns="ignore")
    source.extract(full_refresh=True)

    assert [(1,), (2,)] == source.rows()


def test_a_nan_is_nan_whatever_its_sign(stage: Stage, tmp_path: Path) -> None:
    """And a column that has one is a column of numbers, if dpe infers the contract."""
    _write(
        "select * from (values (1, -'nan'::double, -'nan'::float), (2, 1.5, 0.1), (3, '-inf', null)) as v (id, a, b)",
        tmp_path / "a.parquet",
    )

    found = inferred(Request(location=str(tmp_path / "a.parquet"), name="lake.sums"), tmp_path)
    assert {"id": "integer", "a": "double precision", "b": "real"} == {column.name: column.data_type for column in found.columns}
    source = stage("id integer, a double precision, b real", **found.external)
    source.extract()

    assert ["(1,NaN,NaN)", "(2,1.5,0.1)", "(3,-Infinity,)"] == [
        row for (row,) in source.query(f"select (id, a, b)::text from {source.relation} order by id")
    ]


def test_an_inferred_contract_loads_documents_with_nan(stage: Stage, tmp_path: Path) -> None:
    """As text, because JSON has no NaN; jsonb would reject the record."""
    _write("select {'a': 'nan'::double} as s, {'a': 1.5} as t, ['inf'::float] as l, [1.5] as m", tmp_path / "a.parquet")

    found = inferred(Request(location=str(tmp_path / "a.parquet"), name="lake.sums"), tmp_path)
    assert ["text", "jsonb", "text", "jsonb"] == [column.data_type for column in found.columns]
    source = stage("s text, t jsonb, l text, m jsonb", **found.external)
    source.extract()
    assert [('{"a":NaN}', {"a": 1.5}, "[Infinity]", [1.5])] == source.rows()

    source.declare("s jsonb, t jsonb, l text, m jsonb", rejects={"max_ratio": 1})
    source.extract(full_refresh=True)
    assert [(1, "s", "22P02")] == source.rejects("position, column_name, sqlstate")


def test_names_that_differ_only_in_case_are_columns_of_their_own(stage: Stage, tmp_path: Path) -> None:
    """DuckDB calls the second one ID_1."""
    source = stage("ID integer, id integer", file_format="parquet", location="*.parquet")
    path = tmp_path / "a.parquet"
    content = _write("select 1 as id, 2 as xx", path)
    path.write_bytes(content.replace(b"xx", b"ID"))

    source.extract()

    assert [(2, 1)] == source.rows()


# A few kilobytes that take gigabytes once they are read.
BOMBS = {
    "texts": "select repeat('a', 1000000) as t from range(2000)",
    "documents": "select [repeat('a', 1000000) || (i % 2)] as t from range(1000) as r (i)",
}


@pytest.mark.parametrize("query", BOMBS.values(), ids=BOMBS)
def test_a_file_that_takes_too_much_memory_is_refused(stage: Stage, tmp_path: Path, query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the machine has none left; the error names the limit."""
    monkeypatch.setattr(machine, "_MOST_OF_A_READER", 500_000_000)
    source = stage("t text", file_format="parquet", location="*.parquet")
    assert len(_write(query, tmp_path / "a.parquet", ", compression zstd")) < 5000

    with pytest.raises(InputError, match=r"^a.parquet: reading it takes more than 500.0 MB of memory, the limit; ask the sender"):
        source.extract()
    assert ["failed"] == source.statuses()


def test_an_encrypted_file_is_refused(stage: Stage, tmp_path: Path) -> None:
    """Like any other that cannot be read."""
    source = stage("id integer", file_format="parquet", location="*.parquet")
    connection = duckdb.connect()
    connection.execute("set force_mbedtls_unsafe = 'true'")
    connection.execute("pragma add_parquet_key('k', '0123456789112345')")
    connection.execute(f"copy (select 1 as id) to '{tmp_path}/a.parquet' (format parquet, encryption_config {{footer_key: 'k'}})")

    with pytest.raises(InputError, match=r"^a.parquet: cannot be read as Parquet"):
        source.extract()


def test_many_row_groups_are_read_to_the_last(stage: Stage, tmp_path: Path) -> None:
    """By several writers, and each file once, by its content."""
    source = stage("id integer, note text", file_format="parquet", location="*.parquet")
    _write("select i::integer as id, 'note ' || i as note from range(50000) as r (i)", tmp_path / "a.parquet", ", row_group_size 5000")

    assert (50_000, 50_000) == (source.extract().records_read, source.count())
    assert (0, 50_000) == (source.extract().records_read, source.count())


def test_a_value_that_does_not_fit_is_a_reject(stage_anywhere: Stage, tmp_path: Path) -> None:
    """With the number of its record, and the record as JSON."""
    source = stage_anywhere("id integer, note text", file_format="parquet", location="*.parquet")
    _write(
        "select * from (values (1, 'a'), (3000000000, 'b\"' || chr(10)), (2, ''), (4000000000, null)) as v (id, note)",
        tmp_path / "a.parquet",
    )

    assert 2 == source.extract().rows_rejected
    assert [(1, "a"), (2, "")] == source.rows()
    assert [
        (2, "id", "22003", r'{"id": "3000000000", "note": "b\"\n"}'),
        (4, "id", "22003", '{"id": "4000000000", "note": null}'),
    ] == source.rejects("position, column_name, sqlstate, raw")


def test_a_broken_row_group_refuses_the_file(stage: Stage, tmp_path: Path) -> None:
    """Nothing of it is visible, nor of the extract's other files; the error names the file."""
    source = stage("id integer, note text", file_format="parquet", location="*.parquet")
    path = tmp_path / "b.parquet"
    content = bytearray(
        _write("select i::integer as id, 'note ' || i as note from range(50000) as r (i)", path, ", row_group_size 5000, compression zstd")
    )
    content[len(content) // 2 : len(content) // 2 + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    _write("select 1 as id, 'a' as note", tmp_path / "a.parquet")

    with pytest.raises(InputError, match=r"^b.parquet: cannot be read as Parquet \(.*\); ask the sender to send it again$"):
        source.extract()

    assert 0 == source.count()
    assert ["failed"] == source.statuses()


@pytest.mark.parametrize("cut", [0, 3, -10])
def test_a_file_that_is_not_parquet_is_refused(stage: Stage, tmp_path: Path, cut: int) -> None:
    """Like a file that ends early."""
    source = stage("id integer", file_format="parquet", location="*.parquet")
    path = tmp_path / "a.parquet"
    path.write_bytes(_write("select 1 as id", path)[:cut])

    with pytest.raises(InputError, match=r"^a.parquet: cannot be read as Parquet"):
        source.extract()


def test_columns_are_matched_by_name(stage: Stage, tmp_path: Path) -> None:
    """In any order, and an extra one is refused, as for all formats."""
    source = stage("id integer, note text", file_format="parquet", location="*.parquet")
    _write("select 'x' as note, 1 as id, 2 as more", tmp_path / "a.parquet")

    with pytest.raises(ContractError, match="column 'more', field 3, is not in the contract"):
        source.extract()
    source.declare(extra_columns="ignore")
    source.extract()

    assert [(1, "x")] == source.rows()


@pytest.mark.parametrize("name", ["o[12].parquet", "*.parquet", "?1.parquet", "shop=HA/o.parquet", "*/o1.parquet"])
def test_a_path_is_only_a_path(stage: Stage, tmp_path: Path, name: str) -> None:
    """DuckDB does not read what else the path matches, and takes no column from a directory's name."""
    source = stage("id integer, shop text", file_format="parquet", location=f"{name.replace('[', '[[]')}")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    for other in ("o1.parquet", "o2.parquet", "x/o1.parquet"):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        _write("select 9 as id, 'other' as shop", tmp_path / other)
    _write("select 1 as id, 'UA' as shop", tmp_path / "mine")
    (tmp_path / "mine").rename(tmp_path / name)

    [file] = [file for file in find.find(source.external, source.table.columns, project_dir=tmp_path) if file.location == name]
    source.extraction().run([file])

    assert [(1, "UA")] == source.rows()


def test_a_file_that_is_replaced_is_read_as_it_was_opened(stage: Stage, tmp_path: Path) -> None:
    """DuckDB opens files by their path, which may lead elsewhere by then."""
    source = stage("id integer", file_format="parquet", location="a.parquet")
    _write("select 1 as id", tmp_path / "a.parquet")
    [file] = find.find(source.external, source.table.columns, project_dir=tmp_path)
    _write("select 2 as id", tmp_path / "other")

    with file.content() as content:
        (tmp_path / "a.parquet").unlink()
        (tmp_path / "a.parquet").symlink_to(tmp_path / "other")
        with parquet.opened(content, file.reading) as opened:
            assert [b"1\n"] == [bytes(block.data) for block in opened.blocks()]


def test_a_temporary_directory_like_a_pattern_is_named(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB would take its path for a pattern."""
    source = stage("id integer", file_format="parquet", location="a.parquet")
    _write("select 1 as id", tmp_path / "a.parquet")
    (tmp_path / "tmp[1]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp[1]"))

    with pytest.raises(UsageError, match=r"tmp\[1\]/.*: DuckDB takes a temporary path with \* \? or \[ for a pattern; set TMPDIR"):
        source.extract()


def test_a_compressed_file_is_read(stage: Stage, tmp_path: Path) -> None:
    """Although Parquet has its own compression."""
    source = stage("id integer", file_format="parquet", location="*.gz")
    source.deliver(gzip.compress(_write("select 1 as id", tmp_path / "a.parquet")), "a.parquet.gz").extract()

    assert [(1,)] == source.rows()
