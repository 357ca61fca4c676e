"""Damaged records become rejects, with their place and the server's message; every other record is loaded."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from support import strict_reader
from support.long_tests import newest_unless_long
from support.staged_source import Stage, StagedSource

from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.errors import ServerError
from dpe_cli.load import copier, repair
from dpe_cli.sources.files import compression

COLUMNS = "id integer, note varchar(8), day date"
UNTERMINATED = (None, "22P04", "unterminated CSV quoted field")


@dataclass(frozen=True)
class Damage:
    """A damaged record, and its expected reject."""

    name: str
    record: bytes
    column: str | None
    sqlstate: str
    reason: str
    shown: str | None = None


DAMAGES = [
    Damage("too few fields", b"2,b", "day", "22P04", 'missing data for column "day"'),
    Damage("too few fields in quotes", b'"2","b,b"', "day", "22P04", 'missing data for column "day"'),
    Damage("too many fields", b"2,b,2024-01-02,x", None, "22P04", "extra data after last expected column"),
    Damage("too many fields in quotes", b'2,"b",2024-01-02,"x,y"', None, "22P04", "extra data after last expected column"),
    Damage("a blank line", b"", "note", "22P04", 'missing data for column "note"'),
    Damage("an end marker", b"\\.", "note", "22P04", 'missing data for column "note"'),
    Damage("a wrong type", b"two,b,2024-01-02", "id", "22P02", 'invalid input syntax for type integer: "two"'),
    Damage("a wrong type in quotes", b'"t""wo",b,2024-01-02', "id", "22P02", 'invalid input syntax for type integer: "t"wo"'),
    Damage("a wrong type in several lines", b'two,"b\nb\nb",2024-01-02', "id", "22P02", 'invalid input syntax for type integer: "two"'),
    Damage("out of range", b"99999999999,b,2024-01-02", "id", "22003", 'value "99999999999" is out of range for type integer'),
    Damage("no such day", b"2,b,2024-02-31", "day", "22008", 'date/time field value out of range: "2024-02-31"'),
    Damage("too long", b"2,123456789,2024-01-02", "note", "22001", "value too long for type character varying(8)"),
    Damage("a NUL byte", b"2,b\0,2024-01-02", None, "22021", 'invalid byte sequence for encoding "UTF8": 0x00', "2,b\\x00,2024-01-02"),
    Damage("no text", b"2,\xff,2024-01-02", None, "22021", 'invalid byte sequence for encoding "UTF8": 0xff', "2,\\xff,2024-01-02"),
    Damage(
        "half a character",
        b'2,"b\xc3",2024-01-02',
        None,
        "22021",
        'invalid byte sequence for encoding "UTF8": 0xc3',
        '2,"b\\xc3",2024-01-02',
    ),
    Damage("a stray carriage return", b"2,b\rb,2024-01-02", None, "22P04", "unquoted carriage return found in data"),
    Damage("a quote that is never closed", b'2,"b,2024-01-02', *UNTERMINATED),
    Damage("text after a closing quote", b'2,"b"b,2024-01-02', None, "22P04", "text after the closing quote of a field"),
]

# What the server needs for a single record on each version; these are undamaged.
WHOLE = [
    b"1,a,2024-01-01",
    b'2,"b\nb",2024-01-02',
    b'3,"c""c",',
    b'"4",,2024-01-04',
    "5,é€,2024-01-05".encode(),
    b'6,6" pipe,',
    b'7,b",2024-01-07',
]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_damaged_records_are_rejects(stage_anywhere: Stage, line_end: bytes) -> None:
    """Each with its line, column, SQLSTATE, reason and the record as delivered; all others are loaded."""
    source = stage_anywhere(COLUMNS)
    good = [b"1,a,2024-01-01", b'2,"b\nb",2024-01-02']
    records = [b"id,note,day", *(record for damage in DAMAGES for record in (*good, damage.record)), *good]

    result = source.deliver(line_end.join([*records, b""])).extract()

    expected, position = [], 2
    for damage in DAMAGES:
        position += 3
        shown = damage.shown or damage.record.decode()
        delivered = damage.record if damage.shown else None
        expected.append((position, damage.column, damage.sqlstate, damage.reason, shown, delivered))
        position += 1 + damage.record.count(b"\n")
    assert expected == source.rejects("position, column_name, sqlstate, reason, raw, raw_bytes")
    pairs, bad = len(DAMAGES) + 1, len(DAMAGES)
    assert [1] * pairs + [2] * pairs == [row[0] for row in source.rows()]
    assert (2 * pairs + bad, 2 * pairs, bad) == (result.records_read, result.rows_loaded, result.rows_rejected)


@pytest.mark.parametrize("damage", [damage for damage in DAMAGES if damage.record], ids=lambda damage: damage.name)
def test_the_first_and_the_last_record_may_be_damaged(stage_anywhere: Stage, damage: Damage) -> None:
    """With the same damage, and no line feed at the end of the file."""
    source = stage_anywhere(COLUMNS, header=False)

    source.deliver(b"\n".join([damage.record, b"1,a,2024-01-01", damage.record])).extract()

    last_line = 3 + damage.record.count(b"\n")
    assert [(1, damage.reason), (last_line, damage.reason)] == source.rejects("position, reason")
    assert [(1, "a")] == [row[:2] for row in source.rows()]


def test_a_file_with_only_damaged_records(stage_anywhere: Stage) -> None:
    """It leaves no slice, but rejects and a load."""
    source = stage_anywhere(COLUMNS)

    result = source.deliver(b"id,note,day\nx,a,\n2\n").extract()

    assert ([], 2) == (source.rows(), result.rows_rejected)
    assert [] == source.slices(attached=True) == source.slices(attached=False)
    assert [(2, 0, 2)] == source.ledger("select records_read, rows_loaded, rows_rejected from dpe.loads where source = %s")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_block_loads_what_the_server_takes_record_by_record(
    stage_anywhere: Stage, monkeypatch: pytest.MonkeyPatch, seed: int, line_end: bytes
) -> None:
    """Whatever the damage, wherever it is, however the file is cut, and whichever writer gets it."""
    monkeypatch.setattr(repair, "PART_RECORDS", 7)
    monkeypatch.setattr(compression, "CHUNK_BYTES", 1500)
    chance = random.Random(seed)
    damages = [damage.record for damage in DAMAGES]
    records = [chance.choice(damages) if chance.random() < (0.02, 0.1, 0.3, 0.9)[seed] else chance.choice(WHOLE) for _ in range(400)]
    source = stage_anywhere(COLUMNS, header=False)

    result = source.deliver(line_end.join([*records, b""])).extract(jobs=3)

    position = 1
    rows, rejects = [], []
    for record, refused in zip(records, _refused(source, records), strict=True):
        if refused:
            rejects.append(position)
        else:
            rows.append(record)
        position += record.count(b"\n") + 1
    assert rejects == [row[0] for row in source.rejects("position")]
    assert sorted(int(record.strip(b'"')[:1]) for record in rows) == sorted(row[0] for row in source.rows())
    assert (400, len(rows)) == (result.records_read, result.rows_loaded)


def _refused(source: StagedSource, records: list[bytes]) -> list[bool]:
    """Ask the server about each record alone. Before PostgreSQL 18, a line that is only an end marker is not a record."""
    known: dict[bytes, bool] = {b"\\.": True}
    with source.server.connect("admin") as connection:
        connection.execute(sql.SQL("create temporary table alone (id integer, note varchar(8), day date)"))
        for record in set(records) - set(known):
            [read, *_] = strict_reader.read(record + b"\n", Dialect())
            if read.fields is None:
                known[record] = True
                continue
            try:
                with connection.transaction(), connection.cursor() as cursor, cursor.copy("copy alone from stdin (format csv)") as copy:
                    copy.write(b",".join(b'"%b"' % field.replace(b'"', b'""') if field else b"" for field in read.fields) + b"\n")
                known[record] = False
            except psycopg.Error:
                known[record] = True
    return [known[record] for record in records]


def test_line_ends_may_differ(stage_anywhere: Stage) -> None:
    """COPY refuses that; they are made equal, except within quotes, and nothing is rejected."""
    source = stage_anywhere("id integer, note text")

    result = source.deliver(b'id,note\r\n1,a\n2,b\r\n3,"c\r\nc"\n4,"d\nd"\r\n').extract()

    assert [(1, "a"), (2, "b"), (3, "c\r\nc"), (4, "d\nd")] == source.rows()
    assert 0 == result.rows_rejected


def test_an_end_marker_is_a_value_where_it_fits(stage_anywhere: Stage) -> None:
    """The records after it are loaded too, even by servers that stop reading there."""
    source = stage_anywhere("note text")

    source.deliver(b"note\na\n\\.\nb\n").extract()

    assert [("\\.",), ("a",), ("b",)] == source.rows()


def test_a_blank_line_is_a_null_of_the_only_column(stage_anywhere: Stage) -> None:
    """As in PostgreSQL."""
    source = stage_anywhere("note text")

    source.deliver(b"note\na\n\nb\n").extract()

    assert [("a",), ("b",), (None,)] == source.rows()


def test_a_stray_quote_does_not_swallow_what_follows(stage_anywhere: Stage) -> None:
    """COPY would silently load two records and everything between them as one."""
    source = stage_anywhere("id integer, note text")

    result = source.deliver(b'id,note\n1,5" pipe\n2,6" pipe\n3,c\n4,"d\n5,e\n6,"f"\n7,"g\n8,"h"\n9,i\n').extract()

    assert [(1, '5" pipe'), (2, '6" pipe'), (3, "c"), (5, "e"), (6, "f"), (8, "h"), (9, "i")] == source.rows()
    assert [(5, '4,"d'), (8, '7,"g')] == source.rejects("position, raw")
    assert (9, 7, 2) == (result.records_read, result.rows_loaded, result.rows_rejected)


def test_a_record_of_several_lines_is_rejected_as_a_whole(stage_anywhere: Stage) -> None:
    """Its quotes are valid: what looks like a record within them is text."""
    source = stage_anywhere("id integer, note text")

    source.deliver(b'id,note\n1,"a\n2,b\nc",x\ntwo,"a\n2,b\nc"\n3,c\n').extract()

    assert [(3, "c")] == source.rows()
    assert [(2, '1,"a\n2,b\nc",x'), (5, 'two,"a\n2,b\nc"')] == source.rejects("position, raw")


def test_an_escape_character_is_read_as_the_server_reads_it(stage_anywhere: Stage) -> None:
    """Only within quotes; outside of them it is an ordinary character."""
    source = stage_anywhere("id integer, note text", escape="\\")

    source.deliver(b'id,note\n1,"a\\"b\n,\\\\"\n2,a\\\n3,a\\"b\nx,"\\""\n4,d\n').extract()

    assert [(1, 'a"b\n,\\'), (2, "a\\"), (3, 'a\\"b'), (4, "d")] == source.rows()
    assert [(6, "id")] == source.rejects("position, column_name")


@pytest.mark.parametrize(("encoding", "name"), [("cp1252", "cp1252"), ("utf-16", "utf-16-le")])
def test_bytes_that_are_invalid_in_the_encoding_are_a_reject(stage_anywhere: Stage, encoding: str, name: str) -> None:
    """As they were delivered, not as they were sent."""
    bad = {"cp1252": b"\x81", "utf-16": b"\x00\xd8"}[encoding]
    source = stage_anywhere("id integer, note text", encoding=encoding)
    start, end = "id,note\n1,é\n2,", "\n3,€\n"

    source.deliver(start.encode(encoding) + bad + end.encode(name)).extract()

    shown = "2," + "".join(f"\\x{byte:02x}" for byte in bad)
    sequence = " ".join(f"0x{byte:02x}" for byte in bad)
    assert [(1, "é"), (3, "€")] == source.rows()
    assert [(3, None, "22021", f'invalid byte sequence for encoding "{name}": {sequence}', shown)] == source.rejects()
    assert [("2,".encode(name) + bad,)] == source.rejects("raw_bytes")


def test_columns_are_called_what_the_file_calls_them(stage_anywhere: Stage) -> None:
    """Including those that the contract does not name."""
    source = stage_anywhere("id integer, note text", extra_columns="ignore")

    source.deliver(b"colour,id,note,size\nred,1,a,9\nblue,2,b\nred,x,c,9\n").extract()

    assert [(1, "a")] == source.rows()
    assert [("size", 'missing data for column "size"'), ("id", 'invalid input syntax for type integer: "x"')] == source.rejects(
        "column_name, reason"
    )


def test_a_server_that_does_not_speak_english_is_understood(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its notices about skipped records and error lines cannot be parsed: it is asked about ever smaller parts."""
    monkeypatch.setattr(copier, "_SKIPPED", re.compile("^cette ligne est ignorée"))
    for module in (copier, repair):
        monkeypatch.setattr(module, "CONTEXT", re.compile("^à la ligne (\\d+)"))
    source = stage("id integer, note text")

    source.deliver("id,note\n" + "".join(f"{number if number % 50 else 'x'},a\n" for number in range(1, 1001))).extract()

    assert 980 == source.count()
    assert [
        (number + 1, None, "22P02", 'invalid input syntax for type integer: "x"', "x,a") for number in range(50, 1001, 50)
    ] == source.rejects()


