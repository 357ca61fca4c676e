"""Lets dbt reuse what it parsed for another database, because each test has its own; by itself dbt would parse the project again."""

from __future__ import annotations

import pprint
from functools import cache
from itertools import chain
from typing import Any

# How a test's database differs from another one's, and `dpe` of an administrator from what it starts: no test reads `target.user` while dbt
# parses. All other properties of the connection still make dbt parse again.
PLACE = ("host", "port", "database", "user")


@cache
def reuse_across_databases() -> None:
    """Change dbt's loader of projects, in this process."""
    from dbt.artifacts.resources import FileHash
    from dbt.parser.manifest import ManifestLoader

    state_of, is_reusable = ManifestLoader.build_manifest_state_check, ManifestLoader.is_partial_parsable

    def state_without_place(loader: Any) -> Any:
        state = state_of(loader)
        connection = sorted(item for item in loader.root_project.credentials.connection_info() if item[0] not in PLACE)
        state.profile_hash = FileHash.from_contents(pprint.pformat(connection))
        return state

    def is_reusable_here(loader: Any, manifest: Any) -> tuple[bool, Any]:
        reusable, reason = is_reusable(loader, manifest)
        return reusable and _move(manifest, loader.root_project), reason

    ManifestLoader.build_manifest_state_check = state_without_place
    ManifestLoader.is_partial_parsable = is_reusable_here


def _move(manifest: Any, project: Any) -> bool:
    """
    Change a parsed project to one in this directory and for this database, and return whether that could be done.

    A model may name a database itself. Hooks, which each of dpe's projects has, cannot: they have that of the connection.
    """
    of_hooks = {node.database for node in manifest.nodes.values() if node.resource_type == "operation"}
    if len(of_hooks) != 1:
        return False
    [before], database = of_hooks, project.credentials.database
    for node in chain(manifest.nodes.values(), manifest.sources.values(), manifest.functions.values(), *manifest.disabled.values()):
        if getattr(node, "database", None) == before:
            node.database = database
            if getattr(node, "relation_name", None):
                node.relation_name = node.relation_name.replace(f'"{before}"', f'"{database}"', 1)
        if getattr(node, "root_path", None) and node.package_name == project.project_name:
            node.root_path = project.project_root
    return True
