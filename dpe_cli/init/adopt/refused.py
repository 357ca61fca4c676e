"""
What dpe will refuse in a project as it is: macros, materializations, schemas, hooks, grants and settings, each with its place.

dpe's macros refuse these when dbt builds. What they refuse is read from the macros themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dpe_cli.init.adopt.present import Present
from dpe_cli.init.adopt.settings import PROFILES, SETTINGS, outputs
from dpe_cli.project import package, version_pointers
from dpe_cli.project.model import RELATIONS, file_for, in_files_of_others
from dpe_cli.project.stored_names import is_folded, stored_name
from dpe_cli.server.relations import is_reserved

# Statements that change who sees rows (macros/rls/close_changed_relations.sql and the trigger on dpe.protected_relations).
_CHANGES_ACCESS = re.compile(r"\b(grant|revoke|(create|alter|drop)\s+policy|row\s+level\s+security|owner\s+to|inherit)\b", re.IGNORECASE)
_CALLED = re.compile(r"\b(?:(\w+)\.)?(\w+)\s*\(")
_MATERIALIZATION = re.compile(r"materialization_(\w+)_(default|postgres)")


@dataclass(frozen=True)
class Refusal:
    """Something that dpe refuses: where it is (a path, with the line if it is known), what it is, and what to do."""

    where: str
    what: str
    remedy: str


def find(directory: Path, manifest: Mapping[str, Any], profile: object, known: Present) -> list[Refusal]:
    """Return what dpe will refuse of a project."""
    return [
        *_of_project(manifest),
        *_of_profile(profile),
        *_of_macros(manifest),
        *_of_materializations(manifest),
        *_of_schemas(manifest),
        *_of_names(manifest),
        *_of_pointers(directory, manifest),
        *_of_hooks(directory, manifest),
        *_of_grants(manifest),
        *_of_sources(manifest, known),
    ]


def _of_project(manifest: Mapping[str, Any]) -> Iterator[Refusal]:
    metadata = manifest["metadata"]
    if metadata["project_name"] == package.NAME:
        yield Refusal(SETTINGS, f"the project is called {package.NAME}, like dpe's package", "give the project another name")
    if metadata["adapter_type"] != "postgres":
        yield Refusal(PROFILES, f"the adapter is {metadata['adapter_type']}", "use a target of type postgres")


def _of_profile(profile: object) -> Iterator[Refusal]:
    for name, output in outputs(profile).items():
        for key, why in (("role", "dbt would change its role"), ("search_path", "dpe sets it")):
            if output.get(key):
                yield Refusal(PROFILES, f"target {name} sets {key}: {why}", f"remove {key}")


def _of_macros(manifest: Mapping[str, Any]) -> Iterator[Refusal]:
    project = manifest["metadata"]["project_name"]
    builds = {node["package_name"] for node in manifest["nodes"].values()} | {project}
    of_dbt = {macro["name"] for macro in manifest["macros"].values() if macro["package_name"] in {"dbt", "dbt_postgres"}}
    names, prefixed = _overriding(of_dbt)
    for macro in manifest["macros"].values():
        where, name = macro["package_name"], macro["name"]
        if where not in builds or where == package.NAME:
            continue
        if name in names or (where == project and name in prefixed):
            yield Refusal(
                _path_of(manifest, macro), f"macro {name} overrides a macro or a variable of dbt that protection relies on", "rename it"
            )


def _overriding(of_dbt: set[str]) -> tuple[set[str], set[str]]:
    """Return the names that no macro of a package may have, and those that none of the project may have."""
    constants = _constants("refuse_overrides")
    free, called = set(constants["free"]), set(constants["called"])
    names, prefixed = set(constants["names"]), set(constants["prefixed"])
    for name in of_dbt:
        base = name.split("__", 1)[1] if name.startswith(("default__", "postgres__")) else name
        if base not in free and not base.startswith(("test_", "materialization_")):
            names.add(base)
            prefixed |= set() if base in called else {f"default__{base}", f"postgres__{base}"}
    return names, prefixed


def _of_materializations(manifest: Mapping[str, Any]) -> Iterator[Refusal]:
    known = _constants("refuse_custom_materializations")["known"]
    own = {
        found[1]
        for macro in manifest["macros"].values()
        if macro["package_name"] not in {"dbt", "dbt_postgres"} and (found := _MATERIALIZATION.fullmatch(macro["name"]))
    }
    for node in manifest["nodes"].values():
        kind, materialized = node["resource_type"], node["config"].get("materialized")
        if kind not in known:
            continue
        if materialized == "materialized_view":
            yield Refusal(_path_of(manifest, node), f"{node['name']} is a materialized view, which no policy protects", "use table")
        elif materialized not in known[kind] or materialized in own:
            yield Refusal(
                _path_of(manifest, node),
                f"{node['name']} has the materialization {materialized}, which is not dbt's own",
                f"use {', '.join(name for name in known[kind] if name != 'materialized_view')}",
            )


def _of_schemas(manifest: Mapping[str, Any]) -> Iterator[Refusal]:
    refused: dict[str, list[Mapping[str, Any]]] = {}
    project = manifest["metadata"]["project_name"]
    for node in sorted(manifest["nodes"].values(), key=lambda node: (node["package_name"] != project, node["original_file_path"])):
        if node["resource_type"] in RELATIONS and node["config"].get("materialized") != "ephemeral" and is_reserved(node["schema"]):
            refused.setdefault(node["schema"], []).append(node)
    for schema, nodes in sorted(refused.items()):
        others = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
        yield Refusal(
            _path_of(manifest, nodes[0]),
            f"{nodes[0]['name']}{others}: the schema {schema} is not for models",
            "set another schema: in profiles.yml, or by +schema",
        )


def _of_names(manifest: Mapping[str, Any]) -> Iterator[Refusal]:
    """Yield versions in files that may be other models', and models whose names PostgreSQL would fold."""
    for node in in_files_of_others(manifest):
        name, version = node["name"], node["version"]
        yield Refusal(
            _path_of(manifest, node),
            f"version {version} of {name} is in a file that may be another model's",
            file_for(node),
        )
    for node in manifest["nodes"].values():
        if node["resource_type"] in RELATIONS and node["config"].get("materialized") != "ephemeral" and is_folded(node):
            yield Refusal(
                _path_of(manifest, node),
                f"PostgreSQL would store {node['schema']}.{node['alias']} as {'.'.join(stored_name(node))}, because dbt does not quote it",
                "write it in lower case, or let dbt quote it",
            )


