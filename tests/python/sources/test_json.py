"""JSON Lines and JSON documents: converted to CSV by paths, without losses; rejects keep the record as delivered."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal

import pytest
from backports import zstd
from support.staged_source import Stage

from dpe_cli.errors import ContractError, InputError, ProjectError
from dpe_cli.sources.files import compression
from dpe_cli.sources.json import json_path

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {"a.jsonl": bytes, "a.jsonl.gz": gzip.compress, "a.jsonl.zst": zstd.compress}
COLUMNS = "id bigint, name text at $.customer.name, first_sku text at $.lines[0]['s k/u'], lines jsonb, paid boolean"


def _records(count: int) -> list[dict[str, object]]:
    return [
        {"id": number, "customer": {"name": f'Zoë "{number}", a\nb\\.'}, "lines": [{"s k/u": f"A{number}"}], "paid": number % 2 == 0}
        for number in range(count)
    ]


def _rows(count: int) -> list[tuple[object, ...]]:
    rows = [(n, f'Zoë "{n}", a\nb\\.', f"A{n}", [{"s k/u": f"A{n}"}], n % 2 == 0) for n in range(count)]
    return sorted(rows, key=repr)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_lines_of_json_are_rows(stage_anywhere: Stage, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of many or few records, compressed or not; values come from their paths."""
    monkeypatch.setattr(compression, "CHUNK_BYTES", 10_000)
    source = stage_anywhere(COLUMNS, file_format="jsonl", extra_columns="ignore")
    text = "".join(json.dumps(record) + "\n" for record in _records(3000))
    source.deliver(COMPRESSORS[name](text.encode()), name)

    result = source.extract()

    assert (3000, 3000, 0) == (result.records_read, result.rows_loaded, result.rows_rejected)
    assert _rows(3000) == source.rows()


