"""The external block: its options, and the messages for wrong ones."""

from __future__ import annotations

import pytest

from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.errors import ProjectError
from dpe_cli.sources.options.files import CsvFiles
from dpe_cli.sources.options.parse import SourceDeclaration, parse

REQUIRED = {"location": "data/*.csv", "file_format": "csv", "disposition": "append"}
DECLARATION = SourceDeclaration("shop.orders", "shop.yml:5")


def test_what_is_required_is_enough() -> None:
    """The rest has defaults: plain CSV, and no rejects. Options that dbt fills in with null count as not given."""
    external = parse(REQUIRED | {"quote": None, "partitions": None}, declaration=DECLARATION)

    assert isinstance(external, CsvFiles)
    assert Dialect() == external.dialect("utf-8")
    assert (True, "utf-8", "auto", "refuse") == (external.header, external.encoding, external.compression, external.extra_columns)
    assert (None, None) == (external.rejects.max_rows, external.rejects.max_ratio)


def test_every_option_is_read() -> None:
    """Names of encodings are accepted in any spelling that Python knows."""
    options = {"delimiter": ";", "quote": "'", "escape": "\\", "null_string": "NA", "encoding": "ISO 8859-1", "max_record_bytes": 10}

    external = parse(REQUIRED | options | {"rejects": {"max_rows": 1, "max_ratio": 0.5}}, declaration=DECLARATION)

    assert isinstance(external, CsvFiles)
    assert Dialect(";", "'", "\\", "NA", "latin-1") == external.dialect("latin-1")
    assert ("iso8859-1", 10, 1, 0.5) == (
        external.encoding,
        external.max_record_bytes,
        external.rejects.max_rows,
        external.rejects.max_ratio,
    )


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"delimeter": ";"}, "delimeter is not an option (did you mean delimiter?)"),
        ({"xyz": 1}, "xyz is not an option (there are location, file_format, "),
        ({"rejects": {"max_row": 1}}, "rejects.max_row is not an option (did you mean max_rows?)"),
        ({"rejects": {"max_rows": -1}}, "rejects.max_rows: Input should be greater than or equal to 0"),
        ({"rejects": {"max_ratio": 5}}, "rejects.max_ratio: Input should be less than or equal to 1"),
        ({"rejects": 5}, "rejects: has to be a mapping of options"),
        ({"disposition": "apend"}, "disposition: Input should be 'append' or 'replace'"),
        ({"disposition": None}, "disposition is missing"),
        ({"location": ""}, "location: String should have at least 1 character"),
        ({"file_format": "xlsx"}, "file_format: xlsx is not supported (there are csv, jsonl, json, parquet, excel, fixed_width, "),
        ({"delimiter": ";;"}, "delimiter: has to be a single ASCII character"),
        ({"delimiter": "é"}, "delimiter: has to be a single ASCII character"),
        ({"quote": "\n"}, "quote: has to be a single ASCII character"),
        ({"delimiter": '"'}, "delimiter has to differ from quote and escape"),
        ({"escape": ","}, "delimiter has to differ from quote and escape"),
        ({"null_string": "a,b"}, "null_string may not hold the delimiter, the quote or a line end"),
        ({"encoding": "utf-9"}, "encoding: is not a text encoding that Python knows, such as utf-8, utf-16 or latin-1"),
        ({"encoding": "base64"}, "encoding: is not a text encoding that Python knows"),
        ({"encoding": "idna"}, "encoding: is not a text encoding that Python knows"),
        ({"compression": "rar"}, "compression: Input should be 'auto', 'none', 'gz', 'bz2', 'xz', 'zst' or 'zip'"),
        ({"max_record_bytes": 0}, "max_record_bytes: Input should be greater than 0"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], fault: str) -> None:
    """With the mistake, its line, and the nearest existing option."""
    with pytest.raises(ProjectError) as caught:
        parse(REQUIRED | options, declaration=DECLARATION)

    assert str(caught.value).startswith(f"shop.orders (shop.yml:5): external: {fault}")
    assert str(caught.value).endswith("; see docs/guides/sources/csv.md for the options")


def test_all_wrong_options_are_named_at_once() -> None:
    """Not one after another."""
    with pytest.raises(ProjectError, match=r"file_format is missing; disposition is missing; delimeter is not an option"):
        parse({"location": "a.csv", "delimeter": ";"}, declaration=DECLARATION)
