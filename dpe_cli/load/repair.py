"""
Load a block that the server refused: every good record is loaded, every bad one becomes a reject with the server's message.

The server is asked about ever smaller parts. A record is rejected here only if the result is certain without asking (too many or
too few fields, a quote that is never closed, bytes that are not text), so that a block with hundreds of
such records is not sent hundreds of times. Everything that runs for each record of a block runs at C speed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import psycopg

from dpe_cli.blocks import copy_text, encodings
from dpe_cli.blocks.block import BAD_COPY_FILE_FORMAT, Block, CopyFormat, Delivered, Fault
from dpe_cli.blocks.csv_grammar import Grammar
from dpe_cli.blocks.layout import BlockLayout
from dpe_cli.blocks.records import Records
from dpe_cli.errors import ExtractError
from dpe_cli.load.copier import CONTEXT, Copier, Skipped, is_data_error
from dpe_cli.load.exactness import Exactness
from dpe_cli.load.malformed import Malformed
from dpe_cli.safe_text.redaction import excerpt, hide


class Copy(Protocol):
    """COPYs data with so many records; returns the skipped ones."""

    def __call__(self, data: bytes, records: int, /, *, copy_format: CopyFormat = "csv") -> list[Skipped]:
        """Raise if the server refuses the data."""


# Records sent at once when the server has to find a bad one by failing: a failure costs at most this many again.
PART_RECORDS = 1000
# A reject takes far more memory than its record: if more than one record in so many is bad, a block is repaired in parts.
_MANY_REJECTS = 8
_PART_BYTES = 256 * 1024


_LONGEST_REASON = 500
_END_MARKER = b"\\.\n"


@dataclass(frozen=True)
class Reject:
    r"""
    A record that could not be loaded. `position` is the line of the input on which it starts, or its number.

    `raw_bytes` holds the delivered bytes if they are not text; `raw` then shows those as \xNN.
    """

    load_id: int
    position: int
    column_name: str | None
    sqlstate: str
    reason: str
    raw: str
    raw_bytes: bytes | None


NOT_ONE_RECORD = Fault(None, BAD_COPY_FILE_FORMAT, "the server does not read this as one record")


@dataclass
class Loaded:
    """The result for a block, or for a part of it."""

    rows: int = 0
    rejects: list[Reject] = field(default_factory=list)


class _Origin:
    """Maps lines of a block to the records as they were delivered."""

    def __init__(self, block: Block, grammar: Grammar) -> None:
        self._block = block
        self._grammar = grammar

    @cached_property
    def _lines(self) -> Sequence[int]:
        """The line on which each record starts."""
        return Records.of(self._block, self._grammar).lines

    def of(self, line: int, raw: bytes) -> Delivered:
        """Return, as it was delivered, the record that starts on a line and is `raw` in CSV."""
        assert self._block.origin is not None  # noqa: S101 created for such blocks only
        return self._block.origin(bisect_left(self._lines, line), raw)


class BinaryRefusedError(ExtractError):
    """A binary block from another server was refused, and its records cannot be told apart."""


class Repair:
    """Loads blocks of one input: unchanged if the server accepts them, else record by record where needed."""

    def __init__(self, copier: Copier, exactness: Exactness) -> None:
        self.shape = copier.shape
        self._exactness = exactness
        self._copier = copier
        self._grammar = copier.shape.grammar
        self._quote = self.shape.dialect.copy_quote.encode()
        self._malformed = Malformed(copier.shape)
        self._names = dict(zip(self.shape.columns, self.shape.names, strict=True))
        self._outline = copier.shape.outline
        self._expects_rejects = False
        self._expects_many_rejects = True
        # Once an input had records that are certainly bad, sending a block unchanged usually means having it refused.
        self.expects_malformed = False
        self._record: _Origin | None = None

    def load(self, block: Block, layout: BlockLayout | None = None) -> Iterator[Loaded]:
        """
        Load what can be loaded of `block` as it is written, and return what cannot. `layout` is the block's, if already known.

        Raises:
            psycopg.Error: the data is not to blame.
            ExtractError: the records do not add up.
        """
        if block.copy_format == "text":
            block = self._exactness.in_csv(block)
        if block.copy_format == "csv":
            checked = self._exactness.checked(block)
            # The layout is that of the whole block.
            block, layout = checked, layout if checked is block else None
        if block.refused:
            yield Loaded(rejects=[self._reject_of(delivered, fault) for delivered, fault in block.refused])
            block = block.without_refused()
            if not block.data:
                return
        if block.copy_format == "binary":
            if self._attempt(self._copier.strict, block) is None:
                raise BinaryRefusedError("the server does not accept rows in another server's binary format; they are read again, as text")
            yield Loaded(block.records)
            return
        if block.copy_format == "text":
            if loaded := self._load_text_format(block):
                yield loaded
                return
            block = copy_text.as_csv(block)
        yield from self._load_csv(block, layout)

    def _load_csv(self, block: Block, layout: BlockLayout | None) -> Iterator[Loaded]:
        self._record = self._origin_of(block)
        # Strict COPY is the faster one; after the first reject of an input, more are likely.
        if not self._expects_rejects and self._attempt(self._copier.strict, block) is not None:
            yield Loaded(block.records)
        elif self._expects_many_rejects:
            for part in block.parts(_PART_BYTES):
                yield self._load_part(part)
        else:
            yield self._load_part(block, layout)

    def _origin_of(self, block: Block) -> _Origin | None:
        return None if block.origin is None else _Origin(block, self._grammar)

    def _load_text_format(self, block: Block) -> Loaded | None:
        """Load a block in COPY's text format, except for values of a wrong type; return None if anything else is wrong with it."""
        skipped = None if self._expects_rejects else self._attempt(self._copier.strict, block)
        if skipped is None and self._copier.can_be_lenient:
            skipped = self._attempt(self._copier.lenient, block)
        if skipped is None:
            return None
        loaded = Loaded(block.records - len(skipped))
        if skipped:
            self._expects_rejects = True
            self._record = self._origin_of(block)
            # Each record is a line.
            records = Records.of(block, self._grammar)
            bad = records.at_server_lines([record.line for record in skipped])
            raws_and_lines = [(copy_text.csv_record(records.raws[index]), records.lines[index]) for index in bad]
            self._explain_each(skipped, raws_and_lines, loaded, are_fitting=True)
        return loaded

    def _load_part(self, block: Block, layout: BlockLayout | None = None) -> Loaded:
        loaded = Loaded()
        if not self._load_as_it_is(block, loaded) and not self._load_around_malformed(block, layout, loaded):
            records = Records.of(block, self._grammar)
            malformed = self._malformed.find(records) if len(records) else []
            for index in malformed:
                self._reject(records.raws[index], records.lines[index], NOT_ONE_RECORD, loaded)
            self.expects_malformed = bool(malformed)
            self._load(records.without(malformed) if malformed else records, loaded)
        if block.records != loaded.rows + len(loaded.rejects):
            raise ExtractError(
                f"block at line {block.first_line}: {block.records:,} records were read, but {loaded.rows:,} loaded and "
                f"{len(loaded.rejects):,} rejected; nothing was loaded, please report this"
            )
        self._expects_rejects = self._expects_rejects or bool(loaded.rejects)
        self._expects_many_rejects = len(loaded.rejects) * _MANY_REJECTS > block.records
        loaded.rejects.sort(key=lambda reject: reject.position)
        return loaded

    def _load_as_it_is(self, block: Block, loaded: Loaded) -> bool:
        """Load a block that is good, or has only type errors on a server that skips those; return whether that worked."""
        if self.expects_malformed:
            return False
        if not self._copier.can_be_lenient and self._attempt(self._copier.strict, block) is not None:
            loaded.rows += block.records
            return True
        skipped = self._attempt(self._copier.lenient, block) if self._copier.can_be_lenient else None
        if skipped is None:
            return False
        loaded.rows += block.records - len(skipped)
        if skipped:
            records = Records.of(block, self._grammar)
            self._explain(skipped, records, loaded)
        return True

    def _load_around_malformed(self, block: Block, layout: BlockLayout | None, loaded: Loaded) -> bool:
        """
        Load a block without the records that are certainly bad, if the server skips those of a wrong type.

        Returns whether that worked. If not, nothing is loaded yet: the block needs a closer look.
        """
        if not self._copier.can_be_lenient:
            return False
        layout = layout or BlockLayout.of(block.data, self._grammar, self._outline)
        if layout is None or layout.counts_otherwise or (self._copier.stops_at_end_marker and layout.has_line(_END_MARKER)):
            return False
        records = block.records - len(layout.malformed)
        try:
            skipped = self._copier.lenient(layout.kept, records)
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            return False
        loaded.rows += records - len(skipped)
        for record in layout.malformed:
            self._reject(record.raw, block.first_line + record.line, NOT_ONE_RECORD, loaded)
        bad = layout.at_kept([record_.line - 1 for record_ in skipped])
        self._explain_each(skipped, [(record.raw, block.first_line + record.line) for record in bad], loaded, are_fitting=True)
        self.expects_malformed = bool(layout.malformed)
        return True

    def _attempt(self, copy: Copy, block: Block) -> list[Skipped] | None:
        try:
            return copy(block.data, block.records, copy_format=block.copy_format)
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            return None

    def _load(self, records: Records, loaded: Loaded) -> None:
        """Load records that seem whole: all at once, or in parts if the server refuses that."""
        records = records.with_plain_ends()
        size = len(records)
        while len(records):
            rest = self._load_until_bad(records[:size], loaded)
            records = rest.followed_by(records[size:]) if len(rest) else records[size:]
            size = PART_RECORDS

    def _load_until_bad(self, part: Records, loaded: Loaded) -> Records:
        """Load records up to the first bad one, reject that, and return the records still to be loaded."""
        copy = self._copier.lenient if self._copier.can_be_lenient else self._copier.strict
        try:
            skipped = copy(self._sendable(part), len(part))
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            return self._narrow_down(part, error, loaded)
        loaded.rows += len(part) - len(skipped)
        self._explain(skipped, part, loaded)
        return part[:0]

    def _narrow_down(self, part: Records, error: psycopg.Error, loaded: Loaded) -> Records:
        """Load the records before the one that the server means, reject that one, and return the records still to be loaded."""
        if len(part) == 1:
            self._reject(part.raws[0], part.lines[0], self._fault(error), loaded)
            return part[:0]
        found = CONTEXT.search(error.diag.context or "")
        # Without a line number, the first half is as good a guess as any.
        bad = part.at_server_lines([int(found[1])])[0] if found else len(part) // 2
        rejected_before = len(loaded.rejects)
        rest = self._load_until_bad(part[:bad], loaded) if bad else part[:0]
        if found and not len(rest) and len(loaded.rejects) == rejected_before:
            self._reject(part.raws[bad], part.lines[bad], self._fault(error), loaded)
            return part[bad + 1 :]
        # Another record was to blame, or one of several: whether this one is bad has to be checked again.
        return rest.followed_by(part[bad:])

    def _explain(self, skipped: Sequence[Skipped], records: Records, loaded: Loaded) -> None:
        """Reject the records that the server skipped."""
        indexes = records.at_server_lines([record.line for record in skipped]) if skipped else []
        self._explain_each(skipped, [(records.raws[index], records.lines[index]) for index in indexes], loaded)

    def _explain_each(
        self, skipped: Sequence[Skipped], raws_and_lines: Sequence[tuple[bytes, int]], loaded: Loaded, *, are_fitting: bool = False
    ) -> None:
        """Reject records of a wrong type: one query asks the types why, or, if they cannot tell, the server is asked one by one."""
        values = [
            self._value(raw, record.column) if record.value is None else record.value
            for record, (raw, _) in zip(skipped, raws_and_lines, strict=True)
        ]
        reasons = self._copier.explain(values, [self.shape.types[record.column] for record in skipped])
        for record, (raw, line), value, known in zip(skipped, raws_and_lines, values, reasons, strict=True):
            # Whether a value is null, which a domain may refuse, only the server knows.
            is_told = known is not None and (record.value is not None or value != self.shape.dialect.null_string)
            fault = Fault(self._names[record.column], *known) if known and is_told else self._ask(raw)
            self._reject(raw, line, fault, loaded, is_fitting=are_fitting)

    def _ask(self, raw: bytes) -> Fault:
        """Return why the server refuses a record that it skipped."""
        error = self._copier.is_refused(self._sendable(Records([raw], [1], are_lines=False).with_plain_ends()))
        return self._fault(error) if error else NOT_ONE_RECORD

    def _reject(self, raw: bytes, line: int, fault: Fault, loaded: Loaded, *, is_fitting: bool = False) -> None:
        # Too many or too few fields explain more than the value that the server tripped over first.
        fault = fault if is_fitting else self._malformed.fault(raw) or fault
        if self._record:
            delivered = self._record.of(line, raw)
        else:
            delivered = Delivered(line, *encodings.readable(raw.removesuffix(b"\n").removesuffix(b"\r"), self.shape.dialect.encoding))
        loaded.rejects.append(self._reject_of(delivered, fault))

    def _reject_of(self, delivered: Delivered, fault: Fault) -> Reject:
        # The record is kept as delivered, whatever it contains; messages about it show no secret.
        reason, column = excerpt(fault.reason, _LONGEST_REASON), fault.column and hide(fault.column)
        load_id, (position, raw, raw_bytes) = self.shape.load_id, (delivered.position, delivered.raw, delivered.raw_bytes)
        return Reject(load_id, position, column, fault.sqlstate, reason, raw, raw_bytes)

    def _fault(self, error: psycopg.Error) -> Fault:
        found = CONTEXT.search(error.diag.context or "")
        column = self._names.get(found[2]) if found else None
        return Fault(column, error.sqlstate or BAD_COPY_FILE_FORMAT, error.diag.message_primary or str(error))

    def _value(self, raw: bytes, column: str) -> str:
        fields = self._grammar.fields(raw)
        index = self.shape.columns.index(column)
        return fields[index].decode() if index < len(fields) else ""

    def _sendable(self, records: Records) -> bytes:
        r"""Join records. A line with only \. would end the input of older servers, so it is quoted."""
        if self._copier.stops_at_end_marker and _END_MARKER in records.raws:
            quoted = self._quote + _END_MARKER[:-1] + self._quote + b"\n"
            return b"".join(quoted if raw == _END_MARKER else raw for raw in records.raws)
        return b"".join(records.raws)
