"""
Checks whether dbt ran the project as it was read.

A model's Jinja can change what dbt knows about other nodes while it runs: their configuration, the rules of their tests, macros. So
dbt's state is compared with that after reading the project: for each node when it has run, and for all of them at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

# The members that decide how a node is built, protected and tested; dbt itself changes others while it runs.
_MEMBERS = (
    "alias",
    "attached_node",
    "checksum",
    "column_name",
    "config",
    "fqn",
    "identifier",
    "meta",
    "name",
    "package_name",
    "raw_code",
    "resource_type",
    "schema",
    "test_metadata",
)


class ReadManifest:
    """dbt's manifest as it was read, and while dbt runs it: as dbt's objects, and as Jinja sees it (`graph`)."""

    def __init__(self, manifest: Any) -> None:
        self._manifest = manifest
        self._read = self._present()
        self._macros = self._present_macros()
        self._tests: dict[str, list[str]] = {}
        for unique_id, node in manifest.nodes.items():
            if attached := getattr(node, "attached_node", None):
                self._tests.setdefault(attached, []).append(unique_id)
        self._changed: set[str] = set()

    @property
    def manifest(self) -> Any:
        """dbt's own object."""
        return self._manifest

    def look_at(self, unique_id: str) -> None:
        """Compare a node and its tests with what was read."""
        for node_id in (unique_id, *self._tests.get(unique_id, ())):
            if node_id in self._read and self._of(node_id) != self._read[node_id]:
                self._changed.add(node_id)

    def changed(self) -> list[str]:
        """Return the names of the nodes and macros that differ, or differed after they had run, from what was read."""
        present, macros = self._present(), self._present_macros()
        changed = {node_id for node_id in {*self._read, *present} if self._read.get(node_id) != present.get(node_id)} | self._changed
        changed |= {macro_id for macro_id in {*self._macros, *macros} if self._macros.get(macro_id) != macros.get(macro_id)}
        return sorted(changed)

    def _present(self) -> dict[str, str]:
        graph = self._manifest.flat_graph
        known = {*self._manifest.nodes, *self._manifest.sources, *graph["nodes"], *graph["sources"]}
        return {node_id: self._of(node_id) for node_id in known}

    def _present_macros(self) -> dict[str, str]:
        return {unique_id: f"{macro.package_name} {macro.name} {macro.macro_sql}" for unique_id, macro in self._manifest.macros.items()}

    def _of(self, unique_id: str) -> str:
        return json.dumps([_members(node) for node in self._nodes(unique_id)], default=str, sort_keys=True)

    def _nodes(self, unique_id: str) -> Iterator[Mapping[str, Any]]:
        kind = "sources" if unique_id.startswith("source.") else "nodes"
        node = getattr(self._manifest, kind).get(unique_id)
        yield {} if node is None else node.to_dict(omit_none=False)
        yield self._manifest.flat_graph[kind].get(unique_id) or {}


def _members(node: Mapping[str, Any]) -> dict[str, Any]:
    # dbt adds the macros that a node calls.
    reads = (node.get("depends_on") or {}).get("nodes")
    return {"reads": reads, **{name: node[name] for name in _MEMBERS if name in node}}
