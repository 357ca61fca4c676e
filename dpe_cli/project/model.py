"""The relations that dbt builds, with who may see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The resource types that become relations.
RELATIONS = frozenset({"model", "seed", "snapshot"})


@dataclass(frozen=True)
class Model:
    """
    A relation that dbt builds. `declared` is the kind of its `meta.rls`.

    `tenant_columns` name the tenants of a row, `masked` columns are hidden from masked readers.
    """

    unique_id: str
    name: str
    schema: str
    alias: str
    tenant_columns: tuple[str, ...]
    declared: str
    masked: tuple[str, ...] = ()

    @property
    def is_published(self) -> bool:
        """Whether readers may read it."""
        return self.declared != "private"


def models_of(manifest: Mapping[str, Any]) -> dict[str, Model]:
    """Return the models, seeds and snapshots of dbt's manifest that become relations, by name."""
    found: dict[str, Model] = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] not in RELATIONS or node["config"].get("materialized") == "ephemeral":
            continue
        # dpe's macros refuse a wrong declaration.
        meta = _mapping(node["config"].get("meta"))
        declared = _mapping(meta.get("rls"))
        found[node["name"]] = Model(
            unique_id=node["unique_id"],
            name=node["name"],
            schema=node["schema"],
            alias=node["alias"],
            tenant_columns=_as_tuple(declared.get("tenant_column")),
            declared=next(iter(declared), "private"),
            masked=_as_tuple(meta.get("masked")),
        )
    return found


def key_of(manifest: Mapping[str, Any], model: Model) -> tuple[str, ...]:
    """Return the columns that identify a model's rows, from its unique_key or a test on all rows; none if neither names them."""
    unique_key = manifest["nodes"][model.unique_id]["config"].get("unique_key")
    if unique_key:
        return (unique_key,) if isinstance(unique_key, str) else tuple(unique_key)
    for node in manifest["nodes"].values():
        test = node.get("test_metadata") or {}
        if node.get("attached_node") != model.unique_id or node["config"].get("where"):
            continue
        if test.get("name") == "unique":
            return (node["column_name"],)
        if test.get("name") == "unique_combination_of_columns":
            return tuple(test["kwargs"].get("combination_of_columns") or ())
    return ()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _as_tuple(value: object) -> tuple[str, ...]:
    """Return a name, or a list of names, as names."""
    if isinstance(value, (list, tuple)):
        return tuple(str(name) for name in value)
    return () if value is None else (str(value),)
