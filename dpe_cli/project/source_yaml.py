"""The sources of a project as its YAML declares them: their lines, and their options by the names that the YAML uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

# Keys that dbt-postgres renames anywhere in a source, including a tap's configuration.
_RENAMED_BY_DBT = {"dbname": "database", "pass": "password"}


class Declaration:
    """A source table's declaration in a file; `node` is None if it cannot be found in the current file."""

    def __init__(self, path: str, node: yaml.Node | None) -> None:
        self._path = path
        self._node = node

    @property
    def place(self) -> str:
        """File and line."""
        return self._path if self._node is None else f"{self._path}:{self._node.start_mark.line + 1}"

    def as_written(self, external: Mapping[str, Any]) -> dict[str, Any]:
        """Return dbt's external block with its options named as in the YAML."""
        block: dict[str, Any] = _as_written(dict(external), _member(self._node, "external"))
        return block

    def line_of_option(self, path: Sequence[int | str]) -> int | None:
        """Return the line of an option of the external block, or of its nearest parent there."""
        found, within = None, self._node
        for name in ("external", *path):
            member = next((pair for pair in _members(within) if pair[0].value == name), None)
            if member is None:
                break
            found, within = member
        return found.start_mark.line + 1 if found else None


class Declarations:
    """Finds declarations in the files of a project, and reads each file once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._documents: dict[str, yaml.Node | None] = {}

    def of(self, table: Mapping[str, Any]) -> Declaration:
        """Return the declaration of a source table of dbt's manifest."""
        path = str(table["original_file_path"])
        if path not in self._documents:
            self._documents[path] = self._document(path)
        found = (
            declared
            for source in _entries(self._documents[path], "sources")
            if _scalar(source, "name") == table["source_name"]
            for declared in _entries(source, "tables")
            if _scalar(declared, "name") == table["name"]
        )
        return Declaration(path, next(found, None))

    def _document(self, path: str) -> yaml.Node | None:
        try:
            document: yaml.Node | None = yaml.compose((self._directory / path).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        except (OSError, yaml.YAMLError):
            return None
        return document


def _members(node: yaml.Node | None) -> list[tuple[yaml.Node, yaml.Node]]:
    """Return the keys and values of a mapping; none for other nodes."""
    return list(node.value) if isinstance(node, yaml.MappingNode) else []


def _member(node: yaml.Node | None, key: str) -> yaml.Node | None:
    return next((value for name, value in _members(node) if name.value == key), None)


def _entries(node: yaml.Node | None, key: str) -> list[yaml.Node]:
    """Return the items of the list under a key of a mapping."""
    found = _member(node, key)
    return list(found.value) if isinstance(found, yaml.SequenceNode) else []


def _scalar(node: yaml.Node, key: str) -> str | None:
    found = _member(node, key)
    return str(found.value) if isinstance(found, yaml.ScalarNode) else None


def _as_written(value: Any, node: yaml.Node | None) -> Any:
    """Return a value from dbt with the names that its YAML uses."""
    if isinstance(value, dict):
        names: dict[str, str] = {_RENAMED_BY_DBT[key.value]: str(key.value) for key, _ in _members(node) if key.value in _RENAMED_BY_DBT}
        written = {names.get(str(name), str(name)): item for name, item in value.items()}
        return {name: _as_written(item, _member(node, name)) for name, item in written.items()}
    if isinstance(value, list) and isinstance(node, yaml.SequenceNode) and len(value) == len(node.value):
        return [_as_written(item, part) for item, part in zip(value, node.value, strict=True)]
    return value
