"""The grammar, at C speed, against PostgreSQL's state machine, one character at a time."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest
from support import strict_reader

from dpe_cli.blocks.csv_grammar import Dialect, Grammar, quoted, split
from dpe_cli.blocks.strict_csv import StrictReader

DIALECTS = [Dialect(), Dialect(escape="\\"), Dialect(";", "'", "'"), Dialect("|", '"', "^"), Dialect("]", "^", "-")]


def _records_of(data: bytes, dialect: Dialect) -> list[bytes]:
    """Split as CopyReadLineText() does: the last record may be unterminated."""
    quote, escape = dialect.quote.encode(), dialect.escape.encode()
    records = [b""]
    is_within = is_escaped = False
    for byte in (data[index : index + 1] for index in range(len(data))):
        records[-1] += byte
        if is_within and byte == escape != quote:
            is_escaped = not is_escaped
        if byte == quote and not is_escaped:
            is_within = not is_within
        if byte != escape or escape == quote:
            is_escaped = False
        if byte == b"\n" and not is_within:
            records.append(b"")
    return records if records[-1] else records[:-1]


def _fields_of(record: bytes, dialect: Dialect) -> list[bytes] | None:
    """Read fields as CopyReadAttributesCSV() does; None if a quote is never closed."""
    delimiter, quote, escape = dialect.delimiter.encode(), dialect.quote.encode(), dialect.escape.encode()
    characters = iter(record.removesuffix(b"\n").removesuffix(b"\r").decode("latin-1"))
    fields = [b""]
    is_within = False
    character = next(characters, "").encode("latin-1")
    while character:
        following = next(characters, "").encode("latin-1")
        if not is_within and character == delimiter:
            fields.append(b"")
        elif not is_within and character == quote:
            is_within = True
        elif is_within and character == escape and following and following in (quote, escape):
            fields[-1] += following
            following = next(characters, "").encode("latin-1")
        elif is_within and character == quote:
            is_within = False
        else:
            fields[-1] += character
        character = following
    return None if is_within else fields


def _samples(dialect: Dialect) -> Iterator[bytes]:
    chance = random.Random(f"samples of {dialect}")
    pieces = [
        *(dialect.delimiter, dialect.quote, dialect.escape, "\n", "\r\n", "\r", "a", "é"),
        *(dialect.quote * 2, dialect.escape + dialect.quote, dialect.escape * 2),
    ]
    for _ in range(10_000):
        yield "".join(chance.choices(pieces, k=chance.randrange(14))).encode()


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_records_are_those_of_postgresql(dialect: Dialect) -> None:
    """Split, counted, and found from the end."""
    grammar = Grammar(dialect)
    for data in _samples(dialect):
        expected = _records_of(data, dialect)
        whole = [record for record in expected if _fields_of(record, dialect) is not None and record.endswith(b"\n")]
        is_whole = bool(expected) and whole == expected

        assert expected == grammar.split(data), data
        assert ((len(expected), data.count(b"\n")) if is_whole else None) == grammar.count(data), data
        assert sum(map(len, whole)) == grammar.end_of_last(data), data


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_only_records_that_postgresql_reads_as_they_are_meant_are_passed_on(dialect: Dialect) -> None:
    """Others are rewritten or refused first: those with quotes in the middle of a field, or with text after its end."""
    reader = StrictReader(dialect)
    for data in (sample + b"\n" for sample in _samples(dialect)):
        meant = strict_reader.read(data, dialect)
        are_alike = [record.raw for record in meant] == _records_of(data, dialect)
        for record in meant if are_alike else []:
            # A stray carriage return is left to the server to refuse.
            raw = re.sub(rb"\r(?!\n)", b" ", record.raw)
            fields = strict_reader.read(raw, dialect)[0].fields
            are_alike = are_alike and fields is not None and list(fields) == _fields_of(raw, dialect)

        assert are_alike == reader.agrees(data), data


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_fields_are_those_of_postgresql(dialect: Dialect) -> None:
    """Read, and counted without being read."""
    grammar = Grammar(dialect)
    for data in _samples(dialect):
        records = _records_of(data + b"\n", dialect)
        for record, outline in zip(records, grammar.outlines(data + b"\n"), strict=True):
            fields = _fields_of(record, dialect)
            assert (fields is None) == (dialect.quote.encode() in outline), record
            if fields is not None:
                assert fields == grammar.fields(record), record
                assert len(fields) == 1 + outline.count(dialect.delimiter.encode()), record


def test_a_quote_that_is_never_closed_is_found_in_time() -> None:
    """Even with an escaped quote on each of many lines after it."""
    grammar = Grammar(Dialect(escape="\\"))
    data = b'1,"' + b'x \\" y\n' * 200_000

    assert [b',"'] == grammar.outlines(data)
    assert [data] == grammar.split(data)


def test_a_long_record_is_split_in_time() -> None:
    """A quote that is closed 200,000 lines later: the cost grows with the lines, not with their square."""
    data = b'1,"' + b"line\n" * 200_000 + b'"\n2,x\n'

    assert [data[:-4], b"2,x\n"] == Grammar(Dialect()).split(data)


def test_without_quotes_a_text_stays_within_its_field() -> None:
    """The reason of a reject, for example, in a file of rejects to be corrected."""
    dialect = Dialect(";", "", "")

    assert "a b c" == quoted("a;b\r\nc", dialect)
    assert ["1", "a b c", '5" x'] == split(f'1;{quoted("a;b;c", dialect)};5" x\n', dialect)
