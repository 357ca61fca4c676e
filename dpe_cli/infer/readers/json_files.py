"""
JSON: the members of the records, each a column with its path, and the JSON types of their values.

An object with few members, which is never anything else, is split into columns; an array, or an object with as many
members as a dictionary, is kept whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from dpe_cli.blocks.contract import Column
from dpe_cli.errors import InputError
from dpe_cli.infer.sample import Sample, take_sample
from dpe_cli.infer.survey import Draft, SamplePart, SampleParts, Survey, check_number
from dpe_cli.sources.files.find import File
from dpe_cli.sources.json import json_path, parsing
from dpe_cli.sources.json.records import RECORD_SEPARATOR, JsonRecords
from dpe_cli.sources.read.rows import DIALECT

# A record as it is: its members are yet to be found.
WHOLE = Column("record", "jsonb", path="$")

_TEXT = frozenset({"date", "timestamp", "timestamptz", "uuid"})
_NUMBER = frozenset({"integer", "decimal", "float"})
_MOST_MEMBERS = 30
_DEEPEST = 4
_DEEPEST_ARRAY = 64
_LONGEST_DOCUMENT = 256 * 1024 * 1024
_RECORDS_AT_ONCE = 5000
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True)
class _Member:
    """A member of the records: the steps to it, and how often it has which JSON type."""

    steps: tuple[str, ...]
    kinds: Mapping[str, int]

    @property
    def names(self) -> frozenset[str]:
        """The JSON types of its values, with numbers as one type, and without null."""
        numbers = {"UBIGINT", "BIGINT", "HUGEINT", "UHUGEINT", "DOUBLE"}
        return frozenset("NUMBER" if kind in numbers else kind for kind in self.kinds if kind != "NULL")


def records_of_file(file: File) -> str:
    """
    Return the path of the array of records in a document.

    Raises:
        InputError: it is not JSON, too long to be read whole, or has no such array.
    """
    data = bytearray()
    with file.content() as content:
        for chunk in content.chunks():
            if not data and chunk.lstrip().startswith(b"["):
                return "$"
            data += chunk
            if len(data) > _LONGEST_DOCUMENT:
                raise InputError(f"{content.location}: is too long to search for its records; give the path of their array with --records")
    try:
        document = parsing.parse(bytes(data))
    except ValueError as error:
        raise InputError(f"{content.location}: is not valid JSON ({error}); ask the sender to send it again") from error
    return records_of(document, location=content.location)


def records_of(document: Any, *, location: str) -> str:
    """
    Return the path of the array with the most records in a document.

    Raises:
        InputError: it has none.
    """
    found = sorted(_arrays(document, ()), key=lambda item: (-item[1], len(item[0])))
    if not found:
        raise InputError(f"{location}: has no array of records; give its path with --records, as in $.data.items")
    return json_path.written(found[0][0])


def _arrays(document: Any, steps: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(document, list):
        if document and all(isinstance(entry, dict) for entry in document):
            yield steps, len(document)
    elif isinstance(document, dict) and len(steps) < _DEEPEST_ARRAY:
        for name, value in document.items():
            if json_path.can_be_written(name):
                yield from _arrays(value, (*steps, name))


def survey(parts: SampleParts, stack: ExitStack) -> Survey:
    """
    Return the columns of the records, given parts with whole records; and the same records in those columns.

    They are kept until `stack` is closed.

    Raises:
        InputError: they cannot be read.
    """
    sample = stack.enter_context(take_sample(parts))
    sample.load("")
    connection = sample.connection
    held = (
        "select c0 as record, location from sampled where json_type(c0) = 'OBJECT'"
        if sample.inputs
        else "select '' as record, '' as location limit 0"
    )
    connection.execute(f"create table objects as {held}")
    # jsonb cannot hold the character U+0000.
    (has_nul,) = connection.execute(r"select coalesce(bool_or(contains(record, '\u0000')), false) from objects").fetchone()
    check_number(len(_names(connection, ())), location=sample.inputs[0].location if sample.inputs else "")
    drafts, notes = _drafts(list(_members(connection, ())), nested="json" if has_nul else "jsonb")
    if sample.inputs and not drafts:
        raise InputError(f"{sample.inputs[0].location}: none of its records is a JSON object with members; correct --format or --records")
    return Survey(options={"extra_columns": "ignore"} if notes else {}, drafts=drafts, parts=partial(_parts, sample, drafts), notes=notes)


def _members(connection: Any, steps: tuple[str, ...]) -> Iterator[_Member]:
    """
    Yield the members of an object in the records; if a member is itself split into columns, its members instead.

    None of an object that has too many of them to be split.
    """
    names = _names(connection, steps)
    if steps and len(names) > _MOST_MEMBERS:
        return
    paths = [(*steps, name) for name in names]
    counted = connection.execute(
        """
        select number, kind, count(*)
        from (select unnest(json_type(record, $1::varchar[])) as kind, unnest(range($2)) as number from objects)
        where kind is not null
        group by number, kind
        """,
        [[json_path.pointer(path) for path in paths], len(paths)],
    ).fetchall()
    for number, path in enumerate(paths):
        member = _Member(path, {kind: count for place, kind, count in counted if place == number})
        inner = list(_members(connection, path)) if member.names == {"OBJECT"} and len(path) < _DEEPEST else []
        if inner and len(inner) <= _MOST_MEMBERS and all(json_path.can_be_written(step) for leaf in inner for step in leaf.steps):
            yield from inner
        else:
            yield member


def _names(connection: Any, steps: tuple[str, ...]) -> list[str]:
    """Return the names of an object's members, in the order of the first object, then those of the others."""
    where = json_path.pointer(steps)
    objects = "from objects where json_type(record, $1) = 'OBJECT'"
    first = connection.execute(f"select json_keys(record, $1) {objects} limit 1", [where]).fetchone()
    found = connection.execute(f"select distinct unnest(json_keys(record, $1)) as name {objects} order by name", [where]).fetchall()
    return list(dict.fromkeys([*(first[0] if first else []), *[name for (name,) in found]]))


