"""The sampled records, as text in a DuckDB table on disk, so that memory does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import compress, islice
from pathlib import Path
from typing import IO, Any

from dpe_cli import optional_packages
from dpe_cli.blocks import copy_text, encodings, reading
from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect, Grammar
from dpe_cli.blocks.inputs import Input
from dpe_cli.blocks.records import Records
from dpe_cli.errors import InputError
from dpe_cli.infer.plain_csv import Plain
from dpe_cli.infer.survey import SamplePart, SampleParts
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.sources.read import duckdb_paths
from dpe_cli.sources.read.rows import literal

# DuckDB's default limit would be more than half of the machine's memory.
_MEMORY = "512MB"
_LONGEST_LINE = 64 * 1024 * 1024


@dataclass
class SampledInput:
    """The records of one input, as a CSV file, and how many others would be rejected whatever the types are."""

    location: str
    columns: tuple[str, ...]
    dialect: Dialect
    path: Path
    records: int = 0
    refused: int = 0
    first_refused: int | None = None
    is_cut: bool = False


@dataclass
class Sample:
    """The sampled records."""

    connection: Any
    directory: Path
    inputs: list[SampledInput] = field(default_factory=list)

    @property
    def records(self) -> int:
        """Their number, without refused ones."""
        return sum(input_.records for input_ in self.inputs)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns, in the order of the first input."""
        return self.inputs[0].columns if self.inputs else ()

    @property
    def places(self) -> dict[str, str]:
        """The names of the columns in the table `sampled`, by column."""
        return {name: f"c{number}" for number, name in enumerate(self.columns)}

    @property
    def is_cut(self) -> bool:
        """Whether an input may have more records than were sampled."""
        return any(input_.is_cut for input_ in self.inputs)

    def load(self, null_string: str, *, blanks_are_null: bool = False) -> None:
        """
        Fill the table `sampled`: its columns are c0, c1, … and `location`; values written as the null string become null.

        A quoted null string stays text, unless `blanks_are_null` applies: then all values are quoted, although their format has no quotes.
        """
        nulls = ["", null_string] if blanks_are_null else [null_string]
        places = self.places
        defined = ", ".join(f"{place} varchar" for place in places.values())
        self.connection.execute(f"create or replace table sampled ({defined}, location varchar)")
        for input_ in self.inputs:
            here = [places[name] for name in input_.columns]
            loaded = self._insert(here, input_, nulls)
            if loaded != input_.records:
                raise InputError(
                    f"{in_message(input_.location)}: {input_.records:,} records were sampled, and {loaded:,} understood; "
                    "please report this, and write the YAML of this source by hand"
                )

    def _insert(self, columns: Sequence[str], input_: SampledInput, nulls: Sequence[str]) -> int:
        given = ", ".join(f"'{name}': 'varchar'" for name in columns)
        dialect = input_.dialect
        (count,) = self.connection.execute(
            f"""
            insert into sampled ({", ".join(columns)}, location)
            select *, {literal(input_.location)} from read_csv(
                {literal(str(input_.path))}, columns = {{{given}}}, auto_detect = false, header = false, parallel = false,
                delim = {literal(dialect.delimiter)}, quote = {literal(dialect.quote)}, escape = {literal(dialect.escape)},
                nullstr = [{", ".join(map(literal, nulls))}], allow_quoted_nulls = {len(nulls) > 1},
                strict_mode = false, new_line = '\\n',
                max_line_size = {_LONGEST_LINE}, encoding = 'utf-8', {duckdb_paths.NOTHING_FROM_PATH}
            )
            """
        ).fetchone()
        return int(count)


@contextmanager
def take_sample(parts: SampleParts) -> Iterator[Sample]:
    """
    Sample the records, without those that dpe would reject whatever the types are.

    Raises:
        InputError: an input cannot be read, or its columns differ from the others'.
    """
    with duckdb_paths.temporary_directory() as directory:
        connection = _duckdb().connect(str(directory / "sample.duckdb"))
        try:
            connection.execute(f"set memory_limit = '{_MEMORY}'; set temp_directory = {literal(str(directory))}; set timezone = 'UTC'")
            connection.execute("set enable_progress_bar = false")
            sample = Sample(connection, directory)
            _take(sample, parts)
            yield sample
        finally:
            connection.close()


