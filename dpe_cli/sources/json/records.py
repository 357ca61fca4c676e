"""
JSON records as CSV blocks: DuckDB reads them by column, at C speed; no Python runs for a valid record.

A text column gets a string's characters, and the JSON of anything else; a json or jsonb column gets JSON. Missing
members are null, like JSON's null.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

from dpe_cli.blocks import encodings
from dpe_cli.blocks.block import Block, Delivered, Fault, not_text
from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.patterns import repeated
from dpe_cli.errors import ContractError, ExtractError
from dpe_cli.safe_text.redaction import excerpt
from dpe_cli.sources.json import json_path, parsing, strict
from dpe_cli.sources.json.named_columns import NamedColumn, any_has_two_names, delivered_twice, has_two_names, is_seen, lines_of_members
from dpe_cli.sources.read import duckdb_connections
from dpe_cli.sources.read.rows import literal
from dpe_cli.words import did_you_mean

LINE_FEED = b"\n"
# Never occurs unescaped in JSON (RFC 8259, section 7): a record may contain line feeds, but not this character.
RECORD_SEPARATOR = b"\x1e"

INVALID_JSON_TEXT = "22032"
NO_JSON_OBJECT = "2203C"
DUPLICATE_JSON_OBJECT_KEY_VALUE = "22030"

# DuckDB turns a number with a fraction or an exponent into a double, which keeps any fifteen digits, and no less than 1e-307.
_LONG = 16
_LONG_RUN = b"0" * (_LONG + 1)
_DIGITS_AS_ZEROS = bytes(0x30 if byte in b"0123456789." else 0x20 for byte in range(256))
_NEGATIVE_EXPONENTS = (b"e-", b"E-")
_TINY = re.compile(rb"\d[eE]-0*[1-9]\d\d")
_LONG_NUMBER = rb"-?(?=(?>\d+)[.eE])(?:(?=0?\.?(?>0*)[1-9](?:\.?\d){%d})|(?=(?>[\d.]*)[eE]-\d{3}))\d(?>[\d.]*)(?>(?:[eE][+-]?\d+)?)" % (
    _LONG - 1
)
# Everything up to the next long number: strings, other numbers, and the text between them.
_TEXT = rb'[^"\d\-]*'
_OTHERS = repeated(rb"(?:%b|(?!%b)-?\d[\d.eE+\-]*|-(?!\d))%b" % (strict.STRING, _LONG_NUMBER, _TEXT))
_UP_TO_LONG_NUMBER = re.compile(rb"(%b%b)(%b|\Z)" % (_TEXT, _OTHERS, _LONG_NUMBER))
_PRIVATE_USE = range(0xE000, 0xF900)
_PRIVATE = re.compile(r"([\uE000-\uF8FF])|\\u([eEfF][0-9a-fA-F]{3})")
_RANDOM_CHARACTERS = 8
# Common table expressions for the records of a block, with their indexes.
_NUMBERED = """
    split as (select string_split($1, $2) as records),
    records as (select unnest(records) as record, unnest(range(len(records))) as index from split)
