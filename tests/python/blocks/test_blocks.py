"""Cutting chunks into blocks: whole records, counted, whatever the chunks."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest
from support import strict_reader
from support.long_tests import runs_long_tests

from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect, Grammar
from dpe_cli.blocks.cutting import cut
from dpe_cli.blocks.records import Records
from dpe_cli.errors import InputError

DIALECTS = [Dialect(), Dialect(escape="\\"), Dialect("\t", "'", "'"), Dialect(";", "", ""), Dialect("\x01", "", "")]


def _chunks(data: bytes, chance: random.Random) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = start + chance.randrange(1, 40)
        yield data[start:end]
        start = end


def _blocks(data: bytes, *, chunk: int = 1_000_000, max_record_bytes: int = 1_000_000, dialect: Dialect | None = None) -> list[Block]:
    chunks = (data[start : start + chunk] for start in range(0, len(data), chunk))
    return list(cut(chunks, dialect or Dialect(), location="a.csv", max_record_bytes=max_record_bytes))


def _file(dialect: Dialect, chance: random.Random) -> bytes:
    """Write records, some with quoted delimiters, quotes, escapes and line ends, and some with misplaced quotes or returns."""
    quote, escape = dialect.copy_quote, dialect.copy_escape
    fields = ["1", "abc", "", f"{quote}two\nlines{quote}", f"{quote}a{escape}{quote}b\r\nc{quote}", f"{quote}{escape}{escape}{quote}"]
    if chance.random() < 0.5:
        fields += [f"a{quote}b", f"{quote}a{quote}b", f"5{quote}{quote} x {escape}{quote}3", f"{quote}open", "a\rb"]
    line_end = chance.choice(["\n", "\r\n"])
    records = [dialect.delimiter.join(chance.choices(fields, k=3)) for _ in range(chance.randrange(1, 12))]
    return (line_end.join(records) + chance.choice(["", line_end])).encode()


def _read(blocks: Iterable[Block], dialect: Dialect) -> dict[int, tuple[bytes, ...] | None]:
    """Return the fields of all records in blocks by the line on which each starts; None if it is refused, or the server will do that."""
    grammar = Grammar(dialect)
    found: dict[int, tuple[bytes, ...] | None] = {}
    for block in blocks:
        records = Records.of(block.without_refused(), grammar)
        assert block.records == len(records) + len(block.refused)
        for index, raw in enumerate(records.raws):
            line = block.origin(index, raw).position if block.origin else records.lines[index]
            assert line not in found
            found[line] = None if b"\r" in grammar.outlines(raw)[0] else tuple(grammar.fields(raw))
        found.update({delivered.position: None for delivered, _ in block.refused})
    return found


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_records_are_those_of_a_strict_reader(dialect: Dialect) -> None:
    """Value for value, whatever the chunks: nothing is lost, nothing is added, nothing is changed."""
    chance = random.Random(f"files of {dialect}")
    for _ in range(1000 if runs_long_tests() else 300):
        data = _file(dialect, chance)
        expected = {record.line: record.fields for record in strict_reader.read(data, dialect)}

        assert expected == _read(cut([data], dialect, location="a.csv"), dialect), data
        assert expected == _read(cut(_chunks(data, chance), dialect, location="a.csv"), dialect), data


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_random_bytes_are_read_as_by_a_strict_reader(dialect: Dialect) -> None:
    """Of the few bytes that mean something."""
    chance = random.Random(f"bytes of {dialect}")
    pieces = [dialect.delimiter, dialect.copy_quote, dialect.copy_quote * 2, dialect.copy_escape, "\n", "\r\n", "\r", "a", "é"]
    for _ in range(5_000 if runs_long_tests() else 1_500):
        data = "".join(chance.choices(pieces, k=chance.randrange(16))).encode()
        expected = {record.line: record.fields for record in strict_reader.read(data, dialect)}

        assert expected == _read(cut(_chunks(data, chance), dialect, location="a.csv"), dialect), data


def test_a_rejected_record_is_shown_as_delivered() -> None:
    """Also if it, or another one, was rewritten because COPY reads quotes differently."""
    [block] = _blocks(b'1,5" pipe\n2,"b\n3,"c"d\n4,"e\r\nf"\r\n')

    records = Records.of(block.without_refused(), Grammar(Dialect()))
    assert block.origin is not None
    assert [(1, '1,5" pipe'), (4, '4,"e\r\nf"')] == [
        (shown.position, shown.raw) for index, raw in enumerate(records.raws) for shown in [block.origin(index, raw)]
    ]
    assert [(2, '2,"b', "unterminated CSV quoted field"), (3, '3,"c"d', "text after the closing quote of a field")] == [
        (delivered.position, delivered.raw, fault.reason) for delivered, fault in block.refused
    ]


def test_a_block_ends_with_a_record() -> None:
    """If a chunk ends in the middle of one, even one with several lines, the rest is in the next block."""
    assert [Block(b"1,a\n", 1, 1, 1), Block(b'2,"b\nc"\n3,d\n', 2, 3, 2), Block(b"4,e\n", 1, 1, 5)] == _blocks(
        b'1,a\n2,"b\nc"\n3,d\n4,e', chunk=10
    )


def _refused(blocks: Iterable[Block]) -> list[str]:
    return [delivered.raw for block in blocks for delivered, _ in block.refused]


def test_a_quote_that_is_never_closed_costs_its_line() -> None:
    """At the end of the input, the lines after it are records again."""
    blocks = _blocks(b'1,a\n2,"b\n3,c\n4,d\n')

    assert (4, ['2,"b']) == (sum(block.records for block in blocks), _refused(blocks))


def test_a_quote_that_is_not_closed_in_time_costs_its_line() -> None:
    """After the longest allowed record, even in the middle of the input."""
    blocks = _blocks(b'1,"a\n' + b"2,b\n" * 50, chunk=20, max_record_bytes=100)

    assert (51, ['1,"a']) == (sum(block.records for block in blocks), _refused(blocks))
    # Most of the lines were yielded before the end.
    assert len(blocks) > 2


@pytest.mark.parametrize("chunk", [1000, 20])
def test_an_open_quote_costs_its_line(chunk: int) -> None:
    """If another one closes it, the lines up to that would be one record, and later records of several lines would be cut in two."""
    data = b'1,a\n2,"5 pipe\n3,"6 pipe\n4,"d\nd"\n5,"e\n6,f\n7,"g\ng"\n8,"5 pipe\n9,i\n'

    blocks = _blocks(data, chunk=chunk)

    assert (9, ['2,"5 pipe', '3,"6 pipe', '5,"e', '8,"5 pipe']) == (sum(block.records for block in blocks), _refused(blocks))


def test_many_open_quotes_are_found_in_time() -> None:
    """One on every tenth line of many, after fields of several lines."""
    data = (b'1,"a\na",x\n' * 9 + b'2,"5 pipe,x\n') * 10_000

    blocks = _blocks(data, chunk=len(data))

    assert (100_000, 10_000) == (sum(block.records for block in blocks), len(_refused(blocks)))


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'1,"C:\\dir\\"\n', id="escaped at each line end"),
        pytest.param(b'a",1,"b\n', id="closed and opened on each line"),
        pytest.param(b'"\n', id="alone"),
        pytest.param(b'"""\n', id="three"),
        pytest.param(b',"\\\n', id="escaped line end"),
    ],
)
@pytest.mark.parametrize("end", [b"", b'",\n'], ids=["open", "closed"])
@pytest.mark.parametrize("dialect", [Dialect(), Dialect(escape="\\")], ids=str)
def test_hostile_quotes_are_read_in_time(dialect: Dialect, line: bytes, end: bytes) -> None:
    """The time grows with the lines, not with their square: 20,000 lines would take minutes."""
    blocks = _blocks(b'"' + line * 20_000 + end, dialect=dialect, chunk=1_000_000, max_record_bytes=100_000_000)

    assert sum(block.records for block in blocks)