def test_a_value_that_a_domain_refuses_is_a_reject(stage_anywhere: Stage) -> None:
    """Its checks may be functions, whose errors have line numbers of their own; and it may refuse a null."""
    source = stage_anywhere("id integer, size public.dpe_test_size, note text")
    with source.server.connect("admin") as connection:
        connection.execute("create function pg_temp.x() returns int language sql as 'select 1'")
        connection.execute(
            """
            create or replace function public.is_a_size(size integer) returns boolean language plpgsql immutable as $$
            begin
                return 10 / size > 0;
            end
            $$
            """
        )
        connection.execute("grant usage on schema public to dpe_loader")
        connection.execute(
            "drop domain if exists public.dpe_test_size; create domain public.dpe_test_size as integer not null check (public.is_a_size(value))"
        )

    source.deliver(b"id,size,note\n1,1,a\n2,0,b\n3,11,c\n4,,d\n5,5,e\n6,x,f\n").extract()

    assert [1, 5] == [row[0] for row in source.rows()]
    assert [(3, "22012"), (4, "23514"), (5, "23502"), (7, "22P02")] == source.rejects("position, sqlstate")


def test_whatever_a_check_raises_is_the_records_fault(stage_anywhere: Stage) -> None:
    """The SQLSTATE of `raise exception` is not in a class of data errors. But a server that runs out of a resource is not a reject."""
    source = stage_anywhere("id integer, word public.dpe_test_word")
    with source.server.connect("admin") as connection:
        connection.execute(
            """
            create or replace function public.is_a_word(word text) returns boolean language plpgsql immutable as $$
            begin
                if word = 'raise' then
                    raise exception 'no such word';
                elsif word = 'full' then
                    raise exception using errcode = 'disk_full', message = 'no space left';
                end if;
                return true;
            end
            $$
            """
        )
        connection.execute("grant usage on schema public to dpe_loader")
        connection.execute(
            "drop domain if exists public.dpe_test_word; create domain public.dpe_test_word as text check (public.is_a_word(value))"
        )

    source.deliver("id,word\n1,a\n2,raise\n3,b\nx,c\n").extract()

    assert [(1, "a"), (3, "b")] == source.rows()
    assert [(3, "word", "P0001", "no such word", "2,raise"), (5, "id", "22P02", 'invalid input syntax for type integer: "x"', "x,c")] == (
        source.rejects()
    )
    with pytest.raises(ServerError, match="no space left"):
        source.deliver("id,word\n4,full\n", "b.csv").extract()


