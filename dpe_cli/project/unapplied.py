"""
What a project declares without effect: dbt leaves it out with a warning, which partial parsing hides the next time, or with none.

That is an entry in YAML for a model that does not exist, a test of a relation that does not exist, a misspelt key, and settings in
dbt_project.yml for a folder that does not exist. It is found in dbt's state after a parse, whether dbt read all files or only those that
have changed. What only documents is left to dbt's warnings, and so is the YAML of packages, as far as it says nothing about protection.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dpe_cli.errors import ProjectError
from dpe_cli.project import unapplied_settings
from dpe_cli.project.identity import rendered
from dpe_cli.project.misspelt import META, meant, word_of
from dpe_cli.project.model import RELATIONS, selector_of
from dpe_cli.project.unapplied_settings import SETTINGS
from dpe_cli.project.without_effect import Unapplied, line_of
from dpe_cli.words import did_you_mean

# The lists of entries in YAML that dbt applies to nodes by their name, and what the nodes are called.
_ENTRIES = {"models": "model", "seeds": "seed", "snapshots": "snapshot", "data_tests": "test"}
# What a package's entry would have to lose to be refused.
_PROTECTS = {*META, "rule"}
# Keys of an entry, or of a column, of which nothing but documentation depends.
_DOCUMENTS = {"name", "description", "docs", "data_type", "quote", "tags", "latest_version", "deprecation_date"}
# Keys without which tests, contracts or protection are missing, at each place.
_NEEDED = ("columns", "config", "constraints", "data_tests", "external", "meta", "tables", "tests", "versions")


def find(directory: Path, parsed: Any, variables: str | None = None) -> list[Unapplied]:
    """
    Return what a project declares without effect.

    `parsed` is dbt's manifest as an object of dbt's, `variables` the user's --vars.

    Raises:
        ProjectError: dbt_project.yml cannot be read.
    """
    project = _Parsed(directory, parsed, variables)
    packages = {macro.package_name for macro in parsed.macros.values()} | {project.name}
    nodes = [*project.by_id.values(), *parsed.sources.values()]
    of_settings = unapplied_settings.find(directory, project.name, packages, nodes)
    return [*_of_entries(project), *_of_tests(project), *_of_words(project), *of_settings]


@dataclass(frozen=True)
class _Place:
    """A YAML file of dbt's state, as written."""

    directory: Path
    file: Any
    is_own: bool

    @property
    def path(self) -> str:
        path = str(self.file.path.original_file_path)
        return path if self.is_own else f"package {self.file.project_name}: {path}"

    def line(self, *keys: int | str) -> str:
        """Return the file with the line of an entry: `models/_models.yml, line 3`."""
        return line_of(self.directory / self.file.path.original_file_path, self.path, keys)


class _Parsed:
    """dbt's state after a parse, looked up by names."""

    def __init__(self, directory: Path, parsed: Any, variables: str | None) -> None:
        self.directory = directory
        self.manifest = parsed
        self.variables = variables
        self.name = parsed.metadata.project_name
        self.enabled = list(parsed.nodes.values())
        self.disabled = [node for nodes in parsed.disabled.values() for node in nodes]
        # The names of entries that dbt applied to no node; their tests read these.
        self.lost: set[str] = set()

    @cached_property
    def by_id(self) -> dict[str, Any]:
        return {node.unique_id: node for node in [*self.disabled, *self.enabled]}

    def yaml_files(self) -> Iterator[_Place]:
        for file in self.manifest.files.values():
            if getattr(file, "dfy", None):
                is_own = file.project_name == self.name
                yield _Place(self.directory if is_own else Path(file.path.project_root), file, is_own)

    def rendered(self, name: object) -> str:
        """Return a name in YAML as dbt renders it."""
        return rendered(name, self.variables)


def _of_entries(project: _Parsed) -> Iterator[Unapplied]:
    for place in project.yaml_files():
        nodes = [node for unique_id in place.file.ndp if (node := project.by_id.get(unique_id))]
        applied: set[tuple[str, ...]] = {(str(node.resource_type), node.name) for node in nodes}
        applied |= {(str(node.resource_type), node.name, str(getattr(node, "version", None))) for node in nodes}
        for key, kind in _ENTRIES.items():
            for number, entry in enumerate(_entries(place.file.dfy, key)):
                if place.is_own:
                    yield from _misspelt(place, entry, (key, number))
                elif not _keys(entry) & _PROTECTS:
                    continue
                yield from _of_entry(project, place, applied, kind, entry, (key, number))
        for number, entry in enumerate(_entries(place.file.dfy, "sources")):
            if place.is_own:
                yield from _misspelt(place, entry, ("sources", number))
                yield from _of_source(project, place, entry, number)


