"""The relations that dbt builds, with who may see them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A version whose file no other model has: `orders_v2.sql` is the second version of orders, `orders_valid.sql` may be another model's.
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)*")
# The resource types that become relations.
RELATIONS = frozenset({"model", "seed", "snapshot"})
# The `meta.rls` of a folder in dbt_project.yml whose models have to declare theirs, which replaces it (macros/rls/rls_declaration.sql).
REQUIRED = "required"
# What a message shows of `meta.readers`.
READERS_EXAMPLE = "{prod: [dpe_reader, dpe_masked_reader]}"


@dataclass(frozen=True)
class Model:
    """
    A relation that dbt builds. `declared` is the kind of its `meta.rls`.

    Only its unique id is its own: versions of a model have one `name`, and so may models of two packages. `tenant_columns` name the
    tenants of a row, `masked` columns are hidden from masked readers. `readers` are the roles that read it, by the target that
    publishes it to them; None if nothing says so. A model `is_undeclared` if the project requires a declaration that is missing; then it
    is private.
    """

    unique_id: str
    name: str
    schema: str
    alias: str
    tenant_columns: tuple[str, ...]
    declared: str
    masked: tuple[str, ...] = ()
    readers: Mapping[str, tuple[str, ...]] | None = field(default=None, hash=False)
    version: str | None = None
    is_undeclared: bool = False

    @property
    def selector(self) -> str:
        """Its name for people and for dbt's selection, with its version: `orders`, `orders.v2`."""
        return selector_of(self.name, self.version)

    @property
    def is_published(self) -> bool:
        """Whether readers may read it, in the targets that publish it to readers."""
        return self.declared != "private"

    def readers_in(self, target: str) -> tuple[str, ...]:
        """Return the roles that its relation is granted to in a target (macros/rls/readers_of.sql)."""
        return (self.readers or {}).get(target, ()) if self.is_published else ()


def in_files_of_others(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """
    Yield the project's versions of models whose file may be another model's (macros/rls/refuse_files_of_others.sql).

    `defined_in` names any file, and so does a version that is not a number: dbt looks for the version `alid` of orders in orders_valid.sql.
    It would drop the declaration and the tests of that model, with a warning only.
    """
    for node in _versions(manifest):
        own = {node["name"], f"{node['name']}_v{node['version']}"} if _NUMBER.fullmatch(str(node["version"])) else {node["name"]}
        if _stem(node) not in own:
            yield node


def file_for(node: Mapping[str, Any]) -> str:
    """Return what to do with a version whose file may be another model's."""
    if _NUMBER.fullmatch(str(node["version"])):
        return f"name it {node['name']}_v{node['version']}.sql"
    return f"give the version a number, or name its file {node['name']}.sql (defined_in: {node['name']})"


def in_numbered_files(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the project's versions of models by the unique id that their file would have as a model of its own: `model.shop.orders_v2`."""
    return {f"model.{node['package_name']}.{_stem(node)}": node for node in _versions(manifest) if _stem(node) != node["name"]}


def _versions(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    project = manifest["metadata"]["project_name"]
    for node in manifest["nodes"].values():
        if node["resource_type"] == "model" and node["package_name"] == project and node.get("version") is not None:
            yield node


def _stem(node: Mapping[str, Any]) -> str:
    return Path(node["original_file_path"]).stem


def models_of(manifest: Mapping[str, Any]) -> dict[str, Model]:
    """Return the models, seeds and snapshots of dbt's manifest that become relations, by unique id."""
    found: dict[str, Model] = {}
    for unique_id, node in manifest["nodes"].items():
        if node["resource_type"] not in RELATIONS or node["config"].get("materialized") == "ephemeral":
            continue
        # dpe's macros refuse a wrong declaration.
        meta = _mapping(node["config"].get("meta"))
        declared = _mapping(meta.get("rls"))
        found[unique_id] = Model(
            unique_id=unique_id,
            name=node["name"],
            schema=node["schema"],
            alias=node["alias"],
            tenant_columns=_as_tuple(declared.get("tenant_column")),
            declared=next(iter(declared), "private"),
            masked=_as_tuple(meta.get("masked")),
            readers=_as_readers(meta.get("readers")),
            version=None if node.get("version") is None else str(node["version"]),
            is_undeclared=meta.get("rls") == REQUIRED,
        )
    return found


def by_name(models: Iterable[Model]) -> dict[str, list[Model]]:
    """Return models by each name that people give them: dbt's name, which several may share, the name with a version, the unique id."""
    found: dict[str, list[Model]] = {}
    for model in models:
        for name in dict.fromkeys((model.name, model.selector, model.unique_id)):
            found.setdefault(name, []).append(model)
    return found


def selector_of(name: str, version: object) -> str:
    """Return a node's name as dbt's selection takes it, with its version if it has one."""
    return name if version is None else f"{name}.v{version}"


def key_of(manifest: Mapping[str, Any], model: Model) -> tuple[str, ...]:
    """Return the columns that identify a model's rows, from its unique_key or a test on all rows; none if neither names them."""
    unique_key = manifest["nodes"][model.unique_id]["config"].get("unique_key")
    if unique_key:
        return (unique_key,) if isinstance(unique_key, str) else tuple(unique_key)
    for node in manifest["nodes"].values():
        test = node.get("test_metadata") or {}
        if node.get("attached_node") != model.unique_id or node["config"].get("where"):
            continue
        given = _mapping(test.get("kwargs"))
        columns: object = None
        if test.get("name") == "unique":
            # A test of the model itself has its column as an argument, which may be anything that YAML can write.
            columns = [node.get("column_name") or given.get("column_name")]
        elif test.get("name") == "unique_combination_of_columns":
            columns = given.get("combination_of_columns")
        if isinstance(columns, list) and columns and all(isinstance(name, str) for name in columns):
            return tuple(columns)
    return ()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _as_readers(value: object) -> Mapping[str, tuple[str, ...]] | None:
    if not isinstance(value, Mapping):
        return None
    return {str(target): tuple(sorted(set(_as_tuple(roles)))) for target, roles in value.items()}


def _as_tuple(value: object) -> tuple[str, ...]:
    """Return a name, or a list of names, as names."""
    if isinstance(value, (list, tuple)):
        return tuple(str(name) for name in value)
    return () if value is None else (str(value),)
