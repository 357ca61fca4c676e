"""
The output of a Singer tap: lines of JSON, among them the records of one stream.

DuckDB separates them. No Python runs for a record; all other messages are read here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from dpe_cli.blocks.block import Block, Delivered, Origin
from dpe_cli.blocks.contract import Column
from dpe_cli.errors import ContractError, InputError
from dpe_cli.safe_text.redaction import redact
from dpe_cli.sources.json import json_path, parsing
from dpe_cli.sources.options.base import nearest
from dpe_cli.sources.read import duckdb_connections

RECORD = "record"

_SHOWN_CHARACTERS = 80
# Returns the lines that are not records, and the records of other streams. Invalid JSON must not reach other functions.
_QUERY = """
    with split as (
        select string_split($1, chr(10)) as lines
    ),
    messages as (
        select unnest(lines) as line, unnest(range(len(lines))) as index from split
    ),
    kinds as (
        select
            index,
            case when json_valid(line) then json_extract_string(line, ['/type', '/stream']) end as kind_and_stream
        from messages
    )
    select
        list(index order by index) filter (kind_and_stream[1] is distinct from 'RECORD' or kind_and_stream[2] is null),
        list(index) filter (kind_and_stream[1] = 'RECORD' and not list_contains($2, kind_and_stream[2]))
    from kinds
"""


class Messages:
    """
    The messages of a tap that sends the records of one stream; `names` are the stream's names in catalog and messages.

    `state` is the last state, as JSON; `has_schema`: the stream was described; `others`: other streams that came.
    """

    def __init__(self, names: Collection[str], columns: Sequence[Column], *, where: str, declared_at: str) -> None:
        self.state: str | None = None
        self.has_schema = False
        self.others: set[str] = set()
        self._names = sorted(names)
        self._columns = columns
        self._where = where
        self._declared_at = declared_at
        self._connection = duckdb_connections.connect(by=where)

    def records(self, data: bytes, first_line: int) -> bytes:
        """
        Return the lines that are records of the stream, and process all others.

        Raises:
            InputError: a line is not a message, or one that dpe does not support.
            ContractError: the stream's schema lacks a column.
        """
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = first_line + data.count(b"\n", 0, error.start)
            raise InputError(f"{self._where}, line {line} of the tap's output: is not UTF-8; fix the tap") from error
        others, foreign = self._connection.execute(_QUERY, [text, self._names]).fetchone()
        lines = data.split(b"\n")
        left_out = set(foreign or ())
        for index in others or ():
            if not lines[index].strip() or not self._is_record(lines[index], first_line + index):
                left_out.add(index)
        if len(left_out) == len(lines):
            return b""
        return b"\n".join([line for index, line in enumerate(lines) if index not in left_out]) if left_out else data

    def _is_record(self, raw: bytes, line: int) -> bool:
        """Process a message that is not a record; return whether it is one of the stream's records that DuckDB cannot read."""
        try:
            message = parsing.parse(raw)
        except ValueError as error:
            raise self._no_message(raw, line, "is not JSON") from error
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "RECORD" and isinstance(message.get("stream"), str):
            return message["stream"] in self._names
        if kind == "STATE" and isinstance(message.get("value"), dict):
            # Keep every digit.
            self.state = _member(raw.decode(), "value")
        elif kind == "SCHEMA":
            self._take_schema(message, line)
        elif kind == "BATCH":
            raise InputError(
                f"{self._where}, line {line} of the tap's output: is a BATCH, whose records are in files; "
                "configure the tap to write records (batch_config)"
            )
        # Removing rows of old versions is left to `disposition: replace`.
        elif kind != "ACTIVATE_VERSION":
            raise self._no_message(raw, line, "is not a Singer message")
        return False

    def _take_schema(self, message: dict[str, Any], line: int) -> None:
        stream = str(message.get("stream"))
        if stream not in self._names:
            self.others.add(stream)
            return
        self.has_schema = True
        schema = message.get("schema")
        schema = schema if isinstance(schema, dict) else {}
        known = schema.get("properties") or {}
        if not known or schema.get("additionalProperties") or schema.get("patternProperties"):
            return
        for column in self._columns:
            steps = json_path.of(column)
            if steps and steps[0] not in known and not column.may_be_missing and not any(name in known for name in column.headers):
                raise ContractError(
                    f"{self._where}, line {line} of the tap's output: the stream's schema has no {steps[0]}"
                    f"{nearest(str(steps[0]), list(known))}; correct the column {column.name} in {self._declared_at}, or its meta.path"
                )

    def _no_message(self, raw: bytes, line: int, what: str) -> InputError:
        # Redact first: if it were cut, a secret could no longer be recognized.
        text = redact(raw.decode(errors="replace")).strip()
        shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
        return InputError(
            f"{self._where}, line {line} of the tap's output: {what} ({shown}); nothing was loaded, fix the tap: "
            "its log belongs on standard error"
        )


def as_delivered(block: Block) -> Block:
    """Return a block whose rejects are the records, without the messages around them."""
    origin = block.origin
    assert origin is not None  # noqa: S101 blocks of JSON have one
    refused = tuple((_record(delivered), fault) for delivered, fault in block.refused)
    return replace(block, origin=partial(_record_of, origin), refused=refused)


def _record_of(origin: Origin, number: int, csv: bytes) -> Delivered:
    return _record(origin(number, csv))


def _record(delivered: Delivered) -> Delivered:
    return replace(delivered, raw=_member(delivered.raw, RECORD))


def _member(message: str, name: str) -> str:
    """Return a member of a JSON object as it is written; if there is none, or it is nested too deeply for Python, the whole."""
    try:
        return _found_member(message, name)
    except RecursionError:
        return message


def _found_member(message: str, name: str) -> str:
    decoder = json.JSONDecoder(parse_int=parsing.integer)
    found = message
    position = message.index("{") + 1
    while (position := _after_blanks(message, position)) < len(message) and message[position] == '"':
        member, position = decoder.raw_decode(message, position)
        start = _after_blanks(message, _after_blanks(message, position) + 1)
        _, position = decoder.raw_decode(message, start)
        # If a name occurs twice, the last member counts.
        found = message[start:position] if member == name else found
        position = _after_blanks(message, position) + 1
    return found


def _after_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position
