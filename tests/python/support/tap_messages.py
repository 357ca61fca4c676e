"""Actions of a tap: messages to write, and a catalog."""

from __future__ import annotations

import json
from typing import Any

CATALOG = {
    "streams": [
        {
            "tap_stream_id": "orders",
            "stream": "orders",
            "schema": {"type": "object", "properties": {"id": {"type": "integer"}, "note": {"type": "string"}, "shop": {"type": "object"}}},
            "metadata": [{"breadcrumb": ["properties", "id"], "metadata": {"inclusion": "automatic"}}],
        },
        {"tap_stream_id": "shops", "stream": "shops", "schema": {"type": "object", "properties": {}}, "metadata": []},
    ]
}

Action = tuple[str, Any]


def line(**message: Any) -> Action:
    """Write a message."""
    return "write", json.dumps(message) + "\n"


def record(stream: str = "orders", **values: Any) -> Action:
    """Write a record."""
    return line(type="RECORD", stream=stream, record=values)


def numbered_record(note: str) -> str:
    """Return a record to be repeated, whose id is the number of the repetition."""
    message = {"type": "RECORD", "stream": "orders", "record": {"id": "#", "note": note}}
    return json.dumps(message) + "\n"


def schema(stream: str = "orders", *properties: str) -> Action:
    """Write a schema; for orders, the catalog's."""
    known: dict[str, object] = {name: {} for name in properties or ("id", "note", "shop")}
    return line(type="SCHEMA", stream=stream, schema={"type": "object", "properties": known}, key_properties=["id"])


def state(value: Any) -> Action:
    """Write a state."""
    return line(type="STATE", value=value)