"""
# Whether two members of a record, or of any object within it, have the same name: a column would get the first, and jsonb the last.
_REPEATED = "list_unique(json_keys(record)) <> len(json_keys(record))"
_REPEATED_WITHIN = (
    f"({_REPEATED} or len(list_filter(json_keys(record, '$..*'), lambda names: len(names) > 1 and list_unique(names) <> len(names))) > 0)"
)


class JsonRecords:
    """
    Converts the JSON of one input to blocks; `columns` are the contract's, each with the path of its value, or the member of its name.

    `columns` of the result name the CSV fields, in order. A record may be the member `within` another JSON object.
    """

    def __init__(self, columns: Sequence[Column], *, ignores_extra: bool, declared_at: str, within: str | None = None) -> None:
        self._steps = {column.name: json_path.of(column) for column in columns}
        self._at: tuple[json_path.Step, ...] = () if within is None else (within,)
        self._named = [NamedColumn.of(column, self._at) for column in columns if column.headers or column.may_be_missing]
        plain = [column for column in columns if not (column.headers or column.may_be_missing)]
        texts = [column.name for column in plain if not column.is_json]
        documents = [column.name for column in plain if column.is_json]
        self.columns = (*texts, *documents, *(named.column.name for named in self._named))
        self._takes_anything = () in self._steps.values() and within is None
        self._known = {steps[0] for steps in self._steps.values() if steps}
        self._known |= {name for named in self._named for name in named.column.headers}
        # Of those that may be missing: whether any record had them.
        self._is_seen = [False for _ in self._named]
        self._ignores_extra = ignores_extra or () in self._steps.values()
        self._declared_at = declared_at
        self._connection = duckdb_connections.connect(by="reading JSON")
        self._texts = [json_path.pointer((*self._at, *self._steps[name])) for name in texts]
        self._documents = [json_path.pointer((*self._at, *self._steps[name])) for name in documents]

    def block(self, data: bytes, separator: bytes, *, location: str, first_line: int, by_number: bool = False) -> Block:
        """
        Return records, each ended or separated by a separator, as a block of CSV.

        Their positions are the lines on which they start, from `first_line` on; with `by_number` their numbers, from there on.

        Raises:
            ContractError: a record has a member that the contract does not name.
        """
        parts = Parts(data, separator, first_line, by_number=by_number)
        text, refused = _text(data, separator)
        if unreadable := {index: _not_json(fault) for index, fault in strict.faults(data, separator).items() if index not in refused}:
            refused |= unreadable
            text = _without(text, separator, unreadable)
        mark = _unused_mark(text) if _has_long_number(data) else None
        given = [_in_quotes(text, mark) if mark else text, separator.decode()]
        has_objects_within = data.count(b"{") > parts.most
        csv, kept, members, repeated, *named = self._read(given, has_objects_within=has_objects_within)
        if repeated:
            indexes = self._connection.execute(self._query_of_repeated, given).fetchone()[0]
            refused |= {index: _repeated(parts.raws[index]) for index in indexes}
            given[0] = _without(given[0], separator, indexes)
            csv, kept, members, _, *named = self._read(given, has_objects_within=has_objects_within)
        seen, has_two_names = named
        self._is_seen = [before or bool(now) for before, now in zip(self._is_seen, seen or self._is_seen, strict=True)]
        if has_two_names:
            raise self._two_names(given, parts, location)
        if not self._ignores_extra and (extra := sorted(set(members or ()) - self._known)):
            raise self._extra_members(extra, given, parts, location)
        if kept != parts.most:
            unreadable = self._connection.execute(self._query_of_unreadable, given).fetchone()[0]
            for index in unreadable or ():
                if index not in refused and parts.is_filled(index):
                    refused[index] = _why_refused(parts.raws[index], self._at)
            if kept + len(refused) != parts.count:
                raise ExtractError(
                    f"{location}, line {first_line}: {parts.count:,} records were read, but only {kept:,} as JSON, with {len(refused):,} "
                    "refused; nothing was loaded, please report this"
                )
        csv = bytes(csv or b"")
        if mark:
            character = mark.encode()
            csv = csv.replace(b'""' + character, b"").replace(character + b'""', b"").replace(character, b"")
        origin = parts.origin(refused)
        refusals = tuple((parts.delivered(index), fault) for index, fault in sorted(refused.items()))
        return Block(csv, kept + len(refusals), csv.count(b"\n"), 1, origin=origin, refused=refusals)

    def missing(self) -> tuple[str, ...]:
        """Return the columns that no record had, although they may be missing."""
        pairs = zip(self._named, self._is_seen, strict=True)
        return tuple(named.column.name for named, is_seen in pairs if named.column.may_be_missing and not is_seen)

    @property
    def _record(self) -> str:
        """The function arguments that identify the record."""
        return f"record, {literal(json_path.pointer(self._at))}" if self._at else "record"

    @cached_property
    def _readable(self) -> str:
        """The condition for a readable record; it is checked first, because other functions fail on invalid JSON."""
        is_object = "true" if self._takes_anything else f"coalesce(json_type({self._record}) = 'OBJECT', false)"
        return f"case when json_valid(record) then {is_object} else false end"

    def _read(self, given: Sequence[str], *, has_objects_within: bool) -> Any:
        """Return the CSV of the records, their number, the names of their members, and how many have two members of one name."""
        return self._connection.execute(self._query_of_nested if has_objects_within else self._query_of_flat, given).fetchone()

    @cached_property
    def _query_of_flat(self) -> str:
        return self._query(_REPEATED)

    @cached_property
    def _query_of_nested(self) -> str:
        return self._query(_REPEATED_WITHIN)

    @cached_property
    def _query_of_repeated(self) -> str:
        """The query for the indexes of the records that have two members of one name."""
        return f"""
            with {_NUMBERED}
            select list(index order by index) from records where case when {self._readable} then {_REPEATED_WITHIN} end
        """

    def _query(self, repeated: str) -> str:
        fields = []
        if self._texts:
            fields.append(_csv(f"json_extract_string(record, {_literals(self._texts)})"))
        if self._documents:
            values = f"json_extract(record, {_literals(self._documents)})"
            fields.append(_csv(f"list_transform({values}, lambda one: nullif(one::varchar, 'null'))"))
        fields += [column_.csv for column_ in self._named]
        members = f"list_distinct(flatten(list(case when is_readable then json_keys({self._record}) end)))"
        return f"""
            with records as (
                select unnest(string_split($1, $2)) as record
            ),
            marked as (
                select record, {self._readable} as is_readable from records
            )
            select
                encode(string_agg(case when is_readable then {" || ',' || ".join(fields)} || chr(10) end, '')),
                count(*) filter (is_readable),
                {"null" if self._ignores_extra else members},
                count(*) filter (case when is_readable then {repeated} end),
                {is_seen(self._named)},
                {any_has_two_names(self._named)}
            from marked
        """

    def _two_names(self, given: Sequence[str], parts: Parts, location: str) -> ContractError:
        """Return the error that names the first record that has a column under two of its names."""
        condition = f"case when {self._readable} then {has_two_names(self._named)} else false end"
        index = self._connection.execute(f"with {_NUMBERED} select min(index) from records where {condition}", given).fetchone()[0]
        return ContractError(
            f"{location}, {parts.kind} {parts.lines[index]}: the record has a column under two of its names "
            f"({delivered_twice(self._named, parts.raws[index], self._at)}); ask the sender which of them counts, and correct "
            f"meta.headers in {self._declared_at}"
        )

    @cached_property
    def _query_of_unreadable(self) -> str:
        return f"""
            with {_NUMBERED}
            select list(index order by index) from records where not ({self._readable})
        """

    @cached_property
    def _query_of_members(self) -> str:
        """The query for the index of the first record that has one of these members."""
        return f"""
            with {_NUMBERED}
            select min(index) from records where case when {self._readable} then list_has_any(json_keys({self._record}), $3) end
        """

    def _extra_members(self, extra: Sequence[str], given: Sequence[str], parts: Parts, location: str) -> ContractError:
        """Return the error that names members without a column, and the first record that has one."""
        index = self._connection.execute(self._query_of_members, [*given, extra]).fetchone()[0]
        near = did_you_mean(excerpt(extra[0]), map(str, self._known))
        hint = f" ({near})" if near else ""
        listed = ", ".join(repr(excerpt(name)) for name in extra[:5]) + (f" and {len(extra) - 5} more" if len(extra) > 5 else "")
        return ContractError(
            f"{location}, {parts.kind} {parts.lines[index]}: the record has {listed}, which is not in the contract{hint}; "
            f"add columns in {self._declared_at}, or set extra_columns: ignore to drop unlisted members"
            f"{lines_of_members(extra, parts.raws[index], self._at)}"
        )


class Parts:
    """The records between separators, including blank ones, and the lines of the input on which they start."""

    def __init__(self, data: bytes, separator: bytes, first_line: int, *, by_number: bool = False) -> None:
        self.kind = "record" if by_number else "line"
        self._data = data
        self._separator = separator
        self._first_line = first_line

    @cached_property
    def raws(self) -> list[bytes]:
        """The records."""
        return self._data.split(self._separator)

    @cached_property
    def lines(self) -> Sequence[int]:
        """The line on which each starts, or its number."""
        if self.kind == "record":
            return range(self._first_line, self._first_line + len(self.raws))
        height = 1 if self._separator == LINE_FEED else 0
        return list(accumulate((raw.count(b"\n") + height for raw in self.raws[:-1]), initial=self._first_line))

    @property
    def most(self) -> int:
        """How many there are, assuming only the last may be blank; unlike `count`, computed without DuckDB."""
        return self._data.count(self._separator) + (not self._data.endswith(self._separator))

    @property
    def count(self) -> int:
        """How many are not blank."""
        return sum(1 for raw in self.raws if raw.strip(_BLANKS))

    def is_filled(self, index: int) -> bool:
        """Return whether a record is not blank."""
        return bool(self.raws[index].strip(_BLANKS))

    def delivered(self, index: int) -> Delivered:
        """Return a record as it was delivered."""
        raw = self.raws[index]
        record = raw.lstrip(_BLANKS)
        line = self.lines[index] + (raw.count(b"\n", 0, len(raw) - len(record)) if self.kind == "line" else 0)
        return Delivered(line, *encodings.readable(record.rstrip(_BLANKS), "utf-8"))

    def origin(self, refused: dict[int, Fault]) -> _KeptRecords:
        """Return the Origin of the records that are neither blank nor refused, by their index among those."""
        return _KeptRecords(self, refused)


class _KeptRecords:
    """An Origin: the records of a block, located when one is requested."""

    def __init__(self, parts: Parts, refused: dict[int, Fault]) -> None:
        self._parts = parts
        self._refused = refused

    @cached_property
    def _indexes(self) -> list[int]:
        return [index for index in range(len(self._parts.raws)) if index not in self._refused and self._parts.is_filled(index)]

    def __call__(self, number: int, csv: bytes) -> Delivered:
        """Return the n-th record."""
        del csv
        return self._parts.delivered(self._indexes[number])


_BLANKS = b" \t\r\n"


def _literals(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(literal, texts))}]"


def _csv(values: str) -> str:
    """Return SQL that writes a list of texts as CSV fields."""
    return f"""array_to_string(list_transform({values}, lambda v: coalesce('"' || replace(v, '"', '""') || '"', '')), ',')"""


def _text(data: bytes, separator: bytes) -> tuple[str, dict[int, Fault]]:
    """Return the records as text, with blanks for those that are not text, and the faults of these."""
    try:
        return data.decode(), {}
    except UnicodeDecodeError:
        raws = data.split(separator)
    unreadable: dict[int, Fault] = {}
    for index, raw in enumerate(raws):
        if invalid := encodings.invalid_bytes(raw, "utf-8"):
            unreadable[index] = not_text(invalid, "utf-8")
            raws[index] = b""
    return separator.join(raws).decode(), unreadable


def _without(text: str, separator: bytes, indexes: Collection[int]) -> str:
    """Return the records with blanks for some of them."""
    raws = text.split(separator.decode())
    for index in indexes:
        raws[index] = ""
    return separator.decode().join(raws)


def _has_long_number(data: bytes) -> bool:
    """Return whether DuckDB would round a number, or text that looks like one."""
    runs = data.translate(_DIGITS_AS_ZEROS)
    end = 0
    while (start := runs.find(_LONG_RUN, end)) >= 0:
        end = runs.find(b" ", start)
        end = len(data) if end < 0 else end
        number = data[start:end]
        if (b"." in number or data[end : end + 1] in (b"e", b"E")) and len(number.replace(b".", b"").lstrip(b"0")) >= _LONG:
            return True
    return any(exponent in data for exponent in _NEGATIVE_EXPONENTS) and _TINY.search(data) is not None


def _unused_mark(text: str) -> str:
    """Return a character that is not in a text, not even escaped; if all are, random ones, which no sender can foresee."""
    if text.isascii() and "\\u" not in text:
        return chr(_PRIVATE_USE[0])
    used = {chr(int(escaped, base=16)) if escaped else found for found, escaped in set(_PRIVATE.findall(text))}
    unused = (chr(code) for code in _PRIVATE_USE if chr(code) not in used)
    return next(unused, None) or "".join(chr(secrets.choice(_PRIVATE_USE)) for _ in range(_RANDOM_CHARACTERS))


def _in_quotes(text: str, mark: str) -> str:
    """Turn numbers that would be rounded into strings, between marks."""
    character = mark.encode()
    nothing = b'"' + character * 2 + b'"'
    marked = _UP_TO_LONG_NUMBER.sub(rb'\1"' + character + rb"\2" + character + b'"', text.encode())
    # Matched at the end of the text.
    while marked.endswith(nothing):
        marked = marked.removesuffix(nothing)
    return marked.decode()


def _not_json(fault: str) -> Fault:
    return Fault(None, INVALID_JSON_TEXT, f"the record is not valid JSON: {fault}")


def _repeated(raw: bytes) -> Fault:
    name = strict.repeated_name(raw)
    return Fault(
        None, DUPLICATE_JSON_OBJECT_KEY_VALUE, f"two members {'have the same name' if name is None else f'are named {excerpt(name)!r}'}"
    )


def _why_refused(raw: bytes, at: Sequence[json_path.Step]) -> Fault:
    try:
        document = json_path.value(parsing.parse(raw), at)
    except json.JSONDecodeError as error:
        return Fault(None, INVALID_JSON_TEXT, f"the record is not valid JSON: {error.msg}, at character {error.pos + 1}")
    except ValueError:
        return Fault(None, INVALID_JSON_TEXT, "the record is nested too deeply")
    if isinstance(document, dict):
        return Fault(None, INVALID_JSON_TEXT, "the record is not valid JSON: it contains half of a surrogate pair")
    return Fault(None, NO_JSON_OBJECT, "the record is not a JSON object")
