"""Where the answers go: who may see which rows into a model's YAML, and the readers of a target into dbt_project.yml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dpe_cli.access.actors import MASKED_READER, READER
from dpe_cli.errors import ProjectError
from dpe_cli.init.adopt.changes import Changes
from dpe_cli.init.adopt.settings import SETTINGS
from dpe_cli.yaml_insertion import NotInsertableError, Step, parsed, with_value

# The roles that `dpe bootstrap` makes for readers.
USUAL_READERS = (READER, MASKED_READER)


def declare(
    changes: Changes, node: Mapping[str, Any], declaration: Mapping[str, Any], *, package: str, others: Iterable[Mapping[str, Any]]
) -> None:
    """
    Write a node's `meta.rls`: next to its description if the project describes it in YAML, otherwise into dbt_project.yml.

    `package` is the name of the project; `others` are all nodes of dbt's manifest.

    Raises:
        ProjectError: the file cannot be extended safely, or dbt would apply what dbt_project.yml says of the node to others, too.
    """
    kind, name = f"{node['resource_type']}s", node["name"]
    if node["package_name"] == package and (path := _described_in(changes, node, kind, name)):
        settings: list[Step] = [kind, ("name", name), "config", "meta"]
        # Versions of a model are described together.
        if _at(parsed(changes.text(path) or ""), [*settings, "rls"]) != declaration:
            changes.edit(path, lambda text: with_value(text, _meta(text, settings, "rls"), dict(declaration), first=True))
        return
    fqn = _without_version(node)
    if also := [other["name"] for other in others if _is_below(other, node["resource_type"], fqn) and other["name"] != name]:
        raise ProjectError(
            f"{node['original_file_path']}: dbt_project.yml would declare {', '.join(sorted(also))} as well, in a folder called {name}; "
            f"describe {name} in YAML (`{kind}: [{{name: {name}}}]`), then repeat"
        )
    place: list[Step] = [kind, *fqn]
    changes.edit(SETTINGS, lambda text: with_value(text, _meta(text, [*place, "+meta"], "rls"), dict(declaration)))


def name_readers(changes: Changes, kinds: Iterable[str], readers: Mapping[str, Sequence[str]]) -> None:
    """
    Write `meta.readers` for kinds of resource (`models`, `seeds`, `snapshots`): the roles that read what each target publishes.

    Raises:
        ProjectError: dbt_project.yml cannot be extended safely.
    """
    for kind in kinds:
        for target, roles in readers.items():
            if target not in named_readers(changes, kind):
                changes.edit(
                    SETTINGS,
                    lambda text, kind=kind, target=target, roles=roles: with_value(  # type: ignore[misc]
                        text, [*_meta(text, [kind, "+meta"], "readers"), target], list(roles), first=True
                    ),
                )


def named_readers(changes: Changes, kind: str) -> Mapping[str, Any]:
    """Return the `meta.readers` of a kind of resource in dbt_project.yml, for all of them."""
    section = _at(parsed(changes.text(SETTINGS) or ""), [kind])
    for key in ("+meta", "meta"):
        found = _at(section, [key, "readers"])
        if isinstance(found, Mapping):
            return found
    return {}


def _without_version(node: Mapping[str, Any]) -> list[str]:
    """Return where dbt_project.yml configures a node, and all versions of it: package, folders, name."""
    return list(node["fqn"][:-1] if node.get("version") is not None else node["fqn"])


def _is_below(node: Mapping[str, Any], resource_type: str, fqn: Sequence[str]) -> bool:
    return node["resource_type"] == resource_type and list(node["fqn"][: len(fqn)]) == list(fqn)


def _described_in(changes: Changes, node: Mapping[str, Any], kind: str, name: str) -> str | None:
    """Return the file of the project that describes a node."""
    paths = [str(node.get("patch_path") or "").partition("://")[2], str(node["original_file_path"])]
    for path in paths:
        if path.endswith((".yml", ".yaml")):
            found = _at(parsed(changes.text(path) or ""), [kind, ("name", name)])
            if isinstance(found, Mapping):
                return path
    return None


def _meta(text: str, path: Sequence[Step], key: str) -> list[Step]:
    """Return the path of a key of `meta`, which dbt takes with a plus sign or without one in dbt_project.yml."""
    *parents, last = path
    without = str(last).removeprefix("+")
    place = _at(parsed(text), parents)
    if isinstance(place, Mapping) and last not in place and without in place:
        last = without
    found = _at(place, [last])
    if found is not None and not isinstance(found, Mapping):
        raise NotInsertableError(f"has a {without} that is not a mapping")
    return [*parents, last, key]


def _at(content: Any, path: Sequence[Step]) -> Any:
    for step in path:
        if isinstance(step, tuple):
            items = content if isinstance(content, list) else []
            content = next((item for item in items if isinstance(item, Mapping) and item.get(step[0]) == step[1]), None)
        else:
            content = content.get(step) if isinstance(content, Mapping) else None
    return content