def _take(sample: Sample, parts: SampleParts) -> None:
    file: IO[bytes] | None = None
    plain = Plain(Dialect())
    try:
        for part in parts():
            if not sample.inputs or sample.inputs[-1].location != part.location:
                _check_columns(sample, part)
                if file:
                    file.close()
                path = sample.directory / f"{len(sample.inputs)}.csv"
                plain = Plain(part.dialect)
                sample.inputs.append(SampledInput(part.location, tuple(part.columns), plain.dialect, path))
                file = path.open("wb")
            assert file is not None  # noqa: S101
            file.write(plain.of(part.block.data))
            sample.inputs[-1].records += part.block.records
            sample.inputs[-1].is_cut |= part.is_cut
            if part.refused:
                sample.inputs[-1].refused += part.refused
                sample.inputs[-1].first_refused = sample.inputs[-1].first_refused or part.first_refused
    finally:
        if file:
            file.close()


def _check_columns(sample: Sample, part: SamplePart) -> None:
    if not sample.inputs:
        return
    first = sample.inputs[0]
    missing = [name for name in first.columns if name not in part.columns]
    more = [name for name in part.columns if name not in first.columns]
    if missing or more:
        name = in_message(first.location)
        differences = [f"has no column {missing[0]!r}, which {name} has"] if missing else []
        differences += [f"has the column {more[0]!r}, which {name} does not have"] if more else []
        raise InputError(
            f"{in_message(part.location)}: {', and '.join(differences)}; name files with the same columns, "
            "because a source table has only one set"
        )


def parts_of(inputs: Sequence[Input], sample: int) -> Iterator[SamplePart]:
    """Yield the records of inputs, about equally many of each; if one has fewer, the next ones may have more."""
    left = sample
    for number, input_ in enumerate(inputs):
        quota = max(1, left // (len(inputs) - number))
        taken = 0
        with reading.opened(input_) as opened:
            # Its columns count even if it has no records.
            yield SamplePart(input_.location, opened.columns, opened.dialect, Block(b"", 0, 0, 1))
            grammar = Grammar(opened.dialect)
            for block in opened.blocks():
                csv = copy_text.as_csv(block) if block.copy_format == "text" else block
                part = _sound(SamplePart(input_.location, opened.columns, opened.dialect, csv), grammar, quota - taken)
                taken += part.block.records
                yield replace(part, is_cut=taken >= quota)
                if taken >= quota:
                    break
        left -= taken


def _sound(part: SamplePart, grammar: Grammar, most: int) -> SamplePart:
    """Return a part without bad records: with another number of fields, invalid text, or a quote that is never closed."""
    block = part.block.without_refused()
    sound = part.dialect.delimiter.encode() * (len(part.columns) - 1)
    outlines = grammar.outlines(block.data)
    refused = len(part.block.refused)
    first = part.block.refused[0][0].position if refused else None
    is_text = _is_text(block.data, part.dialect)
    if is_text and block.records <= most and set(outlines) <= {sound}:
        return replace(part, block=block, refused=refused, first_refused=first)
    records = Records.of(block, grammar)
    outlines = grammar.outlines(b"".join(records.raws))
    fits = [outline == sound and (is_text or _is_text(raw, part.dialect)) for raw, outline in zip(records.raws, outlines, strict=False)]
    malformed = [line for line, is_fit in zip(records.lines, fits, strict=False) if not is_fit]
    first = min([*malformed, first] if first else malformed, default=None)
    kept = list(islice(compress(records.raws, fits), most))
    data = b"".join(kept)
    sound_block = replace(block, data=data, records=len(kept), lines=data.count(b"\n"))
    return replace(part, block=sound_block, refused=refused + len(malformed), first_refused=first)


def _is_text(data: bytes, dialect: Dialect) -> bool:
    return b"\0" not in data and not encodings.invalid_bytes(data, dialect.encoding)


def _duckdb() -> Any:
    return optional_packages.needed("duckdb", by="dpe source infer")
