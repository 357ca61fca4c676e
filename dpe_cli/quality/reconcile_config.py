"""
The reconciliations that models declare in their meta: where their rows come from, and what explains that some are missing.

    reconcile:
      from: stg_shop__orders            # a model, or a source as source_name.table_name
      sums: [amount]                    # or {amount there: amount here}
      explained_by:
        filtered: {where: "amount < 0", rule: SHOP-1-04}
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import sql

from dpe_cli.errors import ProjectError
from dpe_cli.project.model import by_name, models_of, selector_of
from dpe_cli.project.source import Source
from dpe_cli.server.relations import QUARANTINE, companion_name
from dpe_cli.words import did_you_mean

Kind = Literal["rejected", "filtered", "deduplicated"]

# In this order: a row that two of them explain counts for the first.
KINDS: tuple[Kind, ...] = ("rejected", "filtered", "deduplicated")
_OPTIONS = ("from", "count", "sums", "explained_by")
_EXPLANATIONS = {"where": ("where", "rule"), "by": ("by", "order_by", "rule"), "relation": ("relation", "rule")}


@dataclass(frozen=True)
class Explanation:
    """
    Why rows of the origin are not in the model: one of `where`, `by` and `relation` is given.

    `where` is a condition on those rows, `by` the columns for which only one row per value stays (the first in `order_by`), and
    `relation` contains the rows themselves. `rule` is the rule that requires it.
    """

    kind: Kind
    where: str | None = None
    by: tuple[str, ...] = ()
    order_by: tuple[str, ...] = ()
    relation: sql.Identifier | None = None
    rule: str | None = None


@dataclass(frozen=True)
class Quarantine:
    """The relation with the rows that a model's rules keep out of it. It has the model's columns; its rows count as rejected."""

    relation: sql.Identifier
    rules: tuple[str, ...]


@dataclass(frozen=True)
class ReconciledModel:
    """What a model declares: where its rows come from, what is counted and summed there and here, and what explains a difference."""

    unique_id: str
    model: str
    origin: str
    model_relation: sql.Identifier
    origin_relation: sql.Identifier
    sums: Mapping[str, str]
    is_counted: bool = True
    count_column: str | None = None
    explanations: tuple[Explanation, ...] = ()
    quarantine: Quarantine | None = None

    @property
    def name(self) -> str:
        """Both ends."""
        return f"{self.origin} → {self.model}"


def declared(
    manifest: Mapping[str, Any],
    sources: Mapping[str, Source],
    models: Collection[str] | None = None,
    schemas: Mapping[str, str] | None = None,
) -> list[ReconciledModel]:
    """
    Return the reconciliations that the models of dbt's manifest declare, by name; `models` restricts them to these unique ids.

    `schemas` maps unique ids to the schema in which the relation is counted, if it is not the published one.

    Raises:
        ProjectError: a declaration is wrong.
    """
    found = [
        _Declaration(manifest, sources, node, schemas or {}).reconciled()
        for unique_id, node in manifest["nodes"].items()
        if (models is None or unique_id in models) and _meta(node).get("reconcile") is not None
    ]
    return sorted(found, key=lambda reconciled: reconciled.name)


def ancestry(manifest: Mapping[str, Any], names: Iterable[str]) -> set[str]:
    """Return the unique ids of models, and of everything that they are built from."""
    parents: Mapping[str, Sequence[str]] = manifest["parent_map"]
    models = by_name(models_of(manifest).values())
    waiting = [model.unique_id for name in names for model in models.get(name, ())]
    found: set[str] = set()
    while waiting:
        unique_id = waiting.pop()
        if unique_id not in found:
            found.add(unique_id)
            waiting += parents.get(unique_id, [])
    return found


class _Declaration:
    """Reads `meta.reconcile` of one node of the manifest."""

    def __init__(
        self, manifest: Mapping[str, Any], sources: Mapping[str, Source], node: Mapping[str, Any], schemas: Mapping[str, str]
    ) -> None:
        self._nodes: Mapping[str, Mapping[str, Any]] = manifest["nodes"]
        self._models = by_name(models_of(manifest).values())
        self._sources = sources
        self._schemas = schemas
        self._node = node
        self._declared = _meta(node)["reconcile"]
        self._where = f"{node['name']} ({node.get('patch_path') or node['original_file_path']})".replace(f"{node['package_name']}://", "")

    @property
    def _schema(self) -> str:
        """The schema in which the model is counted."""
        return self._schemas.get(self._node["unique_id"], str(self._node["schema"]))

    def reconciled(self) -> ReconciledModel:
        """Return the declared reconciliation."""
        declared = self._mapping(self._declared, "meta.reconcile", _OPTIONS)
        if not declared.get("from"):
            raise self._refused("it does not name the rows' origin; add `from:` with a model or source_name.table_name")
        explained_by = self._mapping(declared.get("explained_by") or {}, "explained_by", KINDS)
        explanations = tuple(self._explanation(kind, explained_by[kind]) for kind in KINDS if kind in explained_by)
        sums = self._sums(declared.get("sums") or {})
        for explanation in explanations:
            if sums and explanation.by and not explanation.order_by:
                raise self._refused(f"explained_by: {explanation.kind}: sums depend on which of several rows stays; add `order_by:`")
        count = declared.get("count", True)
        if not isinstance(count, (bool, str)):
            raise self._refused("count: is not true, false or the column here that counts the records; write one of these")
        return ReconciledModel(
            unique_id=self._node["unique_id"],
            model=selector_of(self._node["name"], self._node.get("version")),
            origin=str(declared["from"]),
            model_relation=sql.Identifier(self._schema, self._node["alias"]),
            origin_relation=self._relation(str(declared["from"])),
            sums=sums,
            is_counted=bool(count),
            count_column=count if isinstance(count, str) else None,
            explanations=explanations,
            quarantine=self._quarantine(),
        )

    def _quarantine(self) -> Quarantine | None:
        """Return the quarantine of the model's rules with `on_failure: quarantine`."""
        rules = {
            str(_meta(node).get("rule"))
            for node in self._nodes.values()
            if node.get("attached_node") == self._node["unique_id"] and _meta(node).get("on_failure") == "quarantine"
        }
        return (
            Quarantine(sql.Identifier(self._schema, companion_name(self._node["alias"], QUARANTINE)), tuple(sorted(rules)))
            if rules
            else None
        )

    def _explanation(self, kind: Kind, options: object) -> Explanation:
        given = options if isinstance(options, Mapping) else {}
        chosen = [name for name in _EXPLANATIONS if name in given]
        if len(chosen) != 1:
            raise self._refused(f"explained_by: {kind}: says {' and '.join(chosen) or 'nothing'}; give one of {', '.join(_EXPLANATIONS)}")
        values = self._mapping(given, f"explained_by: {kind}", _EXPLANATIONS[chosen[0]])
        return Explanation(
            kind=kind,
            where=str(values["where"]) if "where" in values else None,
            by=self._names(values.get("by", []), f"explained_by: {kind}: by"),
            order_by=self._names(values.get("order_by", []), f"explained_by: {kind}: order_by"),
            relation=self._kept(str(values["relation"])) if "relation" in values else None,
            rule=str(values["rule"]) if values.get("rule") else None,
        )

    def _sums(self, declared: object) -> dict[str, str]:
        if isinstance(declared, Mapping):
            return {str(there): str(here) for there, here in declared.items()}
        return {name: name for name in self._names(declared, "sums")}

    def _relation(self, name: str) -> sql.Identifier:
        """Return the relation of a model or a source."""
        if name in self._models:
            model, *others = self._models[name]
            if others:
                names = [model.selector if model.version else model.unique_id for model in (model, *others)]
                raise self._refused(f"{name} is the name of {len(names)} models; write one of {', '.join(names)}")
            return sql.Identifier(self._schemas.get(model.unique_id, model.schema), model.alias)
        if name in self._sources:
            return self._sources[name].table.identifier
        known = [*self._models, *self._sources]
        raise self._refused(f"{name} does not exist; {did_you_mean(name, known, 'name a model, or source_name.table_name')}")

    def _kept(self, name: str) -> sql.Identifier:
        """Return a relation with omitted rows: a model, or a table in the model's schema, such as a quarantine."""
        if name in self._models:
            return self._relation(name)
        return sql.Identifier(self._schema, name)

    def _mapping(self, value: object, what: str, known: Sequence[str]) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self._refused(f"{what}: has to be a mapping of {', '.join(known)}")
        if unknown := [str(name) for name in value if name not in known]:
            hint = did_you_mean(unknown[0], known, f"there are {', '.join(known)}")
            raise self._refused(f"{what}: {unknown[0]} is not an option; {hint}")
        return value

    def _names(self, value: object, what: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise self._refused(f"{what}: has to be a list of columns; write it as [one, another]")
        return tuple(value)

    def _refused(self, what: str) -> ProjectError:
        return ProjectError(f"{self._where}: meta.reconcile: {what}")


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return (node.get("config") or {}).get("meta") or {}
