"""Values of DuckDB as PostgreSQL reads them: SQL that writes each of them to the last digit."""

from __future__ import annotations

from typing import Any

from dpe_cli.sources.read.rows import literal

# DuckDB types whose text PostgreSQL can read only as JSON.
_NESTED = ("STRUCT", "MAP", "UNION", "JSON", "VARIANT")


def is_nested(data_type: str) -> bool:
    """Return whether values of a DuckDB type are written as JSON."""
    return data_type.startswith(_NESTED) or data_type.endswith("]")


def identifier(name: str) -> str:
    """Return a name as an identifier in DuckDB's SQL."""
    return '"' + name.replace('"', '""') + '"'


def field(connection: Any, name: str, data_type: str) -> str:
    """Return SQL that writes a column of a type."""
    column = identifier(name)
    if data_type == "BLOB":
        return f"'\\x' || lower(hex({column}))"
    if data_type in {"FLOAT", "DOUBLE"}:
        # DuckDB would write a NaN that has its sign bit set as -nan, and there is only one NaN.
        return f"case when isnan({column}) then 'NaN'::{data_type} else {column} end"
    if not is_nested(data_type):
        return column
    kind = connection.type(data_type)
    return f"case when {column} is not null then {_json(column, kind) if _is_changed(kind) else f'to_json({column})::varchar'} end"


def _is_changed(kind: Any) -> bool:
    """
    Return whether to_json would change a value of a type.

    It makes doubles of the decimals in a VARIANT and of the numbers in JSON, and .5, which is not JSON, of a decimal that
    has only a fraction.
    """
    return _is_changed_itself(kind) or any(_is_changed(part) for part in _parts(kind))


def _is_changed_itself(kind: Any) -> bool:
    return str(kind) in {"JSON", "VARIANT"} or (kind.id == "decimal" and len({number for _, number in kind.children}) == 1)


def _parts(kind: Any) -> list[Any]:
    """Return the types within a type; an array has its length among them."""
    return [part for name, part in kind.children if name != "size"] if kind.id in {"struct", "union", "map", "list", "array"} else []


def _json(value: str, kind: Any, depth: int = 0) -> str:
    """Return SQL that writes a value as JSON, null for a null."""
    name = f"v{depth}"
    if str(kind) == "JSON":
        text = f"{value}::varchar"
    elif str(kind) == "VARIANT":
        text = f"{value}::json::varchar"
    elif _is_changed_itself(kind):
        text = rf"regexp_replace({value}::varchar, '^(-?)\.', '\10.')"
    elif kind.id == "struct":
        # With functions, because a member may have any name.
        members = [
            f"to_json({literal(member)})::varchar || ':' || {_json(f'struct_extract({value}, {literal(member)})', part, depth)}"
            for member, part in kind.children
        ]
        text = "'{' || " + " || ',' || ".join(members) + " || '}'"
    elif kind.id in {"list", "array"}:
        items = f"list_transform({value}, lambda {name}: {_json(name, _parts(kind)[0], depth + 1)})"
        text = f"'[' || array_to_string({items}, ',') || ']'"
    elif kind.id == "map":
        entry = f"to_json({name}.key::varchar)::varchar || ':' || {_json(f'{name}.value', _parts(kind)[1], depth + 1)}"
        text = f"'{{' || array_to_string(list_transform(map_entries({value}), lambda {name}: {entry}), ',') || '}}'"
    else:
        text = f"to_json({value})::varchar"
    return f"case when {value} is null then 'null' else {text} end"
