"""Who answers for a part of the project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def owners(manifest: Mapping[str, Any]) -> dict[str, str]:
    """
    Return the owners of nodes by their unique id, and of sources by their name.

    An owner is named by `meta.owner`, or by the node's group; a test of a model without either belongs to the model's.
    """
    groups = {group["name"]: _of_group(group) for group in manifest.get("groups", {}).values()}
    nodes = {**manifest["nodes"], **manifest["sources"], **manifest.get("unit_tests", {})}
    own = {unique_id: _own(node, groups) for unique_id, node in nodes.items()}
    found: dict[str, str] = {}
    for unique_id, node in nodes.items():
        # Of a test: the model that it is declared on.
        owner = own[unique_id] or own.get(node.get("attached_node") or node.get("tested_node_unique_id") or "")
        if owner:
            found[f"{node['source_name']}.{node['name']}" if node["resource_type"] == "source" else unique_id] = owner
    return found


def _own(node: Mapping[str, Any], groups: Mapping[str, str]) -> str:
    config = node.get("config") or {}
    meta = {**(node.get("meta") or {}), **(config.get("meta") or {})}
    return str(meta.get("owner") or groups.get(node.get("group") or config.get("group") or "") or "")


def _of_group(group: Mapping[str, Any]) -> str:
    owner = group.get("owner") or {}
    return str(owner.get("name") or owner.get("email") or "")
