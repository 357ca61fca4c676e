"""Rejects values that their types would change while they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from dpe_cli.blocks import copy_text, encodings, time_formats
from dpe_cli.blocks.block import Block, Delivered, Fault, Origin
from dpe_cli.blocks.conversion import Converter
from dpe_cli.blocks.exact_scalars import INVALID_TEXT
from dpe_cli.blocks.exact_types import DataType, exact_type
from dpe_cli.blocks.exact_values import ExactValues, Inexact
from dpe_cli.blocks.records import Records
from dpe_cli.load.copier import Copier

_PART = 1000
_TEXT = DataType("text")


class _Delivered:
    """An Origin: the records of a block, by their indexes among those that are left after others were taken out of it."""

    def __init__(self, block: Block, records: Records, encoding: str) -> None:
        self._block = block
        self._records = records
        self._encoding = encoding
        self._kept: list[tuple[int, bytes]] = []

    def keep(self, place: int, csv: bytes) -> None:
        """Note the next record that is left, by its index in the whole block."""
        self._kept.append((place, csv))

    def __call__(self, index: int, csv: bytes) -> Delivered:
        del csv
        return self.at(*self._kept[index])

    def at(self, place: int, csv: bytes) -> Delivered:
        """Return a record by its index in the whole block."""
        if self._block.origin is not None:
            return self._block.origin(place, csv)
        raw = csv.removesuffix(b"\n").removesuffix(b"\r")
        return Delivered(self._records.lines[place], *encodings.readable(raw, self._encoding))


class Exactness:
    """Checks the blocks of one input, and converts values whose form a column declares. `types` are those of the staging table."""

    def __init__(self, copier: Copier, types: Mapping[str, DataType]) -> None:
        shape = copier.shape
        rounded = {column.name for column in shape.contract if column.rounds}
        formats = {column.name: column.format for column in shape.contract if column.format is not None}
        self._copier = copier
        self._shape = shape
        known = [types.get(column, _TEXT) for column in shape.columns]
        self._types = [data_type.name for data_type in known]
        exact = [exact_type(data_type, rounds=column in rounded) for column, data_type in zip(shape.columns, known, strict=True)]
        null_quoted = [column in shape.null_quoted for column in shape.columns]
        self._values = ExactValues(exact, shape.dialect, null_quoted=null_quoted)
        self._values_in_text_format = ExactValues(exact, copy_text.TEXT, plain=copy_text.plain)
        declared = {place: time_formats.parse(formats[name]) for place, name in enumerate(shape.columns) if name in formats}
        self._converter = Converter(declared, shape.dialect, null_quoted=null_quoted, width=len(shape.columns)) if declared else None

    def in_csv(self, block: Block) -> Block:
        """Return a block in COPY's text format as CSV if it has values that may be changed; otherwise as it is."""
        values = self._values_in_text_format
        is_doubtful = self._converter or any(values.of(block.data[start:end]) for start, end in values.records(block.data))
        return copy_text.as_csv(block) if is_doubtful else block

    def checked(self, block: Block) -> Block:
        """Return a block of CSV with values in the form that their types expect; records whose values would be changed are refused."""
        if self._converter is not None:
            block = self._converted(block, self._converter)
        if block.exact_for is not None and block.exact_for == self._values.key:
            return block
        found = ((start, self._values.of(block.data[start:end])) for start, end in self._values.records(block.data))
        suspects = ((start, values) for start, values in found if values)
        refused: dict[int, Fault] = {}
        # A few at a time, because each takes far more memory than its record.
        while part := dict(islice(suspects, _PART)):
            refused |= self._refused(part)
        return self._rewritten(block, refused.get) if refused else block

    def _converted(self, block: Block, converter: Converter) -> Block:
        data = converter.convert_all(block.data)
        if data is not None:
            return replace(block, data=data, origin=self._before(block))

        def converted(_offset: int, raw: bytes) -> bytes | Fault:
            found = converter.convert(raw)
            return found if isinstance(found, bytes) else Fault(self._shape.names[found[0]], INVALID_TEXT, found[1])

        return self._rewritten(block, converted)

    def _before(self, block: Block) -> Origin:
        """Return the records of a block as they were delivered. They are looked at only if one of them is refused."""
        found: list[Records] = []

        def delivered(index: int, _csv: bytes) -> Delivered:
            if not found:
                found.append(Records.of(block.without_refused(), self._shape.grammar))
            [records] = found
            return _Delivered(block, records, self._shape.dialect.encoding).at(index, records.raws[index])

        return delivered

    def _refused(self, suspects: Mapping[int, Sequence[Inexact]]) -> dict[int, Fault]:
        """Return why records are refused, by their offsets. The server itself refuses, and explains, what is not valid at all."""
        values = [value for inexact in suspects.values() for value in inexact]
        valid = iter(self._copier.are_valid([value.value for value in values], [self._types[value.place] for value in values]))
        refused: dict[int, Fault] = {}
        for start, inexact in suspects.items():
            are_valid = [next(valid) for _ in inexact]
            if all(are_valid):
                first = inexact[0]
                refused[start] = Fault(self._shape.names[first.place], *first.exact.refusal(first.value.encode(errors="surrogateescape")))
        return refused

    def _rewritten(self, block: Block, record_for: Callable[[int, bytes], bytes | Fault]) -> Block:
        """Return a block with what `record_for` makes of the offset and the CSV of each record: its new CSV, or why it is refused."""
        # Records that could not be read are not in the data.
        records = Records.of(block.without_refused(), self._shape.grammar)
        delivered = _Delivered(block, records, self._shape.dialect.encoding)
        kept: list[bytes] = []
        added: list[tuple[Delivered, Fault]] = []
        offset = 0
        for index, raw in enumerate(records.raws):
            found = record_for(offset, raw)
            if isinstance(found, Fault):
                added.append((delivered.at(index, raw), found))
            else:
                delivered.keep(index, raw)
                kept.append(found)
            offset += len(raw)
        data = b"".join(kept)
        return replace(block, data=data, lines=data.count(b"\n"), origin=delivered, refused=(*block.refused, *added))
