"""A Singer catalog, with one stream selected, and of its properties those that the contract needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from dpe_cli.errors import InputError
from dpe_cli.sources.options.base import nearest
from dpe_cli.sources.options.queries import Singer


def select(catalog: Any, options: Singer, stream: str, fields: Collection[str] | None, *, where: str) -> dict[str, Any]:
    """
    Select a stream in the catalog, with these top-level properties or all of them, and deselect all others; return its entry.

    Raises:
        InputError: no stream has this name, or more than one.
    """
    entries = catalog.get("streams") if isinstance(catalog, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{where}: the tap's catalog has no list of streams; run the tap by hand, with --discover")
    chosen = _entry(entries, options, stream, where)
    for entry in entries:
        _root(entry)["selected"] = entry is chosen
        if options.catalog_option == "--properties":
            # Taps that do not read the metadata look here.
            entry.setdefault("schema", {})["selected"] = entry is chosen
    _select_fields(chosen, options, fields)
    root = _root(chosen)
    if method := options.replication_method or (options.replication_key and "INCREMENTAL"):
        root["replication-method"] = chosen["replication_method"] = method
    if options.replication_key:
        root["replication-key"] = chosen["replication_key"] = options.replication_key
    return chosen


def _entry(entries: Sequence[dict[str, Any]], options: Singer, stream: str, where: str) -> dict[str, Any]:
    if options.tap_stream_id is not None:
        option, wanted = "tap_stream_id", options.tap_stream_id
        found = [entry for entry in entries if entry.get("tap_stream_id") == wanted]
    else:
        option, wanted = "stream", stream
        found = [entry for entry in entries if entry.get("tap_stream_id") == wanted] or [
            entry for entry in entries if wanted in {entry.get("stream"), entry.get("stream_name")}
        ]
    ids = [str(entry.get("tap_stream_id", entry.get("stream"))) for entry in entries]
    if not found:
        raise InputError(f"{where}: the tap has no stream {wanted}{nearest(wanted, ids)}; correct `{option}`")
    if len(found) > 1:
        listed = ", ".join(str(entry.get("tap_stream_id")) for entry in found)
        raise InputError(f"{where}: the tap has {len(found)} streams {wanted} ({listed}); name one in `tap_stream_id`")
    return found[0]


def _root(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a stream itself, to be added to."""
    parts = entry.get("metadata")
    if not isinstance(parts, list):
        parts = entry["metadata"] = []
    for part in parts:
        if not list(part.get("breadcrumb", [])):
            metadata: dict[str, Any] = part.setdefault("metadata", {})
            return metadata
    metadata = {}
    parts.append({"breadcrumb": [], "metadata": metadata})
    return metadata


def _select_fields(entry: dict[str, Any], options: Singer, fields: Collection[str] | None) -> None:
    _root(entry)
    parts: list[dict[str, Any]] = entry["metadata"]
    # By property: a catalog may have as many parts as properties.
    own: dict[str, dict[str, Any]] = {}
    within: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        match list(part.get("breadcrumb", [])):
            case ["properties", str(name)]:
                own.setdefault(name, part)
            case ["properties", str(name), *_]:
                within.setdefault(name, []).append(part)
    for name in (entry.get("schema") or {}).get("properties") or {}:
        if name not in own:
            own[name] = {"breadcrumb": ["properties", name], "metadata": {}}
            parts.append(own[name])
        metadata = own[name].setdefault("metadata", {})
        is_needed = fields is None or name in fields or name == options.replication_key
        if metadata.get("inclusion") not in {"automatic", "unsupported"}:
            metadata["selected"] = is_needed
            _select_within(within.get(name, []), is_selected=is_needed)


def _select_within(parts: Sequence[dict[str, Any]], *, is_selected: bool) -> None:
    """Select the parts of a property too, if the catalog lists them."""
    for part in parts:
        if part.get("metadata", {}).get("inclusion") != "unsupported":
            part.setdefault("metadata", {})["selected"] = is_selected
