"""What is loaded from CSV is what was delivered, value for value, or a reject: against a reader that follows RFC 4180 to the letter."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from support import strict_reader
from support.staged_source import Stage

from dpe_cli.blocks.csv_grammar import Dialect

# The options of a source, and the same dialect for the strict reader.
DIALECTS = [
    ({}, Dialect()),
    ({"escape": "\\"}, Dialect(escape="\\")),
    ({"delimiter": "\t", "quote": "'", "null_string": "\\N"}, Dialect("\t", "'", "'", "\\N")),
    ({"delimiter": ";", "quote": "none"}, Dialect(";", "", "")),
    ({"delimiter": "|", "escape": "^", "null_string": "NULL"}, Dialect("|", '"', "^", "NULL")),
]
RECORDS = 4000


def _random_bytes(dialect: Dialect, chance: random.Random) -> bytes:
    """Return bytes of the kind that matter, most of them in records of three fields."""
    delimiter, quote, escape = dialect.delimiter, dialect.copy_quote, dialect.copy_escape
    pieces = [
        quote,
        quote * 2,
        escape,
        "a",
        "é",
        "\N{BOM}",
        " ",
        "\r",
        "\\.",
        "\0",
        dialect.null_string,
        f"{quote}b\nb{quote}",
        delimiter,
        "\n",
    ]
    weights = [4, 2, 2, 8, 4, 1, 2, 0.5, 1, 0.2, 3, 2, 0.4, 0.4]
    lines = []
    for _ in range(RECORDS):
        fields = ["".join(chance.choices(pieces, weights, k=chance.randrange(5))) for _ in range(3)]
        fields = [f"{quote}{field.replace(quote, escape + quote)}{quote}" if chance.random() < 0.3 else field for field in fields]
        lines.append(
            delimiter.join(fields).encode() + chance.choice([b"\n", b"\r\n", b"\n", b"\xff\n"] if chance.random() < 0.05 else [b"\n"])
        )
    return b"".join(lines)


@pytest.mark.parametrize(("options", "dialect"), DIALECTS, ids=[str(options) for options, _ in DIALECTS])
def test_what_is_loaded_is_what_a_strict_reader_reads(stage_anywhere: Stage, options: dict[str, Any], dialect: Dialect) -> None:
    """Or a reject, on the line where the record starts."""
    data = _random_bytes(dialect, random.Random(f"load {dialect}"))
    source = stage_anywhere("a text, b text, c text", header=False, **options)

    result = source.deliver(data).extract()

    rows: Counter[tuple[str | None, ...]] = Counter()
    refused: list[int] = []
    for record in strict_reader.read(data, dialect):
        is_text = b"\0" not in record.raw and record.raw.decode(errors="ignore").encode() == record.raw
        if record.fields is None or len(record.fields) != 3 or not is_text:
            refused.append(record.line)
        else:
            values = zip(record.fields, record.are_quoted, strict=True)
            rows[
                tuple(None if field == dialect.null_string.encode() and not is_quoted else field.decode() for field, is_quoted in values)
            ] += 1
    assert rows == Counter(source.rows())
    assert refused == [line for (line,) in source.rejects("position")]
    assert (rows.total(), len(refused)) == (result.rows_loaded, result.rows_rejected)
    # The test is of both kinds.
    assert rows.total() > 100 < len(refused)
