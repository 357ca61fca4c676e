"""
JSON documents that hold an array of records, read as a stream, so that only a part of them is in memory.

A regular expression that knows strings and brackets finds the records; DuckDB reads them. The rest of the
document has to be valid JSON, with the array where its path says.

No part of the expression for a value fails once its first character has matched: a string or a container that is not closed matches up
to the end of the data. An expression that failed within a container would be tried twice per level, which takes twice the time per level.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from dpe_cli.blocks.patterns import repeated
from dpe_cli.errors import InputError
from dpe_cli.sources.json import json_path, parsing
from dpe_cli.sources.json.records import RECORD_SEPARATOR

_DEPTH = 64
# Stands for the records in the rest of the document.
_HERE = "the records that were read"
_STRING = rb'"[^"\\]*(?:"|%b(?:"|\\?\Z))' % repeated(rb'\\.[^"\\]*')
_SCALAR = rb'[^\s,:"\[\]{}]+'
_TEXT = rb'[^"\[\]{}]*'


def _container(depth: int, deeper: bytes = rb".*") -> bytes:
    """Return a pattern of brackets of any kind; whether they match is left to DuckDB. `deeper` matches what is nested too deeply."""
    string = _STRING + _TEXT
    pattern = rb"[\[{]%b%b(?:[\]}]|[\[{]%b|\Z)" % (_TEXT, repeated(string), deeper)
    for _ in range(depth - 1):
        pattern = rb"[\[{]%b(?:[\]}]|%b(?:[\]}]|\Z))" % (_TEXT, repeated(rb"%b|%b%b" % (string, pattern, _TEXT)))
    return pattern


_BLANKS = re.compile(rb"\s*")
_VALUE = rb"(?>%b|%b|%b)" % (_container(_DEPTH), _STRING, _SCALAR)
_TOO_DEEP = re.compile(rb"\s*(?>%b)" % _container(_DEPTH, rb"(.*)"), re.DOTALL)
_ENDED_RECORD = re.compile(rb"(\s*%b)\s*," % _VALUE, re.DOTALL)
# Only a record followed by a comma is known to be complete: a number may continue in the next chunk.
_RECORDS = re.compile(repeated(rb"\s*%b\s*," % _VALUE), re.DOTALL)
_LAST = re.compile(rb"\s*(?:%b\s*)?\]" % _VALUE, re.DOTALL)
_MEMBER = re.compile(rb"\s*(%b)\s*:(?>\s*)" % _STRING, re.DOTALL)
_SKIPPED = re.compile(rb"\s*%b\s*([,}])" % _VALUE, re.DOTALL)


class NoArrayError(InputError):
    """A document has nothing, or no array, at the path of its records."""


class Document:
    """A document that is read from chunks of UTF-8; `envelope` is its text around the records, once those are read."""

    def __init__(
        self,
        chunks: Iterator[bytes],
        steps: Sequence[json_path.Step],
        *,
        location: str,
        max_record_bytes: int,
        option: str = "records",
    ) -> None:
        self._chunks = chunks
        self._steps = steps
        # The option that holds the path.
        self._option = option
        self._location = location
        self._most = max_record_bytes
        self._pending = b""
        # Where the data starts that was not taken yet: what was taken is cut off when more is read.
        self._position = 0
        self._is_read = False
        self._before: list[bytes] = []
        self._line = 1
        self.envelope: Any = None

    def parts(self) -> Iterator[tuple[bytes, int]]:
        """
        Yield records, separated by RECORD_SEPARATOR, with the line on which the first starts.

        Raises:
            InputError: the document is not valid JSON, or ends early.
            NoArrayError: it has no array at the path.
        """
        self._find_array()
        has_records = False
        while True:
            found = _RECORDS.match(self._pending, self._position)
            if found and found.end() > self._position:
                has_records = True
                yield self._separated(found.end())
            elif last := _LAST.match(self._pending, self._position):
                if self._pending[self._position : last.end() - 1].strip():
                    yield self._separated(last.end() - 1)
                elif has_records:
                    raise self._broken("a comma follows the last record")
                self._take(self._pending.index(b"]", self._position))
                break
            else:
                self._check_depth()
                if self._left > self._most:
                    raise self._broken(f"a record does not end within {self._most:,} bytes")
                if not self._read():
                    raise self._broken("the array of records does not end")
        self._check_envelope()

    def _separated(self, end: int) -> tuple[bytes, int]:
        """Take records off the pending data, with a separator instead of the comma after each."""
        data = self._pending[self._position : end]
        if not data.endswith(b","):
            # Without a separator after it, commas within a record would be searched too.
            data = data.rstrip() + b","
        if RECORD_SEPARATOR in data:
            raise self._broken("a record contains the control character U+001E unescaped")
        line = self._line
        self._take(end)
        return RECORD_SEPARATOR.join([*_ENDED_RECORD.findall(data), b""]), line

    def _find_array(self) -> None:
        """Read up to the bracket that opens the array."""
        steps = list(self._steps)
        self._skip_blanks()
        while steps:
            step = steps.pop(0)
            self._open(b"{", f"{_written(self._steps)} does not exist")
            while self._member() != step:
                end = self._matched(_SKIPPED)
                closes = end[1] == b"}"
                self._keep(end.end())
                if closes:
                    raise self._nothing_there()
        self._open(b"[", f"{_written(self._steps)} is not an array of records; set `{self._option}` to the array's path")

    def _member(self) -> str:
        if self._after_blanks() == b"}":
            raise self._nothing_there()
        found = self._matched(_MEMBER)
        name = found[1]
        self._keep(found.end())
        try:
            return str(json.loads(name))
        except ValueError as error:
            raise self._broken(f"the name of a member cannot be read ({error})") from error

    def _open(self, bracket: bytes, fault: str) -> None:
        if self._after_blanks() != bracket:
            raise self._no_array(fault)
        self._keep(self._position + 1)

    def _after_blanks(self) -> bytes:
        self._skip_blanks()
        return self._pending[self._position : self._position + 1]

    def _skip_blanks(self) -> None:
        while True:
            if blanks := _BLANKS.match(self._pending, self._position):
                self._keep(blanks.end())
            if self._left or not self._read():
                return

    def _matched(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        """Match at the start of the pending data, and read more until it matches."""
        while True:
            # A match that ends at the end of the data might continue.
            found = pattern.match(self._pending, self._position)
            if found and (found.end() < len(self._pending) or self._is_read):
                return found
            self._check_depth()
            if self._left > self._most:
                raise self._broken(f"the text before the records is longer than {self._most:,} bytes; set max_record_bytes higher")
            if not self._read():
                if found:
                    return found
                raise self._broken("it ends early, or is not JSON")

    def _check_depth(self) -> None:
        """Refuse what is nested deeper than the expressions reach; more data would not end it."""
        value = _TOO_DEEP.match(self._pending, self._position)
        if value and value[1] is not None:
            raise InputError(
                f"{self._location}, line {self._line}: a value is nested deeper than {_DEPTH} levels; ask the sender for a flatter document"
            )

    def _check_envelope(self) -> None:
        """Read the rest, and check that the document without its records is valid."""
        while self._read():
            if self._left > self._most:
                raise self._broken(f"the text after the records is longer than {self._most:,} bytes; set max_record_bytes higher")
        without = b"".join([*self._before, json.dumps(_HERE).encode(), self._pending[self._position :]])
        try:
            self.envelope = parsing.parse(without)
        except ValueError as error:
            raise self._broken(f"around its records it is not valid JSON ({error})") from error
        records = json_path.value(self.envelope, self._steps)
        # If a name occurs twice, the last member counts.
        if not (isinstance(records, list) and records == [_HERE]):
            raise self._broken(f"{_written(self._steps)} occurs twice")
        records.clear()

    @property
    def _left(self) -> int:
        """How many bytes were read and not taken."""
        return len(self._pending) - self._position

    def _keep(self, end: int) -> None:
        self._before.append(self._pending[self._position : end])
        self._take(end)

    def _take(self, end: int) -> None:
        self._line += self._pending.count(b"\n", self._position, end)
        self._position = end

    def _read(self) -> bool:
        """Read as much as is left, so that what does not match yet is matched only a few times, however small the chunks are."""
        read = [self._pending[self._position :]]
        wanted = min(self._left, self._most - self._left)
        while not self._is_read:
            chunk = next(self._chunks, b"")
            self._is_read = not chunk
            read.append(chunk)
            wanted -= len(chunk)
            if wanted <= 0:
                break
        self._pending = b"".join(read)
        self._position = 0
        return any(read[1:])

    def _nothing_there(self) -> NoArrayError:
        return self._no_array(f"it has nothing at {_written(self._steps)}; correct `{self._option}` in the external block")

    def _no_array(self, fault: str) -> NoArrayError:
        return NoArrayError(f"{self._location}, line {self._line}: {fault}")

    def _broken(self, fault: str) -> InputError:
        return InputError(f"{self._location}, line {self._line}: the document is not valid JSON: {fault}; ask the sender to send it again")


def _written(steps: Sequence[json_path.Step]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
