"""Which values a PostgreSQL type loads as they are written, found by the type's name or by what it consists of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from dpe_cli.blocks import exact_containers
from dpe_cli.blocks.exact_containers import ExactContainer, ExactRange
from dpe_cli.blocks.exact_intervals import interval
from dpe_cli.blocks.exact_scalars import ExactType, scalar

Exact = ExactType | ExactContainer

_RANGES = {
    "int4": "integer",
    "int8": "bigint",
    "num": "numeric",
    "date": "date",
    "ts": "timestamp without time zone",
    "tstz": "timestamp with time zone",
}
_RANGE = re.compile(rf"({'|'.join(_RANGES)})(multi)?range")


@dataclass(frozen=True)
class DataType:
    """
    A type, without the domains around it: its name (as format_type() shows it), and the types that its values consist of.

    These are the type of an array's elements, of a range's bounds, or the types of a composite value's fields.
    """

    name: str
    kind: Literal["single", "array", "range", "multirange", "row"] = "single"
    parts: tuple[DataType, ...] = ()

    @classmethod
    def named(cls, name: str) -> DataType:
        """Return one of PostgreSQL's own types."""
        if name.endswith("[]"):
            return cls(name, "array", (cls.named(name[:-2]),))
        if found := _RANGE.fullmatch(name):
            return cls(name, "multirange" if found[2] else "range", (cls(_RANGES[found[1]]),))
        return cls(name)


def exact_type(data_type: str | DataType, *, rounds: bool = False) -> Exact | None:
    """
    Return what a type loads unchanged; None if it changes nothing that it accepts.

    If it `rounds`, surplus decimals are accepted.
    """
    if isinstance(data_type, str):
        data_type = DataType.named(data_type)
    parts = [exact_type(part, rounds=rounds) for part in data_type.parts]
    match data_type.kind:
        case "array":
            return exact_containers.array(parts[0])
        case "range" | "multirange":
            return ExactRange(parts[0], is_multiple=data_type.kind == "multirange") if parts[0] else None
        case "row":
            return exact_containers.row(parts)
    return scalar(data_type.name, rounds=rounds) or interval(data_type.name, rounds=rounds)


_ALIASES = {
    "int": "integer",
    "int4": "integer",
    "int2": "smallint",
    "int8": "bigint",
    "float": "double precision",
    "float8": "double precision",
    "float4": "real",
    "decimal": "numeric",
    "dec": "numeric",
    "varchar": "character varying",
    "char varying": "character varying",
    "national character varying": "character varying",
    "char": "character",
    "nchar": "character",
    "national character": "character",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "timetz": "time with time zone",
}
_DECLARED = re.compile(r"([a-z0-9_ ]+?) ?(\([0-9, ]+\))?( with(?:out)? time zone)?")
# PostgreSQL ignores the number and the sizes of an array's dimensions.
_ARRAY = re.compile(r"(.+?) ?(?:array(?: ?\[[0-9]+\])?|(?:\[[0-9 ]*\] ?)+)")


def canonical(data_type: str) -> str:
    """Return a declared type as format_type() names it, as far as it is PostgreSQL's own."""
    written = " ".join(data_type.lower().split())
    if found := _ARRAY.fullmatch(written):
        return f"{canonical(found[1])}[]"
    found = _DECLARED.fullmatch(written)
    if not found:
        return data_type
    name = _ALIASES.get(found[1] + (found[3] or ""), found[1] + (found[3] or ""))
    modifier = (found[2] or "").replace(" ", "")
    if name == "numeric" and modifier and "," not in modifier:
        modifier = modifier.replace(")", ",0)")
    if name == "bpchar" and modifier:
        name = "character"
    if name == "character" and not modifier:
        modifier = "(1)"
    first, blank, rest = name.partition(" ")
    return f"{first}{modifier}{blank}{rest}" if first in {"timestamp", "time"} else name + modifier
