"""Views that dbt 1.12 makes of the latest versions of models (`latest_version_pointer`): no model declares them, and dpe refuses them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dpe_cli.project.dbt_inputs import settings_of

_DEFAULT = "latest_version_pointer_enabled_by_default"


def find(directory: Path, manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """
    Yield the versions of models of which dbt would also make a view (macros/rls/refuse_latest_version_pointers.sql).

    Raises:
        ProjectError: dbt_project.yml cannot be read.
    """
    flags = settings_of(directory / "dbt_project.yml").get("flags")
    by_default = bool(flags.get(_DEFAULT)) if isinstance(flags, Mapping) else False
    for node in manifest["nodes"].values():
        if node.get("version") is None or str(node["version"]) != str(node.get("latest_version")):
            continue
        pointer = node["config"].get("latest_version_pointer")
        enabled = pointer.get("enabled") if isinstance(pointer, Mapping) else pointer
        if by_default if enabled is None else enabled:
            yield node


def instead(node: Mapping[str, Any]) -> str:
    """Return what to do instead."""
    own = f"config: {{alias: {node['name']}}}"
    return f"write latest_version_pointer: {{enabled: false}}, and give the version that name itself, such as {own}"
