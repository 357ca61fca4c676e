"""Cutting chunks into blocks: whole records, counted, whatever the chunks."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from dpe_cli.blocks.block import Block, cut
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.errors import InputError

DIALECTS = [Dialect(), Dialect(escape="\\"), Dialect("\t", "'", "'")]


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
    """Write records, some with quoted delimiters, quotes, escapes and line ends, and some with stray quotes."""
    quote, escape = dialect.quote, dialect.escape
    fields = ["1", "abc", "", f"{quote}two\nlines{quote}", f"{quote}a{escape}{quote}b\r\nc{quote}", f"{quote}{escape}{escape}{quote}"]
    if chance.random() < 0.3:
        fields.append(f"a{quote}b")
    line_end = chance.choice(["\n", "\r\n"])
    records = [dialect.delimiter.join(chance.choices(fields, k=3)) for _ in range(chance.randrange(1, 12))]
    return (line_end.join(records) + chance.choice(["", line_end])).encode()


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_the_chunks_do_not_matter(dialect: Dialect) -> None:
    """Nothing is lost, nothing is added, and the record counts and line numbers are those of the undivided file."""
    chance = random.Random(f"files of {dialect}")
    for _ in range(2000):
        data = _file(dialect, chance)
        whole = data if data.endswith(b"\n") else data + b"\n"
        at_once = list(cut([data], dialect, location="a.csv"))
        in_pieces = list(cut(_chunks(data, chance), dialect, location="a.csv"))

        for blocks in (at_once, in_pieces):
            assert whole == b"".join(block.data for block in blocks), data
            line = 1
            for block in blocks:
                assert (line, block.data.count(b"\n")) == (block.first_line, block.lines), data
                line += block.lines
        assert sum(block.records for block in at_once) == sum(block.records for block in in_pieces), data


def test_a_block_ends_with_a_record() -> None:
    """If a chunk ends in the middle of one, even one with several lines, the rest is in the next block."""
    assert [Block(b"1,a\n", 1, 1, 1), Block(b'2,"b\nc"\n3,d\n', 2, 3, 2), Block(b"4,e\n", 1, 1, 5)] == _blocks(
        b'1,a\n2,"b\nc"\n3,d\n4,e', chunk=10
    )


def test_a_quote_that_is_never_closed_costs_its_line() -> None:
    """At the end of the input, the lines after it are records again."""
    assert [Block(b"1,a\n", 1, 1, 1), Block(b'2,"b\n3,c\n4,d\n', 3, 3, 2, (0,))] == _blocks(b'1,a\n2,"b\n3,c\n4,d\n')


def test_a_quote_that_is_not_closed_in_time_costs_its_line() -> None:
    """After the longest allowed record, even in the middle of the input."""
    blocks = _blocks(b'1,"a\n' + b"2,b\n" * 50, chunk=20, max_record_bytes=100)

    assert (1, (0,)) == (blocks[0].first_line, blocks[0].broken)
    assert [()] == list({block.broken for block in blocks[1:]})
    assert 51 == sum(block.records for block in blocks)


@pytest.mark.parametrize("chunk", [1000, 20])
def test_a_stray_quote_costs_its_line(chunk: int) -> None:
    """If another one closes it, the lines up to that would be one record, and later records of several lines would be cut in two."""
    data = b'1,a\n2,5" pipe\n3,6" pipe\n4,"d\nd"\n5,"e\n6,f\n7,"g\ng"\n8,5" pipe\n9,i\n'

    blocks = _blocks(data, chunk=chunk)

    broken = [block.data[offset:].split(b"\n")[0] for block in blocks for offset in block.broken]
    assert [b'2,5" pipe', b'3,6" pipe', b'5,"e', b'8,5" pipe'] == broken
    assert (9, data) == (sum(block.records for block in blocks), b"".join(block.data for block in blocks))


def test_many_stray_quotes_are_found_in_time() -> None:
    """One on every tenth line of many, after fields of several lines."""
    data = (b'1,"a\na",x\n' * 9 + b'2,5" pipe,x\n') * 10_000

    blocks = _blocks(data, chunk=len(data))

    assert (100_000, 10_000) == (sum(block.records for block in blocks), sum(len(block.broken) for block in blocks))


@pytest.mark.parametrize("end", [b"", b'x"\n'], ids=["open", "closed"])
@pytest.mark.parametrize("max_record_bytes", [100_000, 100_000_000])
def test_escaped_quotes_at_line_ends_are_found_in_time(end: bytes, max_record_bytes: int) -> None:
    """If the escape character was not meant as one, as in Windows paths, each line opens quotes that no other closes."""
    line = b'1,"C:\\dir\\"\n'

    blocks = _blocks(line * 100_000 + end, dialect=Dialect(escape="\\"), chunk=1_000_000, max_record_bytes=max_record_bytes)

    # The last two lines are one record, because a quote closes it.
    assert 100_000 == sum(block.records for block in blocks)
    assert sum(len(block.broken) for block in blocks) >= 99_999


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
