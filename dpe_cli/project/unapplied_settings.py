"""Paths in dbt_project.yml that no node is in, although they decide who sees rows or what is checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from dpe_cli.project.dbt_inputs import settings_of
from dpe_cli.project.misspelt import META
from dpe_cli.project.without_effect import Unapplied, line_of
from dpe_cli.words import did_you_mean

SETTINGS = "dbt_project.yml"
# Settings in dbt_project.yml that decide who sees rows, or what is checked.
_DECISIVE = {"meta", "contract", "grants", "access", "group", "severity", "error_if", "warn_if", *META}
_OF_TOOLS = {"dbt", "dbt_postgres", "dpe"}
_SECTIONS = {
    "models": ("model", "model-paths", "models"),
    "seeds": ("seed", "seed-paths", "seeds"),
    "snapshots": ("snapshot", "snapshot-paths", "snapshots"),
    "sources": ("source", "model-paths", "models"),
    "data_tests": ("test", "test-paths", "tests"),
    "tests": ("test", "test-paths", "tests"),
}


def find(directory: Path, project: str, packages: Collection[str], nodes: Collection[Any]) -> Iterator[Unapplied]:
    """
    Yield the paths that no node is in, if they decide who sees rows or what is checked.

    `packages` are the names of the project and of what it has installed, `nodes` all of dbt's nodes and sources. A path is not refused
    while its folder is empty, or while the project silences dbt's warning and the path is not like another one.

    Raises:
        ProjectError: dbt_project.yml cannot be read.
    """
    settings = settings_of(directory / SETTINGS)
    options = (settings.get("flags") or {}).get("warn_error_options") or {}
    silenced = options.get("silence") if isinstance(options, Mapping) else None
    is_silenced = isinstance(silenced, list) and bool({"UnusedResourceConfigPath", "all", "*"}.intersection(silenced))
    for section, (kind, option, default) in _SECTIONS.items():
        fqns = {tuple(node.fqn) for node in nodes if str(node.resource_type) == kind}
        roots = settings.get(option) or [default]
        for path in _paths(settings.get(section)):
            depth = next(depth for depth in range(len(path), -1, -1) if not depth or any(fqn[:depth] == path[:depth] for fqn in fqns))
            if depth == len(path):
                continue
            # A folder in which no model is yet; a package that has nothing of this kind yet.
            part, siblings = path[depth], {fqn[depth] for fqn in fqns if fqn[:depth] == path[:depth] and len(fqn) > depth}
            if depth == 0 and part in packages:
                continue
            if any((directory / root).joinpath(*path[1:]).is_dir() for root in roots) and path[0] == project:
                continue
            where = line_of(directory / SETTINGS, SETTINGS, (section, *path[: depth + 1]))
            full, known = ".".join((section, *path)), set(packages) - _OF_TOOLS if depth == 0 else siblings
            if part in _DECISIVE:
                yield Unapplied(where, f"{full} is taken for a folder, so it has no effect", f"write +{part}")
            elif (hint := did_you_mean(part, known)) or depth == 0 or not is_silenced:
                what = f"{full} matches no {kind}, so what it decides has no effect"
                yield Unapplied(where, what, hint or "correct the path, or remove it")


def _paths(settings: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths at which a section of dbt_project.yml decides who sees rows, or what is checked."""
    if not isinstance(settings, Mapping):
        return
    if path and (path[-1] in _DECISIVE or any(str(key).lstrip("+") in _DECISIVE for key in settings)):
        yield path
        # What is in a dictionary without a plus sign is part of it.
        if path[-1] in _DECISIVE:
            return
    for key, value in settings.items():
        if isinstance(value, Mapping) and not str(key).startswith("+"):
            yield from _paths(value, (*path, str(key)))