def _of_entry(
    project: _Parsed,
    place: _Place,
    applied: Collection[tuple[str, ...]],
    kind: str,
    entry: Mapping[str, Any],
    keys: tuple[str, int],
) -> Iterator[Unapplied]:
    """Yield an entry that dbt applied to no node, or one of its versions."""
    if _only_documents(entry):
        return
    try:
        name = project.rendered(entry.get("name"))
    except ProjectError as error:
        yield Unapplied(place.line(*keys), f"the name of the entry cannot be told ({error})", "write it without Jinja")
        return
    if (kind, name) not in applied:
        project.lost.add(name)
        yield Unapplied(place.line(*keys), *_missing(project, place, kind, name))
        return
    for number, version in enumerate(_entries(entry, "versions")):
        if (kind, name, str(version.get("v"))) not in applied:
            file = version.get("defined_in") or f"{name}_v{version.get('v')}"
            yield Unapplied(
                place.line(*keys, "versions", number),
                f"version {version.get('v')} of {name} has no file, so its declaration and its tests have no effect",
                f"add {file}.sql, or remove the version",
            )


def _missing(project: _Parsed, place: _Place, kind: str, name: str) -> tuple[str, str]:
    """Return what is wrong with the name of an entry, and what to do."""
    lost = "so what it declares has no effect"
    nodes = [node for node in project.by_id.values() if str(node.resource_type) != "test" or not _is_generic(node)]
    kinds = {key: found for key, found in _ENTRIES.items() for node in nodes if node.name == name and str(node.resource_type) == found}
    if kinds and kind not in kinds.values():
        key, found = next(iter(kinds.items()))
        return f"{name} is a {found}, not a {kind}, {lost}", f"declare it under `{key}:`"
    taken = [node for node in nodes if getattr(node, "version", None) is not None and Path(node.original_file_path).stem == name]
    if taken and kind == "model":
        version = selector_of(taken[0].name, taken[0].version)
        return f"the file of the model {name} is taken by {version} (defined_in), {lost}", f"give {version} a file of its own"
    of_kind = [node for node in nodes if str(node.resource_type) == kind and node.package_name == place.file.project_name]
    known = {node.name for node in of_kind}
    if name in known:
        return (
            f"dbt does not apply this to the {kind} {name}, {lost}",
            "run `dpe dbt parse --no-partial-parse`, and correct what dbt reports of it",
        )
    return f"no {kind} is called {name}, {lost}", did_you_mean(name, known, "correct the name, or remove the entry")


def _is_generic(node: Any) -> bool:
    return getattr(node, "test_metadata", None) is not None


def _of_source(project: _Parsed, place: _Place, entry: Mapping[str, Any], number: int) -> Iterator[Unapplied]:
    """Yield the tables by which a project changes a package's source (`overrides`), if the package does not have them."""
    if not entry.get("overrides"):
        return
    package, name = str(entry["overrides"]), str(entry.get("name"))
    sources = [*project.manifest.sources.values(), *(node for node in project.disabled if str(node.resource_type) == "source")]
    known = {node.name for node in sources if (node.package_name, node.source_name) == (package, name)}
    for index, table in enumerate(_entries(entry, "tables")):
        if table.get("name") not in known and not _only_documents(table):
            where = place.line("sources", number, "tables", index)
            what = f"the package {package} has no source {name}.{table.get('name')}, so what it declares has no effect"
            yield Unapplied(where, what, did_you_mean(str(table.get("name")), known, "correct the name, or remove the entry"))


def _misspelt(place: _Place, entry: Mapping[str, Any], keys: tuple[int | str, ...]) -> Iterator[Unapplied]:
    """Yield the keys of an entry, and of its columns, versions and tables, that dbt does not know and that are like one that it does."""
    for key in entry:
        if known := meant(str(key), _NEEDED):
            yield Unapplied(place.line(*keys, key), f"{key} is not a key of dbt, so it has no effect", f"did you mean {known}?")
        elif word := word_of(str(key)):
            yield Unapplied(place.line(*keys, key), f"{key} has no effect here", f"write it as config: {{meta: {{{word}: …}}}}")
    for part in ("columns", "versions", "tables"):
        for number, member in enumerate(_entries(entry, part)):
            yield from _misspelt(place, member, (*keys, part, number))


