"""The options of the `external:` block, for editors (JSON Schema) and for the documentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_type_hints

from typing_extensions import Doc

from dpe_cli.sources.options.formats import FORMATS

DIALECT = "http://json-schema.org/draft-07/schema#"


@dataclass(frozen=True)
class Option:
    """An option: its name, its meaning, and its default as YAML writes it; None if it is required."""

    name: str
    meaning: str
    default: str | None


def options(kind: type[Any]) -> Iterator[Option]:
    """Yield the options of a format, or of a mapping within it."""
    meanings = _meanings(kind)
    for field in dataclasses.fields(kind):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            made = field.default_factory()
            default = "" if dataclasses.is_dataclass(made) else made
        yield Option(field.name, meanings.get(field.name, ""), None if default is dataclasses.MISSING else _written(default))


def editors_schema() -> dict[str, Any]:
    """Return the JSON Schema of a dbt sources file; it leaves everything that is not dpe's open."""
    from pydantic import TypeAdapter

    adapters = [(name, "validation", TypeAdapter(kind)) for name, kind in FORMATS.items()]
    made, shared = TypeAdapter.json_schemas(adapters, ref_template="#/$defs/{model}")  # type: ignore[arg-type]
    definitions: dict[str, Any] = {**shared.get("$defs", {})}
    for name, kind in FORMATS.items():
        found = made[(name, "validation")]
        reference = str(found.get("$ref", "")).rpartition("/")[2]
        body = definitions[reference] if reference else found
        _describe(body, kind)
        definitions[kind.__name__] = body
        for nested in getattr(kind, "nested", {}).values():
            if nested.__name__ in definitions:
                _describe(definitions[nested.__name__], nested)
    chosen = [
        {
            "if": {"properties": {"file_format": {"const": name}}, "required": ["file_format"]},
            "then": {"$ref": f"#/$defs/{kind.__name__}"},
        }
        for name, kind in FORMATS.items()
    ]
    external = {
        "type": "object",
        "description": "Where the records of this source come from; dpe extract reads them.",
        "required": ["location", "file_format", "disposition"],
        "properties": {"file_format": {"enum": list(FORMATS), "description": "the format of the records, or the kind of source"}},
        "allOf": chosen,
    }
    table = {"type": "object", "properties": {"external": external}}
    source = {"type": "object", "properties": {"tables": {"type": "array", "items": table}}}
    return {
        "$schema": DIALECT,
        "title": "dbt sources with dpe's external block",
        "type": "object",
        "properties": {"sources": {"type": "array", "items": source}},
        "$defs": definitions,
    }


def _describe(schema: dict[str, Any], kind: type[Any]) -> None:
    meanings = _meanings(kind)
    for name, property_schema in schema.get("properties", {}).items():
        if meaning := meanings.get(name):
            property_schema["description"] = meaning


def _meanings(kind: type[Any]) -> dict[str, str]:
    hints = get_type_hints(kind, include_extras=True)
    return {
        name: part.documentation
        for name, hint in hints.items()
        for part in (*getattr(hint, "__metadata__", ()), *_within(hint))
        if isinstance(part, Doc)
    }


def _within(hint: Any) -> Iterator[Any]:
    """Yield the annotations of the parts of a union: `Annotated[…] | None`."""
    for part in getattr(hint, "__args__", ()):
        yield from getattr(part, "__metadata__", ())


def _written(default: Any) -> str:
    match default:
        case None | "" | {}:
            return ""
        case bool():
            return str(default).lower()
        case _:
            return str(default)
