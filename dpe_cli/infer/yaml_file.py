"""
Write the result: into a new file, or into an existing one, without changing a character of it.

New lines are inserted after existing ones (yaml_insertion.py). The outcome is parsed again, and has to equal the old content with the
addition, or nothing is written.
"""

from __future__ import annotations

import os
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpe_cli import yaml_insertion
from dpe_cli.errors import ProjectError, UsageError
from dpe_cli.infer import yaml_text
from dpe_cli.infer.declared_sources import sources_of
from dpe_cli.infer.inference import InferredTable
from dpe_cli.yaml_insertion import NotInsertableError

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
    is_windows = "\r\n" in before
    if is_windows and before.count("\r\n") != before.count("\n"):
        raise ProjectError(f"{path}: has line ends of two kinds; {_BY_HAND}")
    text = before.replace("\r\n", "\n")
    ended = text if text.endswith("\n") or not text else f"{text}\n"
    try:
        old, document = yaml_insertion.parsed(text), yaml_insertion.composed(text)
    except NotInsertableError as error:
        raise ProjectError(f"{path}: {error}; correct it, or name another file") from error
    try:
        merged, wanted = _merged(ended, document, old, inferred, schema)
        if yaml_insertion.parsed(merged) != wanted:
            raise NotInsertableError("cannot be extended safely, the way it is written")
    except NotInsertableError as error:
        raise ProjectError(f"{path}: {error}; {_BY_HAND}") from error
    return merged.replace("\n", "\r\n") if is_windows else merged


def _merged(text: str, document: yaml.Node | None, old: Any, inferred: InferredTable, schema: str) -> tuple[str, Any]:
    """Return a text with the table, and what it has to hold then."""
    import yaml

    wanted = deepcopy(old) if old is not None else {}
    if document is None or not isinstance(wanted, dict) or "sources" not in wanted:
        if not isinstance(wanted, dict) or (isinstance(document, yaml.MappingNode) and document.flow_style):
            raise NotInsertableError("is not a mapping that starts in the first column")
        wanted["sources"] = [yaml_text.source_as_data(inferred, schema)]
        return (f"{text}\n" if text.strip() else "") + yaml_text.document(inferred, schema), wanted
    sources = yaml_insertion.member(document, "sources")
    place = next((number for number, source in enumerate(sources_of(old)) if source.get("name") == inferred.source), None)
    if place is None:
        wanted["sources"].append(yaml_text.source_as_data(inferred, schema))
        return yaml_insertion.after_items(text, sources, lambda indent: ["", *yaml_text.source_lines(inferred, indent, schema)]), wanted
    tables = yaml_insertion.member(sources.value[place], "tables") if isinstance(sources, yaml.SequenceNode) else None
    merged = yaml_insertion.after_items(text, tables, lambda indent: ["", *yaml_text.table_lines(inferred, indent)])
    wanted["sources"][place]["tables"].append(yaml_text.as_data(inferred))
    return merged, wanted