@pytest.mark.parametrize("indent", [None, 2])
def test_records_of_a_document_are_rows(stage: Stage, indent: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they are in it, however it is written, and whatever its size: it is read in parts."""
    monkeypatch.setattr(compression, "CHUNK_BYTES", 10_000)
    source = stage(COLUMNS, file_format="json", records="$.data.items", extra_columns="ignore")
    document = {"meta": {"data": ["]}", {}]}, "data": {"total": 3000, "items": _records(3000), "more": [1]}, "next": None}
    source.deliver(json.dumps(document, indent=indent), "a.json")

    result = source.extract()

    assert (3000, 3000, 0) == (result.records_read, result.rows_loaded, result.rows_rejected)
    assert _rows(3000) == source.rows()


def test_values_are_those_of_the_json(stage_anywhere: Stage) -> None:
    """A null is null, and so is a missing member; an empty text is not; numbers keep every digit, also within documents."""
    source = stage_anywhere("a text, n numeric, b bigint, d jsonb, f double precision", file_format="jsonl")
    source.deliver(
        r"""
        {"a": "", "n": 12345678901234567890.123456789, "b": 9223372036854775807, "d": {"x": 0.12345678901234567891, "y": "1234567890123456789.5"}}
        {"a": null, "n": 1e3, "d": null, "f": 0.30000000000000004}

        {"a": "\u00e9\ud83d\ude00\n\"", "d": "text", "f": 1e400}
        {"a": {"b": [1, 2]}, "n": "12", "d": [1, "x", null]}
        {"a": "1.2345678901234567890", "n": 8484231034.0000769, "d": {"z": 1e-400, "12.34567890123456789": "0.12345678901234567"}}
        """,
        "a.jsonl",
    )

    assert 1 == source.extract().rows_rejected
    assert [
        ("", "12345678901234567890.123456789", 9223372036854775807, '{"x": 0.12345678901234567891, "y": "1234567890123456789.5"}', None),
        (None, "1000.0", None, None, 0.30000000000000004),
        ('{"b":[1,2]}', "12", None, '[1, "x", null]', None),
        (
            "1.2345678901234567890",
            "8484231034.0000769",
            None,
            f'{{"z": 0.{"0" * 399}1, "12.34567890123456789": "0.12345678901234567"}}',
            None,
        ),
    ] == source.query(f"select a, n::text, b, d::text, f from {source.relation} order by b nulls last, f nulls last, a desc")
    assert [(5, "f", "22003")] == source.rejects("position, column_name, sqlstate")


BROKEN_LINES = (
    rb"""{"id": 1, "note": "good"}
{"id": 2, "note": "cut
{"id": "two", "note": "a\nb"}
[1, 2]
{"id": 3, "note": "\ud800"}

{"id": 4, "note": "NUL \u0000"}
{"id": 5, "note": "bytes """
    b"\xff"
    rb""""}
{"id": 99999999999, "note": null}
{"id": 6, "note": "good"}
"""
)


def test_a_bad_record_is_a_reject_with_the_reason(stage_anywhere: Stage) -> None:
    """With its line, its column, the reason, and the record as delivered; all others are loaded."""
    source = stage_anywhere("id integer, note text", file_format="jsonl").deliver(BROKEN_LINES, "a.jsonl")

    result = source.extract()

    assert (9, 2, 7) == (result.records_read, result.rows_loaded, result.rows_rejected)
    assert [(1, "good"), (6, "good")] == source.rows()
    assert [
        (2, None, "22032", '{"id": 2, "note": "cut'),
        (3, "id", "22P02", r'{"id": "two", "note": "a\nb"}'),
        (4, None, "2203C", "[1, 2]"),
        (5, None, "22032", r'{"id": 3, "note": "\ud800"}'),
        (7, None, "22021", r'{"id": 4, "note": "NUL \u0000"}'),
        (8, None, "22021", r'{"id": 5, "note": "bytes \xff"}'),
        (9, "id", "22003", '{"id": 99999999999, "note": null}'),
    ] == source.rejects("position, column_name, sqlstate, raw")
    assert [(b'{"id": 5, "note": "bytes \xff"}',)] == source.ledger(
        "select raw_bytes from dpe.rejects where source = %s and raw_bytes is not null"
    )


# What some parsers accept, and RFC 8259 does not; good records that look like it; and numbers without a value that PostgreSQL has.
STRICT = [
    '{"id": 1, "v": "a",}',
    '{"id": 2, "v": NaN}',
    '{"id": 3, "v": -Infinity}',
    '{"id": 4, "v": [1, {"x": inf}, ]}',
    '{"id": 5, "v": 1, "v": 2}',
    '{"id": 6, "v": {"x": [{"y": 1, "z": 2, "\\u0079": 3}]}}',
    '{"id": 7, "v": ",} : NaN, inf, \\", ]"}',
    '{"id": 8, "v": {"x": {"id": 1}, "y": [{"id": 1}, {"id": 1}]}}',
    '{"id": 9, "v": "123e-10000000"}',
    '{"id": 10, "v": 123e-10000000}',
    '{"id": 11, "v": 1.5E-0400}',
    '{"id": 12, "v": NULL}',
]


@pytest.mark.parametrize("file_format", ["jsonl", "json"])
def test_json_that_no_parser_agrees_on_is_a_reject(stage: Stage, file_format: str) -> None:
    """Its columns and its documents never contradict each other, and it has the same answer as a line and in a document."""
    source = stage("id integer, v text, whole jsonb at $", file_format=file_format, location=f"*.{file_format}")
    content = "[" + ",\n".join(STRICT) + "]" if file_format == "json" else "\n".join(STRICT)
    source.deliver(content, f"a.{file_format}").extract()

    assert [
        (1, "22032", "the record is not valid JSON: a comma follows the last value"),
        (2, "22032", "the record is not valid JSON: NaN and Infinity are not JSON"),
        (3, "22032", "the record is not valid JSON: NaN and Infinity are not JSON"),
        (4, "22032", "the record is not valid JSON: NaN and Infinity are not JSON"),
        (5, "22030", "two members are named 'v'"),
        (6, "22030", "two members are named 'y'"),
    ] == source.rejects("position, sqlstate, reason")[:6]
    assert [(10, "whole"), (12, None)] == source.rejects("position, column_name")[6:]
    loaded = {row[0]: (row[1], row[2]["v"]) for row in source.rows()}
    assert [7, 8, 9, 11] == sorted(loaded)
    assert (',} : NaN, inf, ", ]', ',} : NaN, inf, ", ]') == loaded[7]
    assert "1.5E-0400" == loaded[11][0]


@pytest.mark.parametrize("file_format", ["jsonl", "json"])
def test_a_number_that_postgresql_does_not_have_is_not_rounded_to_zero(stage: Stage, file_format: str) -> None:
    """Neither from a line nor from a document."""
    source = stage("n numeric, f double precision", file_format=file_format, location=f"*.{file_format}")
    records = ['{"n": 123e-10000000}', '{"f": 123e-10000000}', '{"f": 1e-1000}', '{"n": 1e-300, "f": 1e-300}']
    source.deliver("[" + ",\n".join(records) + "]" if file_format == "json" else "\n".join(records), f"a.{file_format}").extract()

    assert [(1, "n"), (2, "f"), (3, "f")] == source.rejects("position, column_name")
    assert [(Decimal("1e-300"), 1e-300)] == source.rows()


DEEP = "[" * 100_000 + "1" + "]" * 100_000


def test_a_record_beyond_pythons_limits_is_a_reject(stage: Stage) -> None:
    """Python converts neither thousands of digits nor thousands of levels; a column of such a number or value is loaded all the same."""
    source = stage("id numeric, note text", file_format="jsonl")
    source.deliver("\n".join([f"[{'1' * 5000}]", DEEP, f'{{"id": {"1" * 5000}}}', f'{{"id": 2, "note": {DEEP}}}']), "a.jsonl")

    source.extract()

    assert [(1, "2203C", "the record is not a JSON object"), (2, "22032", "the record is nested too deeply")] == source.rejects(
        "position, sqlstate, reason"
    )
    assert [(5000, None), (1, 200_001)] == source.query(f"select length(id::text), length(note) from {source.relation} order by id desc")


@pytest.mark.parametrize("value", ["1" * 5000, DEEP], ids=["digits", "levels"])
def test_an_extra_member_is_found_in_any_record(stage: Stage, value: str) -> None:
    """On its line, even if Python could not read that record."""
    source = stage("id numeric", file_format="jsonl").deliver(f'{{"id": 1}}\n[]\n{{"id": {value}, "more": 1}}\n', "a.jsonl")

    with pytest.raises(ContractError, match=r"^a.jsonl, line 3: the record has 'more', which is not in the contract"):
        source.extract()


def test_all_private_characters_may_be_used(stage: Stage) -> None:
    """dpe marks long numbers with characters that the sender does not use; if the sender uses all, with some that it cannot foresee."""
    private = "".join(map(chr, range(0xE000, 0xF900)))
    source = stage("id numeric, note text", file_format="jsonl")
    source.deliver(json.dumps({"id": 1, "note": private}, ensure_ascii=False) + '\n{"id": 1.2345678901234567890123}\n', "a.jsonl")

    source.extract()

    assert [(1, private), (Decimal("1.2345678901234567890123"), None)] == source.rows()


def test_a_record_of_a_document_is_rejected_alone(stage: Stage) -> None:
    """With the line on which it starts."""
    source = stage("id integer", file_format="json").deliver(
        '[\n {"id": 1},\n {"id":\n   "x"},\n 5, {"id": 1 2},\n {"id": 2}\n]\n', "a.json"
    )

    assert (5, 2, 3) == (source.extract().records_read, source.count(), len(source.rejects()))
    assert [(3, "id", '{"id":\n   "x"}'), (5, None, "5"), (5, None, '{"id": 1 2}')] == source.rejects("position, column_name, raw")


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ('{"items": [{"id": 1}, {"id": 2}', "line 1: the document is not valid JSON: the array of records does not end"),
        ('{"items": [{"id": 1}], "x": }', "around its records it is not valid JSON"),
        ('{"items": [{"id": 1}]', "around its records it is not valid JSON"),
        ('{"items": [{"id": 1}], "items": []}', "$.items occurs twice"),
        ('{"other": [], "x": {"items": []}}', "line 1: it has nothing at $.items; correct `records`"),
        ('\n{"items": {"id": 1}}', "line 2: $.items is not an array of records"),
        ('[{"id": 1}]', "$.items does not exist"),
        ("", "$.items does not exist"),
        ('{"items": [{"id": 1}, ]}', "line 1: the document is not valid JSON: a comma follows the last record"),
        ('{"items": [{"id": 1}], "x": NaN}', "around its records it is not valid JSON (NaN is not JSON)"),
        ('{"items": [' + "[" * 100 + "]" * 100 + "]}", "nested deeper than 64 levels"),
    ],
)
def test_a_broken_document_is_refused(stage: Stage, document: str, fault: str) -> None:
    """As a whole, because its good records cannot be told from the others."""
    source = stage("id integer", file_format="json", records="$.items", max_record_bytes=150).deliver(document, "a.json")

    with pytest.raises(InputError) as caught:
        source.extract()

    assert fault in str(caught.value)
    assert 0 == source.count()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("chunk", [20, 2**21])
