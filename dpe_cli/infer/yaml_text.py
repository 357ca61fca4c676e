"""The result as YAML for dbt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dpe_cli.infer.inference import InferredColumn, InferredTable
from dpe_cli.safe_text.visible_text import has_hidden, visible

_TO_DO = "TODO: what it is"
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
# Words that cannot be column names without quotes (PostgreSQL documentation, "SQL Key Words").
_RESERVED = (
    " all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast char "
    " character check coalesce collate collation column concurrently constraint create cross current_catalog current_date "
    " current_role current_schema current_time current_timestamp current_user dec decimal default deferrable desc distinct do "
    " else end except exists extract false fetch float for foreign freeze from full grant greatest group grouping having ilike "
    " in initially inner inout int integer intersect interval into is isnull join lateral leading least left like limit "
    " localtime localtimestamp national natural nchar none normalize not notnull null nullif numeric offset on only or order "
    " out outer overlaps overlay placing position precision primary real references returning right row select session_user "
    " setof similar smallint some substring symmetric system_user table tablesample then time timestamp to trailing treat trim "
    " true union unique user using values varchar variadic verbose when where window with xmlattributes "
)


def document(inferred: InferredTable, schema: str, meta: Mapping[str, Any] | None = None) -> str:
    """Return a file with one source, in this schema, that has one table with this `meta`."""
    return "\n".join(["sources:", *source_lines(inferred, "  ", schema, meta), ""])


def source_lines(inferred: InferredTable, indent: str, schema: str, meta: Mapping[str, Any] | None = None) -> list[str]:
    """Return a source with one table, as an item of the list of sources."""
    inner = f"{indent}  "
    head = [
        f"{indent}- name: {_flow(inferred.source)}",
        f"{inner}description: {_flow(_TO_DO)}",
        f"{inner}schema: {_flow(schema)}",
        f"{inner}tables:",
    ]
    return [*head, *table_lines(inferred, f"{inner}  ", meta)]


def table_lines(inferred: InferredTable, indent: str, meta: Mapping[str, Any] | None = None) -> list[str]:
    """Return a table, as an item of a source's list of tables."""
    inner = f"{indent}  "
    lines = [f"{indent}# {_comment(note)}" for note in inferred.notes]
    lines += [
        f"{indent}- name: {_flow(inferred.table)}",
        f"{inner}description: {_flow(_described(inferred.description))}",
        f"{inner}external:",
    ]
    lines += [f"{inner}  {name}: {_flow(value)}" for name, value in inferred.external.items()]
    if meta:
        lines += [f"{inner}config: {_flow({'meta': meta})}"]
    lines += [f"{inner}columns:"]
    for column in inferred.columns:
        lines += _column_lines(column, f"{inner}  ")
    return lines


def as_data(inferred: InferredTable) -> dict[str, Any]:
    """Return the table as YAML reads it."""
    return {
        "name": inferred.table,
        "description": _described(inferred.description),
        "external": dict(inferred.external),
        "columns": [dict(_members(column)) for column in inferred.columns],
    }


def source_as_data(inferred: InferredTable, schema: str) -> dict[str, Any]:
    """Return the source as YAML reads it."""
    return {"name": inferred.source, "description": _TO_DO, "schema": schema, "tables": [as_data(inferred)]}


def column_line(column: InferredColumn, *members: str) -> str:
    """Return a column of a model, in one line of YAML: its name and these members."""
    chosen = {"name", "quote", *members}
    return _flow({name: value for name, value in _members(column) if name in chosen})


def name_in_sql(name: str) -> str:
    """Return the name of a column or a relation as SQL needs it."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"' if _needs_quotes(name) else name


def in_one_line(value: Any) -> str:
    """Return a value in one line of YAML."""
    return _flow(value)


def _needs_quotes(name: str) -> bool:
    return not _PLAIN.fullmatch(name) or f" {name} " in _RESERVED


def _column_lines(column: InferredColumn, indent: str) -> list[str]:
    note = [f"{indent}# {_comment(column.note)}"] if column.note else []
    return [*note, f"{indent}- {_flow(dict(_members(column)))}"]


def _members(column: InferredColumn) -> Iterator[tuple[str, Any]]:
    yield "name", column.name
    # The quoted name for dbt's tests.
    if _needs_quotes(column.name):
        yield "quote", True
    yield "data_type", column.data_type
    yield "description", _described(column.description)
    if column.tests:
        yield "data_tests", list(column.tests)
    meta = {name: value for name in ("path", "start", "width", "format") if (value := getattr(column, name)) is not None}
    if meta:
        yield "config", {"meta": meta}


def _described(text: str) -> str:
    """Return a description without anything that dbt would evaluate as Jinja."""
    plain = " ".join(text.split())
    return re.sub(r"\{(?=[{%#])", "{ ", plain) if plain else _TO_DO


def _comment(text: str) -> str:
    return visible(" ".join(text.split()))


def _flow(value: Any) -> str:
    import yaml

    written: str = yaml.dump(value, Dumper=_dumper(), default_flow_style=True, sort_keys=False, allow_unicode=True, width=1_000_000)
    # Hidden characters are written in double quotes only, where YAML reads their codes as the characters.
    return visible(written.removesuffix("\n").removesuffix("\n..."))


def _dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes each mapping and list in full, even if it occurs twice."""

        def ignore_aliases(self, data: Any) -> bool:
            """Write no anchors."""
            del data
            return True

        def represent_text(self, text: str) -> yaml.Node:
            """Write a text with hidden characters in double quotes."""
            return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if has_hidden(text) else None)

    Dumper.add_representer(str, Dumper.represent_text)
    return Dumper
