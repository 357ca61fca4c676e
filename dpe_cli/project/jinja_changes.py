"""
Finds what Jinja changed in dbt, so that it did not run the project as it was read.

A model's Jinja can change what dbt knows about other nodes while it runs: their configuration, their contracts, the rules of their tests,
macros, which nodes were selected. So dbt's state is compared with that after reading the project: for each node before and after it runs,
and for all of them at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any

from dpe_cli.project import shared_state

# Members that dbt itself sets while it runs a node.
_COMPILED = {
    "build_path",
    "compiled",
    "compiled_code",
    "compiled_path",
    "extra_ctes",
    "extra_ctes_injected",
    "index",
    "previous_batch_results",
    "_event_status",
}
# The parts of a manifest that decide what is built and tested. Jinja sees the first ones a second time, as `graph`.
_KINDS = ("nodes", "sources", "functions", "exposures", "groups", "metrics", "semantic_models", "saved_queries")
_KINDS_WITHOUT_GRAPH = ("unit_tests", "fixtures", "disabled")
# Those that dbt reports on while it runs them.
_RUN = ("nodes", "unit_tests")
# A thread of dbt's may add a member to a node while it is described.
_ATTEMPTS = 3
# Jinja put something else in the place of one of dbt's objects, or is changing it.
_REPLACED = (AttributeError, RuntimeError, TypeError, ValueError)


class ReadManifest:
    """dbt's manifest as it was read, and while dbt runs it: as dbt's objects, and as Jinja sees it (`graph`)."""

    def __init__(self, manifest: Any) -> None:
        self._manifest = manifest
        self._read = self._present()
        self._macros = self._present_macros()
        self._shared: dict[str, str] = {}
        self._tests: dict[str, list[str]] = {}
        for unique_id, node in manifest.nodes.items():
            if attached := getattr(node, "attached_node", None):
                self._tests.setdefault(attached, []).append(unique_id)
        self._changed: set[str] = set()
        # dbt reports from several threads.
        self._lock = Lock()

    @property
    def manifest(self) -> Any:
        """dbt's own object."""
        return self._manifest

    def look_at(self, unique_id: str) -> None:
        """
        Compare a node, its tests and what all nodes share with what was read; all nodes, if `unique_id` does not say which one dbt runs.

        The first call has to come before dbt renders any node: it remembers what they share.
        """
        with self._lock:
            shared = self._present_shared()
            self._shared = self._shared or {**shared, **shared_state.of_libraries_at_first()}
            self._changed |= {name for name in {*self._shared, *shared} if self._shared.get(name) != shared.get(name)}
            if unique_id not in self._read or self._has_other_names():
                # dbt's event is empty if it cannot write a value of the node, such as a date in its meta.
                self._changed |= self._changed_nodes()
            for node_id in (unique_id, *self._tests.get(unique_id, ())):
                if node_id in self._read and self._of(node_id) != self._read[node_id]:
                    self._changed.add(node_id)

    def changed(self) -> list[str]:
        """Return the names of what differs, or differed while dbt ran, from what was read: nodes, macros, and what nodes share."""
        macros = self._present_macros()
        changed = {macro_id for macro_id in {*self._macros, *macros} if self._macros.get(macro_id) != macros.get(macro_id)}
        return sorted(changed | self._changed_nodes() | self._changed)

    def _changed_nodes(self) -> set[str]:
        present = self._present()
        return {node_id for node_id in {*self._read, *present} if self._read.get(node_id) != present.get(node_id)}

    def _has_other_names(self) -> bool:
        """Return whether a node goes by another name than the one under which dbt finds it, so that dbt's events name another node."""
        return any(
            getattr(node, "unique_id", None) != node_id for kind in _RUN for node_id, node in list(getattr(self._manifest, kind).items())
        )

    def _present(self) -> dict[str, bytes]:
        graph = self._manifest.flat_graph
        # Copies, because dbt's threads continue.
        known = {node_id for kind in (*_KINDS, *_KINDS_WITHOUT_GRAPH) for node_id in list(getattr(self._manifest, kind))}
        return {node_id: self._of(node_id) for node_id in known.union(*(list(graph[kind]) for kind in _KINDS))}

    def _present_macros(self) -> dict[str, str]:
        return {
            unique_id: f"{macro.package_name} {macro.name} {macro.original_file_path} {macro.macro_sql}"
            for unique_id, macro in self._manifest.macros.items()
        }

    def _present_shared(self) -> dict[str, str]:
        try:
            return shared_state.snapshot(self._manifest)
        except _REPLACED as error:
            return {"dbt's state": repr(error)}

    def _of(self, unique_id: str) -> bytes:
        """Return a digest of a node; repr() follows the order of the members, which dbt keeps, and stops if an object holds itself."""
        described = ""
        for _ in range(_ATTEMPTS):
            try:
                described = repr([*self._descriptions(unique_id)])
                break
            except _REPLACED as error:
                described = repr(error)
        return hashlib.sha256(described.encode(errors="surrogatepass")).digest()

    def _descriptions(self, unique_id: str) -> Iterator[Any]:
        for kind in (*_KINDS, *_KINDS_WITHOUT_GRAPH):
            found = getattr(self._manifest, kind).get(unique_id)
            for node in found if isinstance(found, list) else [found]:
                if node is not None:
                    yield kind, _without_results(node.to_dict(omit_none=False))
        for kind in _KINDS:
            graph = self._manifest.flat_graph[kind]
            seen = graph.get(unique_id)
            # dbt 1.11 does not change its copies; from 1.12 on, they are made of the nodes whenever Jinja asks for them.
            yield seen if seen is None or isinstance(graph, dict) else _without_results(seen)


def _without_results(node: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the members of a node that dbt leaves alone while it runs.

    dbt adds the macros that the node calls, and resolves the target of a foreign key (dbt/compilation.py, compile_node).
    """
    kept = {name: value for name, value in node.items() if name not in _COMPILED and name != "depends_on"}
    if node.get("resource_type") == "test":
        # Set if a flag has all tests store their failures.
        kept.pop("relation_name", None)
    if "constraints" in node:
        kept["constraints"] = _without_targets(node)
        kept["columns"] = {name: {**column, "constraints": _without_targets(column)} for name, column in node["columns"].items()}
    return {"reads": (node.get("depends_on") or {}).get("nodes"), **kept}


def _without_targets(constrained: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return constraints without the relations that foreign keys refer to."""
    return [{**constraint, "to": None} for constraint in constrained.get("constraints") or []]
