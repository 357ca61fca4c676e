"""Columns of JSON records that have several names, or that a delivery may lack: SQL for DuckDB; and members without a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.yaml_line import addable, lines_to_add, renames
from dpe_cli.sources.json import json_path, parsing
from dpe_cli.sources.read.rows import literal


@dataclass(frozen=True)
class NamedColumn:
    """A column and the pointers to its value, by each of its names. A record that has none of them gets the default."""

    column: Column
    pointers: tuple[str, ...]

    @classmethod
    def of(cls, column: Column, within: Sequence[json_path.Step]) -> NamedColumn:
        """Return a column of records that are at a path within other documents."""
        steps = [json_path.of(column), *((name,) for name in column.headers)]
        return cls(column, tuple(json_path.pointer((*within, *path)) for path in steps))

    @property
    def csv(self) -> str:
        """Return the field of a record as CSV."""
        cases = " ".join(f"when {self._exists(pointer)} then {self._value(pointer)}" for pointer in self.pointers)
        default = "null" if self.column.default is None else literal(self.column.default)
        return f"""coalesce('"' || replace(case {cases} else {default} end, '"', '""') || '"', '')"""

    @property
    def is_present(self) -> str:
        """The condition for a record that has the column."""
        return " or ".join(map(self._exists, self.pointers))

    @property
    def has_two_names(self) -> str:
        """The condition for a record that has it under two of its names."""
        return f"{' + '.join(f'{self._exists(pointer)}::integer' for pointer in self.pointers)} > 1"

    def _value(self, pointer: str) -> str:
        if self.column.is_json:
            return f"nullif(json_extract(record, {literal(pointer)})::varchar, 'null')"
        return f"json_extract_string(record, {literal(pointer)})"

    @staticmethod
    def _exists(pointer: str) -> str:
        # The pointer to the whole record is empty.
        return f"coalesce(json_exists(record, {literal(pointer)}), false)" if pointer else "true"


def is_seen(columns: Sequence[NamedColumn]) -> str:
    """Return SQL for whether any readable record has each column, as a list."""
    each = (f"bool_or(case when is_readable then {named.is_present} else false end)" for named in columns)
    return f"[{', '.join(each)}]" if columns else "null"


def has_two_names(columns: Sequence[NamedColumn]) -> str:
    """Return the condition for a record that has any column under two of its names."""
    return " or ".join(named.has_two_names for named in columns if named.column.headers) or "false"


def any_has_two_names(columns: Sequence[NamedColumn]) -> str:
    """Return SQL for whether any readable record has a column under two of its names."""
    return f"bool_or(case when is_readable then {has_two_names(columns)} else false end)"


def delivered_twice(columns: Sequence[NamedColumn], raw: bytes, within: Sequence[json_path.Step]) -> str:
    """Return, for a message, the columns that a record has under two of their names."""
    record = _members(raw, within)
    names = ([repr(name) for name in named.column.names if name in record] for named in columns)
    return "; ".join(" and ".join(found) for found in names if len(found) > 1)


def lines_of_members(extra: Sequence[str], raw: bytes, within: Sequence[json_path.Step]) -> str:
    """Return, for a message, what to do about the members of a record without a column: rename them, or declare them."""
    record = _members(raw, within)
    return renames(extra) + lines_to_add({name: _type_of(record[name]) for name in addable(name for name in extra if name in record)})


def _members(raw: bytes, within: Sequence[json_path.Step]) -> Mapping[str, object]:
    """Return the members of a record; none if it is nested more deeply than Python reads."""
    try:
        found: Mapping[str, object] = json_path.value(parsing.parse(raw), within)
    except ValueError:
        return {}
    return found


def _type_of(value: object) -> str:
    """Return the type of a member; a string is a text, whatever it looks like."""
    match value:
        case bool():
            return "boolean"
        case int():
            return "bigint" if -(2**63) <= value < 2**63 else "numeric"
        case float():
            return "numeric"
        case dict() | list():
            return "jsonb"
    return "text"