def _of_pointers(directory: Path, manifest: Mapping[str, Any]) -> Iterator[Refusal]:
    for node in version_pointers.find(directory, manifest):
        yield Refusal(
            _path_of(manifest, node),
            f"dbt makes a view of the latest version of {node['name']} (latest_version_pointer), which no model declares",
            version_pointers.instead(node),
        )


def _of_hooks(directory: Path, manifest: Mapping[str, Any]) -> Iterator[Refusal]:
    macros = {(macro["package_name"], macro["name"]): macro for macro in manifest["macros"].values()}
    project = manifest["metadata"]["project_name"]
    seen: set[tuple[str, str]] = set()
    for owner, hook in _hooks(manifest):
        # The hook itself, and the macros that it calls.
        places = {hook: _files_of(manifest, owner)}
        for where, name in _CALLED.findall(hook):
            if called := macros.get((where or owner["package_name"], name)) or macros.get((project, name)):
                places[called["macro_sql"]] = [_path_of(manifest, called)]
        for text, paths in places.items():
            found = _CHANGES_ACCESS.search(text)
            if not found:
                continue
            place = _place(directory, paths, text, found[0])
            if (place, found[0]) not in seen:
                seen.add((place, found[0]))
                what = " ".join(text.split()) if text == hook else f"a macro that the hook {' '.join(hook.split())} calls"
                yield Refusal(
                    place, f"a hook changes who sees rows: {what}", "remove it; name readers in meta.readers, other roles in grants"
                )


