"""The `external:` block of a dbt source table: checked, with all mistakes named at once, and read back after the check."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from dpe_cli.blocks.contract import Column
from dpe_cli.errors import ProjectError
from dpe_cli.sources.options.base import External, faults_of_values
from dpe_cli.sources.options.files import CsvFiles
from dpe_cli.sources.options.formats import FORMATS
from dpe_cli.words import did_you_mean


@dataclass(frozen=True)
class SourceDeclaration:
    """Where a block is declared: `declared_at` is its file, and `line_of` returns the line of an option by its path, if known."""

    source: str
    declared_at: str
    line_of: Callable[[Sequence[int | str]], int | None] = lambda _path: None


def option_names(block: type[Any] = CsvFiles) -> list[str]:
    """Return the options that a block, or a mapping within it, may have."""
    return [field.name for field in fields(block)]


def parse(block: Mapping[str, object], columns: Sequence[Column] = (), *, declaration: SourceDeclaration) -> External:
    """
    Check an `external:` block, and the settings of its columns; options that dbt fills in with null are left out.

    Raises:
        ProjectError: names each wrong option, its line, and the nearest known one.
    """
    from pydantic import TypeAdapter, ValidationError

    options = {name: value for name, value in block.items() if value is not None}
    file_format = options.get("file_format", "csv")
    if file_format not in FORMATS:
        hint = did_you_mean(str(file_format), FORMATS, f"there are {', '.join(FORMATS)}")
        raise _refused(
            [_with_line(f"file_format: {file_format} is not supported ({hint})", ["file_format"], declaration)], External, declaration
        )
    kind = FORMATS[str(file_format)]
    try:
        external: External = TypeAdapter(kind).validate_python(options)
    except ValidationError as error:
        faults = [
            _with_line(_describe(kind, fault["loc"], fault["type"], fault["msg"]), fault["loc"], declaration) for fault in error.errors()
        ]
        raise _refused(faults, kind, declaration) from error
    if faults := [
        _with_line(fault, fault.partition(":")[0].partition(" ")[0].split("."), declaration)
        for fault in [*external.faults(), *external.faults_of_place()]
    ]:
        raise _refused(faults, kind, declaration)
    if faults := [*external.faults_of_columns(columns), *faults_of_values(columns, has_quotes=isinstance(external, CsvFiles))]:
        raise ProjectError(f"{declaration.source} ({declaration.declared_at}): {'; '.join(faults)}; see {kind.documentation}")
    if (encoding := getattr(external, "encoding", None)) is not None:
        external = replace(external, encoding=codecs.lookup(encoding).name)  # type: ignore[call-arg]
    return external


def from_dict(values: Mapping[str, Any]) -> External:
    """Return the block from the result of its `dataclasses.asdict`."""
    return _instance(FORMATS[values["file_format"]], values)  # type: ignore[no-any-return]


def _instance(kind: type[Any], values: Mapping[str, Any]) -> Any:
    nested: Mapping[str, type] = getattr(kind, "nested", {})
    given = {
        name: _instance(nested[name], value) if name in nested and isinstance(value, dict) else value for name, value in values.items()
    }
    return kind(**given)


def _refused(faults: Sequence[str], kind: type[External], declaration: SourceDeclaration) -> ProjectError:
    return ProjectError(
        f"{declaration.source} ({declaration.declared_at}): external: {'; '.join(faults)}; see {kind.documentation} for the options"
    )


def _with_line(fault: str, path: Sequence[int | str], declaration: SourceDeclaration) -> str:
    line = declaration.line_of(path)
    return fault if line is None else f"line {line}: {fault}"


def _describe(kind: type[Any], where: tuple[int | str, ...], what: str, message: str) -> str:
    option = ".".join(map(str, where)) or "the block"
    if what == "missing":
        return f"{option} is missing"
    if what == "dataclass_type":
        return f"{option}: has to be a mapping of options"
    if what in {"unexpected_keyword_argument", "extra_forbidden"}:
        for name in where[:-1]:
            kind = getattr(kind, "nested", {}).get(name, kind)
        known = option_names(kind)
        otherwise = f"there are {', '.join(known)}"
        return f"{option} is not an option ({did_you_mean(str(where[-1]), known, otherwise)})"
    return f"{option}: {message}"
