"""
Write the result: into a new file, or into an existing one, without changing a character of it.

New lines are inserted after existing ones, as text, because YAML readers discard comments. The outcome is parsed again, and
has to equal the old content with the addition, or nothing is written.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpe_cli.errors import ProjectError, UsageError
from dpe_cli.infer import yaml_text
from dpe_cli.infer.inference import InferredTable

if TYPE_CHECKING:
    import yaml

_BY_HAND = "nothing was written; leave --write out, and add the printed YAML by hand"


@dataclass(frozen=True)
class _Declared:
    """A source table that is already declared."""

    source: str
    table: str
    relation: str
    path: Path


def target(inferred: InferredTable, project_dir: Path, given: Path | None) -> Path:
    """
    Return the file to write to: the given one, the one that already has the source, or one named after it.

    Raises:
        ProjectError: the table is already declared, or its staging table belongs to another one; or a YAML file cannot be read.
    """
    files = dict(_files(project_dir))
    declared = [declaration for path, document in files.items() for declaration in _declared(path, document)]
    for declaration in declared:
        where = declaration.path.relative_to(project_dir)
        if (declaration.source, declaration.table) == (inferred.source, inferred.table):
            raise ProjectError(f"{inferred.name}: is already declared in {where}; give another name with --name, or remove it there first")
        if declaration.relation == f"{yaml_text.SCHEMA}.{inferred.table}":
            raise ProjectError(
                f"{inferred.name}: {declaration.relation} is the staging table of {declaration.source}.{declaration.table} ({where}); "
                "give another name with --name"
            )
    holders = [path for path, document in files.items() if any(source.get("name") == inferred.source for source in _sources(document))]
    if given is not None:
        path = given if given.is_absolute() else Path.cwd() / given
        if holders and path.resolve() not in {holder.resolve() for holder in holders}:
            raise ProjectError(
                f"{inferred.source}: is declared in {holders[0].relative_to(project_dir)}; omit the file name to add the table there"
            )
        return path
    return holders[0] if holders else project_dir / "models" / "staging" / inferred.source / f"_{inferred.source}__sources.yml"


def write(path: Path, inferred: InferredTable) -> None:
    """
    Write the result to a file, keeping its existing content.

    Raises:
        ProjectError: it cannot be merged safely.
        UsageError: the file cannot be written.
    """
    try:
        before = path.read_bytes().decode() if path.exists() else None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); name another file") from error
    text = yaml_text.document(inferred) if before is None else _with_table(before, inferred, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(text.encode())
        if path.exists():
            Path(file.name).chmod(path.stat().st_mode)
        else:
            Path(file.name).chmod(0o666 & ~_umask())
        Path(file.name).replace(path.resolve())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name a file that can") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _with_table(before: str, inferred: InferredTable, path: Path) -> str:
    import yaml

    is_windows = "\r\n" in before
    if is_windows and before.count("\r\n") != before.count("\n"):
        raise ProjectError(f"{path}: has line ends of two kinds; {_BY_HAND}")
    text = before.replace("\r\n", "\n")
    ended = text if text.endswith("\n") or not text else f"{text}\n"
    try:
        document = yaml.compose(text, Loader=yaml.CSafeLoader)
        old = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ProjectError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())}); correct it, or name another file") from error
    wanted = deepcopy(old) if old is not None else {}
    if document is None or not isinstance(wanted, dict) or "sources" not in wanted:
        if not isinstance(wanted, dict) or (isinstance(document, yaml.MappingNode) and document.flow_style):
            raise ProjectError(f"{path}: is not a mapping that starts in the first column; {_BY_HAND}")
        merged = f"{ended}\n{yaml_text.document(inferred)}" if ended.strip() else yaml_text.document(inferred)
        wanted["sources"] = [yaml_text.source_as_data(inferred)]
    else:
        sources = _member(document, "sources")
        place = next((number for number, source in enumerate(_sources(old)) if source.get("name") == inferred.source), None)
        if place is None:
            merged = _after(ended, sources, lambda indent: ["", *yaml_text.source_lines(inferred, indent)], path)
            wanted["sources"].append(yaml_text.source_as_data(inferred))
        else:
            tables = _member(sources.value[place], "tables") if isinstance(sources, yaml.SequenceNode) else None
            merged = _after(ended, tables, lambda indent: ["", *yaml_text.table_lines(inferred, indent)], path)
            wanted["sources"][place]["tables"].append(yaml_text.as_data(inferred))
    if _read(merged) != wanted:
        raise ProjectError(f"{path}: cannot be extended safely, the way it is written; {_BY_HAND}")
    return merged.replace("\n", "\r\n") if is_windows else merged


def _read(text: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return None


def _after(text: str, items: yaml.Node | None, lines: Callable[[str], list[str]], path: Path) -> str:
    """Return a text with lines inserted after the last item of a list, indented like the items."""
    import yaml

    if not isinstance(items, yaml.SequenceNode) or items.flow_style or not items.value:
        raise ProjectError(f"{path}: its list is empty or in brackets; {_BY_HAND}")
    rows = text.split("\n")
    indent = rows[items.start_mark.line][: items.start_mark.column]
    if indent.strip():
        raise ProjectError(f"{path}, line {items.start_mark.line + 1}: the list starts after other text; {_BY_HAND}")
    end = _end(items)
    return "\n".join([*rows[:end], *lines(indent), *rows[end:]])


def _end(node: yaml.Node) -> int:
    """Return the number of lines up to the end of a node, without blank lines and comments after it."""
    import yaml

    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return max(_end(part) for pair in node.value for part in pair)
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        return max(map(_end, node.value))
    return int(node.end_mark.line) + (1 if node.end_mark.column else 0)


def _member(node: yaml.Node | None, name: str) -> yaml.Node | None:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)


def _files(project_dir: Path) -> Iterator[tuple[Path, Any]]:
    """Yield the YAML files among the models, with their content."""
    import yaml

    for path in sorted((project_dir / "models").rglob("*.y*ml")):
        try:
            yield path, yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
            raise ProjectError(
                f"{path.relative_to(project_dir)}: cannot be read as YAML ({' '.join(str(error).split())}); correct it"
            ) from error


def _sources(document: Any) -> list[Mapping[str, Any]]:
    held = document.get("sources") if isinstance(document, dict) else None
    return [entry for entry in held if isinstance(entry, dict)] if isinstance(held, list) else []


def _declared(path: Path, document: Any) -> Iterator[_Declared]:
    for source in _sources(document):
        tables = source.get("tables")
        for table in tables if isinstance(tables, list) else ():
            if isinstance(table, dict) and "name" in table:
                relation = f"{source.get('schema', source.get('name'))}.{table.get('identifier', table['name'])}"
                yield _Declared(str(source.get("name")), str(table["name"]), relation, path)
