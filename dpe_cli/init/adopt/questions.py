"""What only a person can decide: who may see which rows of a relation that somebody reads, or wants to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dpe_cli.errors import UsageError
from dpe_cli.init import own_data
from dpe_cli.init.adopt.present import Present
from dpe_cli.project.model import REQUIRED, Model, by_name
from dpe_cli.words import did_you_mean


@dataclass(frozen=True)
class Question:
    """
    A relation that somebody reads or may want to read: its model, its name, and the model's file.

    `read_by` are the roles that may read it today; `wanted_by` says why somebody may want to. `tenant_columns` could say whose row it
    is. `answer` is what is declared; None if nothing is, so that the relation is private.
    """

    model: str
    relation: str
    path: str
    read_by: tuple[str, ...]
    wanted_by: tuple[str, ...]
    tenant_columns: tuple[str, ...]
    answer: str | None


def ask(manifest: Mapping[str, Any], models: Mapping[str, Model], known: Present, answers: Mapping[str, str]) -> Iterator[Question]:
    """Yield the questions of a project; `answers` are the new ones, by unique id."""
    exposures: dict[str, list[str]] = {}
    for exposure in manifest["exposures"].values():
        for unique_id in exposure["depends_on"]["nodes"]:
            exposures.setdefault(unique_id, []).append(f"exposure {exposure['name']}")
    for unique_id, model in models.items():
        node = manifest["nodes"][unique_id]
        relation = known.relations.get((model.schema, model.alias))
        read_by = {*(relation.readers if relation else ()), *_granted(node)}
        wanted_by = exposures.get(unique_id, [])
        if node.get("access") == "public":
            wanted_by.append("access: public")
        if _is_end(manifest, unique_id):
            wanted_by.append("no model reads it")
        answer = answers.get(unique_id) or declared(node)
        if read_by or wanted_by or answer:
            yield Question(
                model=model.selector,
                relation=f"{model.schema}.{model.alias}",
                path=node["original_file_path"],
                read_by=tuple(sorted(read_by)),
                wanted_by=tuple(wanted_by),
                tenant_columns=_tenant_columns(model, node, known),
                answer=answer,
            )


def new_answers(manifest: Mapping[str, Any], models: Mapping[str, Model], known: Present, given: Mapping[str, str]) -> dict[str, str]:
    """
    Return the answers given by models' names, by unique id, without what the project declares already.

    Raises:
        UsageError: one names no model, or no column of it, or the project declares something else.
    """
    named = by_name(models.values())
    found: dict[str, str] = {}
    for name, answer in given.items():
        if name not in named:
            _refuse_ephemeral(manifest, name)
            raise UsageError(
                f"--rls: {name}: the project has no such model, seed or snapshot; {did_you_mean(name, named, 'name one of it')}"
            )
        if len({(manifest["nodes"][model.unique_id]["package_name"], model.name) for model in named[name]}) > 1:
            names = ", ".join(model.unique_id for model in named[name])
            raise UsageError(f"--rls: {name}: is the name of {names}; give one of these instead")
        for model in named[name]:
            node = manifest["nodes"][model.unique_id]
            before = declared(node)
            if before == answer:
                continue
            if before is not None:
                raise UsageError(f"--rls: {name}: {before} is declared already ({_declared_in(node)}); change it there")
            _check_column(name, answer, _tenant_columns(model, node, known))
            found[model.unique_id] = answer
    return found


def _refuse_ephemeral(manifest: Mapping[str, Any], name: str) -> None:
    for unique_id, node in manifest["nodes"].items():
        if name in {node["name"], unique_id} and node["resource_type"] == "model" and node["config"].get("materialized") == "ephemeral":
            raise UsageError(
                f"--rls: {name}: is ephemeral, so it has no relation that readers could see, and needs no answer; "
                "answer for the models that read it"
            )


def declared(node: Mapping[str, Any]) -> str | None:
    """Return what a node declares, as an answer; None if it declares nothing."""
    rls = (node["config"].get("meta") or {}).get("rls")
    if rls is None or rls == REQUIRED:
        return None
    if isinstance(rls, Mapping) and len(rls) == 1:
        [(kind, value)] = rls.items()
        return str(kind) if value is True else ", ".join(value) if isinstance(value, list) else str(value)
    return str(rls)


def _declared_in(node: Mapping[str, Any]) -> str:
    """Return the file that probably declares a node: the YAML that describes it, if there is some."""
    return str(node.get("patch_path") or "").partition("://")[2] or str(node["original_file_path"])


def _granted(node: Mapping[str, Any]) -> list[str]:
    """Return the roles that dbt grants a node to."""
    roles = (node["config"].get("grants") or {}).get("select") or []
    return [roles] if isinstance(roles, str) else [str(role) for role in roles]


def _is_end(manifest: Mapping[str, Any], unique_id: str) -> bool:
    children = manifest["child_map"].get(unique_id, ())
    return unique_id.startswith("model.") and not any(child.startswith(("model.", "snapshot.")) for child in children)


def _tenant_columns(model: Model, node: Mapping[str, Any], known: Present) -> tuple[str, ...]:
    """Return the columns of text types: of the relation that exists, or of those that are described."""
    if relation := known.relations.get((model.schema, model.alias)):
        return relation.texts
    described = (column for column in node["columns"].values() if own_data.is_comparable(column.get("data_type") or "text"))
    return tuple(str(column["name"]) for column in described)


def _check_column(name: str, answer: str, columns: tuple[str, ...]) -> None:
    if answer in own_data.KINDS or not columns or answer in columns:
        return
    hint = own_data.other_answers(answer, columns)
    raise UsageError(f"--rls: {name}: {answer} is not a column of it that could say whose row it is; {hint}")