def test_a_long_reason_is_shortened(stage_anywhere: Stage) -> None:
    """The server repeats the whole value, which is already in the record."""
    source = stage_anywhere("id integer")

    source.deliver("id\n" + "x" * 5000 + "\n").extract()

    [(reason, raw)] = source.rejects("reason, raw")
    assert (501, 5000) == (len(reason), len(raw))


@pytest.mark.timeout(60)
def test_a_file_of_bad_records_only_is_rejected_whole(stage_anywhere: Stage) -> None:
    """The server reports so many, of numbers and of days, that both sides would block each other on one connection."""
    records = 6_000
    source = stage_anywhere("id integer, note text, day date", rejects={"max_rows": records})
    numbers, days = "x,Some name,2024-01-02\n" * (records // 2), "1,a,31/12/2024\n" * (records // 2)

    result = source.deliver(f"id,note,day\n{numbers}{days}").extract()

    assert (records, 0, records) == (result.records_read, result.rows_loaded, result.rows_rejected)


@pytest.mark.timeout(60)
def test_bad_and_good_records_of_many_blocks_are_separated(stage: Stage) -> None:
    """However much the server reports while more is being sent."""
    records = 120_000
    source = stage("id integer, note text, day date", rejects={"max_rows": records})
    kinds = ("{n},good,2024-01-01", "x{n},bad number,2024-01-01", "{n},bad date,2024-13-01", "x{n},both,soon")
    lines = [kinds[number % 4].format(n=number) for number in range(records)]

    result = source.deliver("\n".join(["id,note,day", *lines, ""])).extract()

    assert (records, records // 4, records * 3 // 4) == (result.records_read, result.rows_loaded, result.rows_rejected)


@newest_unless_long
@pytest.mark.parametrize(("before", "after"), [(0, 0), (0, 1), (1, 1), (3, 3)])
def test_a_row_that_is_too_big_for_a_page_is_rejected(stage_anywhere: Stage, before: int, after: int) -> None:
    """The server reports it late, without a useful line number; the others are loaded."""
    columns = [f"c{number}" for number in range(1000)]
    small, big = ",".join(["1"] * 1000), ",".join(["123456789012"] * 1000)
    source = stage_anywhere(", ".join(f"{name} text" for name in columns), rejects={"max_rows": 1})

    result = source.deliver("\n".join([",".join(columns), *[small] * before, big, *[small] * after, ""])).extract()

    assert (before + after, 1) == (result.rows_loaded, result.rows_rejected)
    assert [(before + 2, "54000")] == source.rejects("position, sqlstate")


@pytest.mark.parametrize("first", ['12,"x\ny",2024-01-03', '12,"x\ry",2024-01-03'], ids=["line feed", "carriage return"])
def test_a_first_record_of_several_lines_shifts_no_other(stage_anywhere: Stage, first: str) -> None:
    """COPY counts lines differently in the first record that it receives; here that is the second one, after a certainly bad one."""
    source = stage_anywhere("id integer, t text, d date", rejects={"max_rows": 2})

    source.deliver(f"id,t,d\nonly one field\n{first}\n1,a,BAD\n2,b,2024-01-04\n").extract()

    assert [(2,), (12,)] == [row[:1] for row in sorted(source.rows())]
    assert [("only one field",), ("1,a,BAD",)] == source.rejects("raw")