def _hooks(manifest: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    for node in manifest["nodes"].values():
        if node["package_name"] == package.NAME:
            continue
        if node["resource_type"] == "operation":
            yield node, node["raw_code"]
        for key in ("pre-hook", "post-hook"):
            for hook in node["config"].get(key) or []:
                yield node, str(hook["sql"] if isinstance(hook, Mapping) else hook)


def _of_grants(manifest: Mapping[str, Any]) -> Iterator[Refusal]:
    own = set(_constants("check_grants")["own"])
    for node in manifest["nodes"].values():
        grants = node["config"].get("grants") or {} if node["resource_type"] in RELATIONS else {}
        for privilege, roles in grants.items():
            named = [roles] if isinstance(roles, str) else [str(role) for role in roles or []]
            refused = [role for role in named if role.lower() in own]
            where = _path_of(manifest, node)
            if str(privilege).strip().lower() != "select":
                yield Refusal(where, f"{node['name']} grants {privilege}", "grant select only")
            elif refused:
                yield Refusal(where, f"{node['name']} grants select to {', '.join(refused)}", "declare meta.rls and meta.readers instead")


def _of_sources(manifest: Mapping[str, Any], known: Present) -> Iterator[Refusal]:
    """Yield the sources of other tools that would run code of their owners as dpe_transformer."""
    for node in manifest["sources"].values():
        schema, name = stored_name(node)
        if found := known.code.get((schema, name)):
            owner, what = found
            yield Refusal(
                _path_of(manifest, node),
                f"the source {schema}.{name} belongs to {owner} and {what}, which would run as dpe_transformer",
                "have an administrator own it, or let the tool load a plain table",
            )


@cache
def _constants(macro: str) -> dict[str, Any]:
    """Return the constants that a macro of dpe sets."""
    from dbt_common.clients.jinja import get_environment
    from jinja2 import nodes
    from jinja2.exceptions import TemplateError

    [path] = (package.DIRECTORY / "macros").resolve().rglob(f"{macro}.sql")
    found: dict[str, Any] = {}
    for assignment in get_environment(None, capture_macros=False).parse(path.read_text(encoding="utf-8")).find_all(nodes.Assign):
        try:
            found.setdefault(assignment.target.name, assignment.node.as_const())  # type: ignore[attr-defined]
        except (nodes.Impossible, TemplateError, AttributeError):
            continue
    return found


def _files_of(manifest: Mapping[str, Any], owner: Mapping[str, Any]) -> list[str]:
    """Return the files in which a hook of a node may stand: the model, the YAML that describes it, dbt_project.yml."""
    is_own = owner["package_name"] == manifest["metadata"]["project_name"]
    described = str(owner.get("patch_path") or "").partition("://")[2]
    if owner["resource_type"] == "operation":
        return [SETTINGS if is_own else f"package {owner['package_name']}"]
    return [_path_of(manifest, owner), *([described, SETTINGS] if is_own else [])]


def _path_of(manifest: Mapping[str, Any], thing: Mapping[str, Any]) -> str:
    is_own = thing["package_name"] == manifest["metadata"]["project_name"]
    return str(thing["original_file_path"]) if is_own else f"package {thing['package_name']}: {thing['original_file_path']}"


def _place(directory: Path, paths: Sequence[str], text: str, found: str) -> str:
    """Return the first of the paths that has the text, with the line of what was found in it."""
    wanted = next((line.strip() for line in text.splitlines() if found in line), found)
    # YAML and Jinja may need quotes to be doubled or escaped.
    forms = {wanted, wanted.replace("'", "''"), wanted.replace("'", "\\'"), wanted.replace('"', '\\"')}
    for path in filter(None, paths):
        try:
            lines = (directory / path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for number, line in enumerate(lines, start=1):
            if any(form in line for form in forms):
                return f"{path}, line {number}"
    return paths[0]