LONG = b"x" * 1_000_000
EMPTY = b"," * 1_000_000


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("line", "csv"),
    [
        pytest.param(b'a"b,%b\n' % LONG, b'"a""b",%b\n' % LONG, id="a long field"),
        pytest.param(b'"a",b"c,%b\r\n' % LONG, b'"a","b""c",%b\r\n' % LONG, id="a long field after a quoted one"),
        pytest.param(b'"a",b"c%b\n' % EMPTY, b'"a","b""c"%b\n' % EMPTY, id="many fields after a quoted one"),
    ],
)
def test_a_line_with_a_quote_is_read_once(line: bytes, csv: bytes) -> None:
    """What follows the field with the quote is not read or copied again for each character or field of it."""
    (block,) = _blocks(line, chunk=len(line), max_record_bytes=len(line))

    assert csv == block.data


def test_a_field_of_many_lines_within_the_limit_is_one_record() -> None:
    """However many chunks it takes."""
    data = b'1,"' + b"line\n" * 20 + b'"\n2,x\n'

    assert 2 == sum(block.records for block in _blocks(data, chunk=7, max_record_bytes=200))


def test_a_line_that_is_too_long_is_refused() -> None:
    """With its number, because memory must not grow with it."""
    with pytest.raises(InputError, match=r"a.csv, line 3: the line is longer than 100 bytes; check the line endings"):
        _blocks(b"1,a\n2,b\n" + b"x" * 200 + b"\n4,d\n", chunk=50, max_record_bytes=100)


def test_nothing_has_no_blocks() -> None:
    """An empty input, and one of empty chunks."""
    assert [] == _blocks(b"")
    assert [] == list(cut([b"", b""], Dialect(), location="a.csv"))


def test_a_blank_line_is_a_record() -> None:
    """Its meaning is left to the server."""
    assert [Block(b"\n\n1\n", 3, 3, 1)] == _blocks(b"\n\n1\n")
