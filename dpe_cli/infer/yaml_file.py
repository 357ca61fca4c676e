"""
Write the result: into a new file, or into an existing one, without changing a character of it.

New lines are inserted after existing ones, as text, because YAML readers discard comments. The outcome is parsed again, and
has to equal the old content with the addition, or nothing is written.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpe_cli.errors import ProjectError, UsageError
from dpe_cli.infer import yaml_text
from dpe_cli.infer.declared_sources import sources_of
from dpe_cli.infer.inference import InferredTable

if TYPE_CHECKING:
    import yaml

_BY_HAND = "nothing was written; leave --write out, and add the printed YAML by hand"


def write(path: Path, inferred: InferredTable, schema: str) -> None:
    """
    Write the result to a file, keeping its existing content; a new source gets this schema.

    Raises:
        ProjectError: it cannot be merged safely.
        UsageError: the file cannot be written.
    """
    try:
        before = path.read_bytes().decode() if path.exists() else None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); name another file") from error
    text = yaml_text.document(inferred, schema) if before is None else _with_table(before, inferred, path, schema)
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


def _with_table(before: str, inferred: InferredTable, path: Path, schema: str) -> str:
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
        merged = f"{ended}\n{yaml_text.document(inferred, schema)}" if ended.strip() else yaml_text.document(inferred, schema)
        wanted["sources"] = [yaml_text.source_as_data(inferred, schema)]
    else:
        sources = _member(document, "sources")
        place = next((number for number, source in enumerate(sources_of(old)) if source.get("name") == inferred.source), None)
        if place is None:
            merged = _after(ended, sources, lambda indent: ["", *yaml_text.source_lines(inferred, indent, schema)], path)
            wanted["sources"].append(yaml_text.source_as_data(inferred, schema))
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
