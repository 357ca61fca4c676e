"""
How quotes are meant in delivered CSV (RFC 4180, section 2): a quote opens a field only at its start.

In a field that starts with another character, quotes are text. After a closing quote, only the delimiter or the end of the record may
follow; a record with anything else there is refused. COPY reads quotes differently (csv_grammar.py), so records with quotes
in the middle of fields are rewritten for it. Blocks without any are passed on unchanged: only lines of other blocks are read one by one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from dpe_cli.blocks import automaton, encodings
from dpe_cli.blocks.automaton import Automaton, CsvExpressions
from dpe_cli.blocks.block import BAD_COPY_FILE_FORMAT, Block, Delivered, Fault
from dpe_cli.blocks.csv_grammar import Dialect, split_lines
from dpe_cli.blocks.patterns import repeated

_UNTERMINATED = Fault(None, BAD_COPY_FILE_FORMAT, "unterminated CSV quoted field")
_AFTER_QUOTE = Fault(None, BAD_COPY_FILE_FORMAT, "text after the closing quote of a field")
_CARRIAGE_RETURN = Fault(None, BAD_COPY_FILE_FORMAT, "unquoted carriage return found in data")
# The line on which a record that began on an earlier one ends; or what becomes of it.
_UNFINISHED: Final = -1
_REFUSED: Final = -2


@dataclass(frozen=True)
class _Line:
    """The rest of a line, from the start of a field on: as COPY has to read it, why it is refused, or that a quoted field is open."""

    csv: bytes = b""
    fault: Fault | None = None
    is_open: bool = False


class _AsDelivered:
    """An Origin: the line on which each record starts, and the records that were rewritten."""

    def __init__(self, lines: Sequence[int], rewritten: Mapping[int, bytes], encoding: str) -> None:
        self._lines = lines
        self._rewritten = rewritten
        self._encoding = encoding

    def __call__(self, index: int, csv: bytes) -> Delivered:
        return _delivered(self._lines[index], self._rewritten.get(index, csv), self._encoding)


def _delivered(line: int, raw: bytes, encoding: str) -> Delivered:
    return Delivered(line, *encodings.readable(raw.removesuffix(b"\n").removesuffix(b"\r"), encoding))


class StrictReader:
    """Reads the records of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._encoding = dialect.encoding
        self._has_quotes = bool(dialect.quote)
        self._quote = dialect.copy_quote.encode()
        self._escape = dialect.copy_escape.encode()
        self._delimiter = dialect.delimiter.encode()
        quote, escape, delimiter = re.escape(self._quote), re.escape(self._escape), re.escape(self._delimiter)
        if self._escape == self._quote:
            within = rb"(?>[^%b]*)" % quote + repeated(rb"%b%b[^%b]*" % (quote, quote, quote))
        else:
            # The escape character cancels the meaning of a quote or of itself, and means nothing before another character.
            within = rb"(?>[^%b%b]*)" % (quote, escape) + repeated(rb"%b[%b%b]?[^%b%b]*" % (escape, quote, escape, quote, escape))
        self._to_closing_quote = re.compile(within + quote)
        # Only from the start of a field on: tried at each character of one without a quote, it would read the rest of it each time.
        self._with_quote = re.compile(rb"(?<![^%b])[^%b%b]*%b[^%b]*" % (delimiter, delimiter, quote, quote, delimiter))
        # In this order: what is not quoted may be empty, and then no other kind of field is tried.
        field = rb"(?>%b%b%b|[^%b%b\n]*)" % (quote, within, quote, quote, delimiter)
        self._plain_line = re.compile(repeated(field + delimiter) + rb"%b\r?\n" % field)

    def agrees(self, data: bytes) -> bool:
        """Return whether COPY reads whole records, which end with a line feed, as they are meant."""
        return self._quote not in data or (self._has_quotes and self._automaton.fullmatch(data) is not None)

    @cached_property
    def _automaton(self) -> Automaton:
        return automaton.compiled(rb"%b*" % CsvExpressions.of(self._dialect).record)

    def read(self, data: bytes, *, first_line: int = 1, must_end: int = 0) -> tuple[Block, int]:
        """
        Read the whole records at the start of `data`; return them, and how many bytes they take.

        A record that does not end is left out if it starts at the offset `must_end` or after it. If quotes that it opens enclose other
        lines, but not a whole field, or are never closed, only its first line is refused: the lines after it are records again.
        """
        lines = split_lines(data)
        csv: list[bytes] = []
        starts: list[int] = []
        rewritten: dict[int, bytes] = {}
        refused: list[tuple[Delivered, Fault]] = []
        # What becomes of a record that is within quotes at the start of a line, if known: each line is read at most twice.
        known: dict[int, int] = {}
        number = offset = 0
        while number < len(lines) and lines[number].endswith(b"\n"):
            found = self._record(lines, number, known)
            if found is None and offset >= must_end:
                break
            read, raw = found or (_Line(fault=_UNTERMINATED), lines[number])
            if read.fault:
                refused.append((_delivered(first_line + number, raw, self._encoding), read.fault))
            else:
                if read.csv != raw:
                    rewritten[len(csv)] = raw
                csv.append(read.csv)
                starts.append(first_line + number)
            number, offset = number + raw.count(b"\n"), offset + len(raw)
        text = b"".join(csv)
        origin = _AsDelivered(starts, rewritten, self._encoding) if rewritten or refused else None
        return Block(text, len(csv) + len(refused), text.count(b"\n"), first_line, origin=origin, refused=tuple(refused)), offset

    def first(self, data: bytes) -> tuple[bytes, int]:
        """
        Return the first record of `data` as COPY has to read it, and how many bytes it takes.

        If it is refused, it is empty; if it does not end, it takes none.
        """
        lines = split_lines(data)
        if not lines or not lines[0].endswith(b"\n"):
            return b"", 0
        read, raw = self._record(lines, 0, {}) or (_Line(), b"")
        return read.csv, len(raw)

    def _record(self, lines: Sequence[bytes], first: int, known: dict[int, int]) -> tuple[_Line, bytes] | None:
        """Read the record that starts on a line; return it, and what was delivered. None if it does not end."""
        read = self._line(lines[first])
        if not read.is_open:
            return read, lines[first]
        last = self._end(lines, first, known)
        if last == _UNFINISHED:
            return None
        if last == _REFUSED:
            return _Line(fault=_UNTERMINATED), lines[first]
        raw = b"".join(lines[first : last + 1])
        return self._fields(raw), raw

    def _line(self, line: bytes) -> _Line:
        """Read a line that starts a record."""
        if self._quote not in line or (self._has_quotes and self._plain_line.fullmatch(line)):
            return _Line(line)
        return self._fields(line)

    def _fields(self, line: bytes) -> _Line:
        """Read from the start of a field to the end of the line, or to the end of a record of several lines."""
        if not self._has_quotes or not (line.startswith(self._quote) or self._delimiter + self._quote in line):
            return self._without_quoted(line)
        csv: list[bytes] = []
        fault: Fault | None = None
        start = 0
        # Compared by its offset: copying the rest of the line for each field would take quadratic time.
        end_of_record = len(line.removesuffix(b"\n").removesuffix(b"\r"))
        while True:
            if line.startswith(self._quote, start):
                closed = self._to_closing_quote.match(line, start + len(self._quote))
                if not closed:
                    return _Line(is_open=True)
                end = closed.end()
                csv.append(line[start:end])
            else:
                end = line.find(self._delimiter, start)
                end = end_of_record if end < 0 else end
                field = self._without_quoted(line[start:end])
                fault = fault or field.fault
                csv.append(field.csv)
            if end == end_of_record:
                return _Line(fault=fault) if fault else _Line(self._delimiter.join(csv) + line[end:])
            if not line.startswith(self._delimiter, end):
                return _Line(fault=_AFTER_QUOTE)
            start = end + len(self._delimiter)

    def _without_quoted(self, text: bytes) -> _Line:
        """Read fields none of which starts with a quote that opens it: quotes are text."""
        if self._quote not in text:
            return _Line(text)
        bare = text.removesuffix(b"\n").removesuffix(b"\r")
        if b"\r" in bare:
            # Quotes around the field would make it part of the value.
            return _Line(fault=_CARRIAGE_RETURN)
        return _Line(self._with_quote.sub(self._quoted, bare) + text[len(bare) :])

    def _quoted(self, found: re.Match[bytes]) -> bytes:
        text = found[0] if self._escape == self._quote else found[0].replace(self._escape, self._escape * 2)
        return self._quote + text.replace(self._quote, self._escape + self._quote) + self._quote

    def _end(self, lines: Sequence[bytes], first: int, known: dict[int, int]) -> int:
        """Return the last line of a record that is within quotes at the end of its first line; or that it does not end, or is refused."""
        passed: list[int] = []
        result = _UNFINISHED
        number = first + 1
        while number < len(lines) and lines[number].endswith(b"\n"):
            if number in known:
                result = known[number]
                break
            passed.append(number)
            closed = self._to_closing_quote.match(lines[number])
            if closed:
                rest = lines[number][closed.end() :]
                if rest in {b"\n", b"\r\n"}:
                    result = number
                    break
                read = self._fields(rest[len(self._delimiter) :]) if rest.startswith(self._delimiter) else _Line(fault=_AFTER_QUOTE)
                if not read.is_open:
                    # A stray carriage return spoils the record, but not where it ends.
                    result = _REFUSED if read.fault is _AFTER_QUOTE else number
                    break
            number += 1
        known.update(dict.fromkeys(passed, result))
        return result