def _drafts(members: Sequence[_Member], *, nested: str) -> tuple[list[Draft], list[str]]:
    drafts: list[Draft] = []
    notes: list[str] = []
    taken: set[str] = set()
    for member in members:
        if not all(map(json_path.can_be_written, member.steps)):
            notes.append(f"the member {'.'.join(member.steps)!r} is left out, because no path can name it")
            continue
        name = next(name for name in _candidates(_name(member.steps)) if name not in taken)
        taken.add(name)
        path = None if member.steps == (name,) else json_path.written(member.steps)
        is_nested = bool(member.names & {"OBJECT", "ARRAY"})
        drafts.append(Draft(name, name, path=path, kinds=_kinds(member), declared=nested if is_nested else None))
    return drafts, notes


def _candidates(name: str) -> Iterator[str]:
    yield name
    for number in count(2):
        yield f"{name}_{number}"


def _kinds(member: _Member) -> frozenset[str] | None:
    """Return the kinds of value allowed for the type: a number that the sender writes as text stays text."""
    if member.names == {"NUMBER"}:
        return _NUMBER
    if member.names == {"BOOLEAN"}:
        return frozenset({"boolean"})
    return _TEXT if member.names == {"VARCHAR"} else frozenset()


def _name(steps: Sequence[str]) -> str:
    """Return a column's name in SQL style: `customerId` within `order` is order_customer_id."""
    words = [step if _PLAIN.fullmatch(step) else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", step).lower() for step in steps]
    name = re.sub(r"[^a-z0-9]+", "_", "_".join(words)).strip("_") if not _PLAIN.fullmatch("_".join(words)) else "_".join(words)
    name = name[:60].rstrip("_") or "column"
    return name if not name[0].isdigit() else f"n{name}"


def _parts(sample: Sample, drafts: Sequence[Draft]) -> Iterator[SamplePart]:
    """Yield the records as dpe converts them to CSV, with every digit of numbers."""
    columns = [Column(draft.name, draft.declared or "text", path=draft.path) for draft in drafts]
    records = JsonRecords(columns, ignores_extra=True, declared_at="")
    for input_ in sample.inputs:
        (objects,) = sample.connection.execute("select count(*) from objects where location = $1", [input_.location]).fetchone()
        # Values that are not objects are not among its records.
        refused = input_.refused + input_.records - objects
        rows = sample.connection.cursor().execute("select record from objects where location = $1", [input_.location])
        while batch := rows.fetchmany(_RECORDS_AT_ONCE):
            data = "\x1e".join([record for (record,) in batch]).encode()
            block = records.block(data, RECORD_SEPARATOR, location=input_.location, first_line=1)
            yield SamplePart(input_.location, records.columns, DIALECT, block, refused, input_.first_refused, input_.is_cut)
            refused = 0