def test_nesting_costs_no_time_per_level(stage: Stage, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the levels are closed, cut off with the document or with a chunk of it: twice the time per level would never end."""
    monkeypatch.setattr(compression, "CHUNK_BYTES", chunk)
    source = stage("id integer, note jsonb", file_format="json", records="$.items", disposition="replace")
    for depth in (5, 40, 63, 64, 200):
        note = '{"a[{": ' * depth + "1" + "}" * depth
        source.deliver(f'{{"note": {note}, "items": [{{"id": 1, "note": {note}}}, {{"id": 2}}]}}', "a.json")
        if depth < 64:
            assert 2 == source.extract().rows_loaded
        else:
            with pytest.raises(InputError, match="a.json, line 1: a value is nested deeper than 64 levels"):
                source.extract()
        source.deliver(f'{{"items": [{{"id": 1}}, {{"id": 2, "note": {note[: 8 * depth]}', "a.json")
        with pytest.raises(InputError, match="line 1: .*(the array of records does not end|nested deeper than 64 levels)"):
            source.extract()


QUOTES = b'\\"' * 1_000_000
BRACKETS = b'a"[{"' * 200_000
ENDLESS = {
    "an unclosed string after NaN": ("a.jsonl", b'{"id": nan, "note": "' + QUOTES + b'\\\n{"id": 1}\n'),
    "an unclosed string after a long number": ("a.jsonl", b'{"id": 1.12345678901234567, "note": "' + QUOTES + b'\\\n{"id": 1}\n'),
    "a mark that is not in the text": (
        "a.jsonl",
        b'{"id": 1.12345678901234567, "note": "' + b"x" * 2**24 + b"".join(b"\\u%04x" % code for code in range(0xE000, 0xF900)) + b'"}\n',
    ),
    "an unclosed string in a document": ("a.json", b'[{"id": 1}, {"id": 2, "note": "' + QUOTES),
    "brackets outside strings": ("a.json", b'[{"id": 1}, {"id": 2, "note": "' + BRACKETS + b"}]"),
    "brackets that are not closed": ("a.json", b'[{"id": 1}, {"id": 2, "note": ' + b"[]{" * 200_000 + b"}]"),
    "members before the records": ("b.json", b"{" + b'"a": 0,' * 300_000 + b'"items": [{"id": 1}]}'),
    "blanks before the records": ("b.json", b"{" + b'"a" \n :\n 0 \n , ' * 250_000 + b'"items": [{"id": 1}]}'),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("name", "content"), ENDLESS.values(), ids=ENDLESS)
def test_each_byte_is_searched_a_few_times_only(stage: Stage, name: str, content: bytes) -> None:
    """Text that matches an expression up to its end, where it fails, is not searched again from each place within it."""
    options = {"max_record_bytes": 2**25, "extra_columns": "ignore", "rejects": {"max_rows": 1}}
    match name:
        case "a.jsonl":
            source = stage("id numeric", file_format="jsonl", **options).deliver(content, name)
            assert 1 == source.extract().rows_loaded
        case "a.json":
            source = stage("id integer", file_format="json", **options).deliver(content, name)
            with pytest.raises(InputError, match="the array of records does not end|nested deeper than 64 levels"):
                source.extract()
        case _:
            source = stage("id integer", file_format="json", records="$.items", **options).deliver(content, name)
            assert 1 == source.extract().rows_loaded


def test_the_rest_of_a_document_may_exceed_pythons_limits(stage: Stage) -> None:
    """Its digits do not matter; a document that is nested too deeply for Python is refused with the reason."""
    source = stage("id integer", file_format="json", records="$.items")
    source.deliver(f'{{"total": {"1" * 5000}, "items": [{{"id": 1}}]}}', "a.json").extract()
    source.deliver(f'{{"items": [{{"id": 2}}], "rest": {DEEP}}}', "b.json")

    with pytest.raises(InputError, match=r"^b.json, line 1: .*around its records it is not valid JSON \(it is nested too deeply\)"):
        source.extract()
    assert [(1,)] == source.rows()


def test_a_member_without_a_column_is_refused(stage: Stage) -> None:
    """It would be lost otherwise; unless the source ignores extra members."""
    source = stage("id integer, name text at $.customer.name", file_format="jsonl")
    source.deliver('{"id": 1, "customer": {"name": "a", "age": 3}}\n{"id": 2, "costumer": {}}\n', "a.jsonl")

    with pytest.raises(ContractError, match=r"^a.jsonl, line 2: the record has 'costumer', which is not in the contract "):
        source.extract()
    source.declare(extra_columns="ignore")
    source.extract()

    assert [(1, "a"), (2, None)] == source.rows()


def test_a_whole_record_may_be_kept(stage: Stage) -> None:
    """With the path of the whole document; then any value is a record."""
    source = stage("everything jsonb at $, id integer", file_format="jsonl").deliver('{"id": 1, "x": [2]}\n[3]\n', "a.jsonl")

    source.extract()

    assert [({"id": 1, "x": [2]}, 1), ([3], None)] == sorted(source.rows(), key=lambda row: str(row[1]))


@pytest.mark.parametrize(
    ("path", "steps"),
    [("$", ()), ("$.a.b-c", ("a", "b-c")), ("$['x y'][3]", ("x y", 3)), ('$["a.b"].c', ("a.b", "c"))],
)
def test_paths_are_those_of_rfc_9535(path: str, steps: tuple[object, ...]) -> None:
    """The part of it that identifies one value."""
    assert steps == json_path.parse(path)


def test_a_wrong_path_is_named(stage: Stage) -> None:
    """With the character from which it is not valid."""
    with pytest.raises(ProjectError, match=r"column name: meta.path: \$.a\[\*\]: is not valid from character 4 on"):
        stage("name text at $.a[*]", file_format="jsonl")


def test_parts_that_are_converted_in_parallel_keep_their_lines(stage: Stage) -> None:
    """A reject has its own line, whichever part of a large file it is in; the first of two faults is reported."""
    lines = [f'{{"id": {number}, "name": "{"x" * 200}"}}' for number in range(1, 40_001)]
    bad = [2, 15_000, 29_999, 40_000]
    for line in bad:
        lines[line - 1] = f'{{"id": "bad {line}", "name": null}}'
    source = stage("id integer, name text", file_format="jsonl").deliver("\n".join(lines), "a.jsonl")

    result = source.extract()

    assert (40_000, 39_996, 39_996) == (result.records_read, result.rows_loaded, source.count())
    assert [(line, f'{{"id": "bad {line}", "name": null}}') for line in bad] == source.rejects("position, raw")

    lines[9_000] = lines[9_000].replace("name", "nam")
    lines[35_000] = lines[35_000].replace("name", "title")
    source.deliver("\n".join(lines), "b.jsonl")
    with pytest.raises(ContractError, match="line 9001: .*'nam'"):
        source.extract()