def _of_tests(project: _Parsed) -> Iterator[Unapplied]:
    """Yield the tests that dbt leaves out because a relation that they read does not exist, or is disabled while the others are not."""
    for test in project.by_id.values():
        if str(test.resource_type) != "test" or test.config.enabled or test.package_name != project.name:
            continue
        if test.unrendered_config.get("enabled", True) is not True:
            # The project itself disables it.
            continue
        read = [(selector_of(ref.name, ref.version), _named(project, ref)) for ref in test.refs]
        read += [(".".join(source), _sources(project, source)) for source in test.sources]
        missing = next((name for name, found in read if not found), None)
        inactive = next((name for name, found in read if found and not any(node.config.enabled for node in found)), None)
        tested = project.by_id.get(getattr(test, "attached_node", None) or "")
        is_needed = tested.config.enabled if tested else any(node.config.enabled for _, found in read for node in found)
        where = _where(project, test)
        if missing in project.lost:
            continue
        if missing is not None:
            known = {node.name for node in project.by_id.values() if str(node.resource_type) in RELATIONS}
            what = f"the test {test.name} reads {missing}, which does not exist, so dbt leaves the test out"
            name, _, version = missing.rpartition(".v")
            if name in known:
                yield Unapplied(where, what, f"restore version {version}, or correct or remove the test")
            else:
                yield Unapplied(where, what, did_you_mean(missing, known, "restore it, or correct or remove the test"))
        elif inactive is not None and is_needed:
            what = f"the test {test.name} reads {inactive}, which is disabled, so dbt leaves the test out"
            yield Unapplied(where, what, "enable it, disable the test as well (config: {enabled: …}), or remove the test")


def _named(project: _Parsed, ref: Any) -> list[Any]:
    """Return the nodes that a `ref` may mean."""
    return [
        node
        for node in project.by_id.values()
        if str(node.resource_type) in RELATIONS
        and node.name == ref.name
        and (ref.package is None or node.package_name == ref.package)
        and (ref.version is None or str(getattr(node, "version", None)) == str(ref.version))
    ]


def _sources(project: _Parsed, source: Sequence[str]) -> list[Any]:
    nodes = [*project.manifest.sources.values(), *(node for node in project.disabled if str(node.resource_type) == "source")]
    return [node for node in nodes if [node.source_name, node.name] == list(source)]


def _of_words(project: _Parsed) -> Iterator[Unapplied]:
    """Yield the keys in the configuration of relations that are like those of dpe, or are those of dpe in another place."""
    seen: set[tuple[str, str]] = set()
    for node in [*project.enabled, *project.manifest.sources.values()]:
        if str(node.resource_type) not in {*RELATIONS, "source"} or node.package_name != project.name:
            continue
        described = node.columns.values() if str(node.resource_type) in RELATIONS else ()
        columns = {str(key) for column in described for key in column.meta or {}}
        remedies = {key: f"did you mean {word}?" for key in map(str, node.config.meta or {}) if (word := word_of(key)) and word != key}
        remedies |= {key: f"write it as meta: {{{word}: …}}" for key in map(str, node.config.extra) if (word := word_of(key))}
        remedies |= {
            key: f"declare it for the whole {node.resource_type!s}, as config: {{meta: {{{word}: …}}}}"
            for key in sorted(columns)
            if (word := word_of(key))
        }
        for key, remedy in remedies.items():
            where = _where(project, node, key)
            if (where, key) not in seen:
                seen.add((where, key))
                yield Unapplied(where, f"{key} is not something that dpe reads there, so it has no effect on {node.name}", remedy)


def _only_documents(entry: Mapping[str, Any]) -> bool:
    return entry.keys() <= {*_DOCUMENTS, "columns"} and all(column.keys() <= _DOCUMENTS for column in _entries(entry, "columns"))


def _keys(value: object) -> set[str]:
    """Return all keys within a value."""
    if isinstance(value, Mapping):
        return {*map(str, value), *(key for item in value.values() for key in _keys(item))}
    return {key for item in value for key in _keys(item)} if isinstance(value, list) else set()


def _entries(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = document.get(key)
    return [entry if isinstance(entry, Mapping) else {} for entry in found] if isinstance(found, list) else []


def _where(project: _Parsed, node: Any, key: str = "") -> str:
    """Return the file of a node, with the line of a key of its configuration if one of its files has it."""
    declared_in = (getattr(node, "patch_path", None) or "").partition("://")[2]
    wanted = re.compile(rf"\b{re.escape(key or node.name)}\b['\"]?\s*[:=]" if key else rf"\b{re.escape(node.name)}\b")
    paths = [path for path in (declared_in, node.original_file_path, SETTINGS if key else "") if path]
    for path in paths:
        try:
            lines = (project.directory / path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        # In YAML, the entry of the node comes first.
        named = re.compile(rf"\bname['\"]?\s*:\s*['\"]?{re.escape(node.name)}\b")
        first = next((number for number, line in enumerate(lines) if path == declared_in and named.search(line)), 0)
        for number, line in enumerate(lines[first:], start=first + 1):
            if wanted.search(line):
                return f"{path}, line {number}"
    return paths[0]
